// CFI: the compiler's own rules, .eh_frame first and .debug_frame second, evaluated by us over dead registers and
// memory, so that we can say why we believe a frame. A signal frame is recognised by its code as well: musl, static and
// hand-written trampolines carry no CFI, and the kernel's ucontext is the better witness anyway.
#include <dwarf.h>
#include <elfutils/libdw.h>

#include <cstdlib>
#include <cstring>
#include <memory>

#include "base/text.h"
#include "disasm/disasm.h"
#include "image/location.h"
#include "unwind/code.h"
#include "unwind/unwinder.h"

namespace incident {
namespace {

StepResult rejected(std::string why) { return {.reason = std::move(why)}; }
StepResult outermost(std::string why, std::optional<Address> cfa = {}) {
    return {.kind = StepResult::Kind::outermost, .cfa = cfa, .reason = std::move(why)};
}

struct FreeFrame {
    void operator()(Dwarf_Frame* frame) const { std::free(frame); }
};
using FramePointer = std::unique_ptr<Dwarf_Frame, FreeFrame>;

struct Rules {
    FramePointer frame;
    bool go = false;  ///< written by Go's compiler, for code that saves no register of its caller's
};

Rules find_rules(const Image& image, Address lookup) {
    const Dwarf_Addr a = lookup.value - image.bias();
    Dwarf_Frame* frame = nullptr;
    if (Dwarf_CFI* cfi = image.eh_cfi(); cfi != nullptr && dwarf_cfi_addrframe(cfi, a, &frame) == 0)
        return {FramePointer(frame)};
    if (Dwarf_CFI* cfi = image.debug_cfi(); cfi != nullptr && dwarf_cfi_addrframe(cfi, a, &frame) == 0)
        return {FramePointer(frame), image.find_section(".go.buildinfo") != nullptr};
    return {};
}

/// What a register without a rule is in the caller. By the System V ABI (AMD64 supplement, figure 3.4) C functions
/// leave rbx, rbp and r12 to r15 as they were and clobber the rest; libdw's own table (0.188) forgets rbx and keeps
/// rax. Go's functions save none.
bool keeps_without_rule(const Machine& machine, int dwarf, bool go, bool libdw_says_same) {
    if (machine.elf_machine != 62 /* EM_X86_64 */) return libdw_says_same;
    return !go && (dwarf == 3 || dwarf == 6 || (dwarf >= 12 && dwarf <= 15));
}

/// The stack of `sp`, when the interrupted code ran on another one than the handler.
std::optional<AddressRange> other_stack(const Memory& memory, Address sp, AddressRange stack) {
    if (stack.contains(sp)) return std::nullopt;
    auto other = stack_range(memory, sp);
    return other.empty() ? std::nullopt : std::optional(other);
}

/// A frame larger than everything between it and the next stack has put sp onto that one, while the frame's upper end,
/// by the rules, is where it was: on another stack, above, with a return address that a call left there.
bool jumped_off_its_stack(const Memory& memory, const UnwindState& interrupted, Address caller_sp, Address back,
                          AddressRange stack) {
    return !interrupted.after_call && !stack.contains(caller_sp) && caller_sp != stack.end &&
           interrupted.registers.sp() && caller_sp > *interrupted.registers.sp() &&
           is_code(memory, back) == Code::yes && may_be_return_address(memory, back);
}

/// The interrupted code's sp may be anywhere; below the handler's frame on the same stack it is a lie.
StepResult from_signal_frame(const Memory& memory, const UnwindState& state, AddressRange stack) {
    const auto at = state.registers.sp();
    auto registers = at ? load_ucontext(memory, state.registers.machine(), *at) : std::nullopt;
    if (!registers) return rejected("no ucontext behind the signal handler");
    StepResult out{.kind = StepResult::Kind::caller};
    out.signal_frame = true;
    out.cfa = registers->sp();
    out.stack = other_stack(memory, *registers->sp(), stack);
    out.caller.emplace(
        UnwindState{*registers, /*after_call=*/false, report::Trust::cfi, report::FrameKind::native, std::nullopt});
    return out;
}

/// Applies the rules for every register; nullopt with `why` when the return address or sp cannot be had.
StepResult apply_rules(Dwarf_Frame* frame, const Image& image, const Memory& memory, const UnwindState& state,
                       AddressRange stack, bool go) {
    bool signal = false;
    const int return_column = dwarf_frame_info(frame, nullptr, nullptr, &signal);
    if (return_column < 0) return rejected("bad rules");
    LocationContext context{.registers = &state.registers, .memory = &memory, .bias = image.bias()};
    Dwarf_Op* ops = nullptr;
    std::size_t count = 0;
    if (dwarf_frame_cfa(frame, &ops, &count) != 0 || count == 0) return rejected("no rule for the frame's address");
    auto cfa = evaluate_value(ops, count, context, /*location_is_value=*/true);
    if (!cfa) return rejected("frame address: " + describe(cfa.error()));
    context.cfa = Address{*cfa};

    const Machine& machine = state.registers.machine();
    UnwindState caller{Registers(machine), /*after_call=*/!signal, report::Trust::cfi, report::FrameKind::native,
                       std::nullopt};
    std::optional<std::uint64_t> return_address;
    for (std::size_t i = 0; i < machine.registers.size(); ++i) {
        const int number = machine.registers[i].dwarf;
        if (number < 0 || number > return_column) continue;  // segment registers and the like have no rules
        Dwarf_Op storage[3];
        if (dwarf_frame_register(frame, number, storage, &ops, &count) != 0) continue;
        std::optional<std::uint64_t> value;
        if (count == 0 && number == return_column) {
            return outermost("the return address is undefined: outermost frame", context.cfa);
        } else if (count == 0) {
            if (keeps_without_rule(machine, number, go, ops == nullptr))
                value = state.registers.get(static_cast<unsigned>(i));
        } else if (auto got = evaluate_value(ops, count, context, false)) {
            value = *got;
        } else if (number == return_column) {
            return rejected("return address: " + describe(got.error()));
        }
        if (!value) continue;
        caller.registers.set(static_cast<unsigned>(i), *value);
        if (number == return_column) return_address = value;
    }
    if (!return_address) return rejected("no rule for the return address");
    if (!caller.registers.sp()) caller.registers.set_sp(*context.cfa);
    for (std::string_view name : {"fs_base", "gs_base"})  // the thread's, in all its frames
        if (auto base = state.registers.get(name)) caller.registers.set(name, *base);
    if (*return_address == 0) return outermost("the return address is 0: outermost frame", context.cfa);
    caller.registers.set_pc(Address{*return_address});
    if (is_code(memory, Address{*return_address}) == Code::no)
        return {.cfa = context.cfa,
                .bad_return = return_address,
                .reason = "return address " + hex(*return_address) + " is not code"};
    StepResult out{.kind = StepResult::Kind::caller, .cfa = context.cfa};
    out.signal_frame = signal;
    const Address caller_sp = *caller.registers.sp();
    if (signal || jumped_off_its_stack(memory, state, caller_sp, Address{*return_address}, stack))
        out.stack = other_stack(memory, caller_sp, stack);
    out.caller = caller;
    return out;
}

}  // namespace

bool is_signal_return(const Memory& memory, Address pc) {
    // mov $15 (rt_sigreturn), %rax; syscall. glibc's __restore_rt, Go's sigreturn; musl uses the 5-byte mov to %eax.
    static constexpr unsigned char wide[] = {0x48, 0xc7, 0xc0, 0x0f, 0, 0, 0, 0x0f, 0x05};
    static constexpr unsigned char narrow[] = {0xb8, 0x0f, 0, 0, 0, 0x0f, 0x05};
    const std::byte* code = memory.data_at(pc, sizeof wide);
    return code != nullptr &&
           (std::memcmp(code, wide, sizeof wide) == 0 || std::memcmp(code, narrow, sizeof narrow) == 0);
}

std::optional<Registers> load_ucontext(const Memory& memory, const Machine& machine, Address at) {
    Registers out(machine);
    for (std::size_t i = 0; i < machine.registers.size(); ++i) {
        const int offset = machine.registers[i].ucontext_offset;
        if (offset < 0) continue;
        auto value = memory.load<std::uint64_t>(at + static_cast<std::uint64_t>(offset));
        if (!value) return std::nullopt;
        out.set(static_cast<unsigned>(i), *value);
    }
    if (!out.pc() || !out.sp() || stack_range(memory, *out.sp()).empty()) return std::nullopt;
    return out;
}

Code is_code(const Memory& memory, Address a) {
    if (const Segment* segment = memory.find(a))
        return (segment->permissions & 1 /* PF_X */) != 0 ? Code::yes : Code::no;
    return memory.is_mapped(a) ? Code::unknown : Code::no;
}

UnwindStep cfi_step(const Memory& memory, const Images& images) {
    return {"cfi", [&memory, &images](const UnwindState& state, AddressRange stack) -> StepResult {
                const auto pc = state.registers.pc();
                if (!pc) return rejected("no pc");
                if (pc->is_null() && state.after_call) return outermost("the return address is 0: outermost frame");
                if (is_signal_return(memory, *pc)) return from_signal_frame(memory, state, stack);
                const Address lookup = state.after_call ? *pc - 1 : *pc;
                const Image* image = images.find(lookup);
                if (image == nullptr) return rejected("no image at " + hex(pc->value));
                Rules rules = find_rules(*image, lookup);
                if (!rules.frame && state.after_call)
                    rules = find_rules(*image, *pc);  // a call at the very end of its function's rules
                if (!rules.frame) return rejected("no rules at " + hex(pc->value));
                return apply_rules(rules.frame.get(), *image, memory, state, stack, rules.go);
            }};
}

}  // namespace incident
