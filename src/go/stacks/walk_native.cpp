// C frames in a walk, and what lies between C and Go: the kernel's frame on a signal stack, crosscall2 and cgocallback.
#include <fmt/format.h>

#include <algorithm>

#include "disasm/disasm.h"
#include "go/stacks/walk_state.h"
#include "unwind/code.h"

namespace incident::go {

namespace {

// x86-64 struct rt_sigframe (arch/x86/include/asm/sigframe.h): siginfo follows the kernel's ucontext of 304 bytes, in
// which uc_stack {ss_sp, ss_flags, ss_size} begins at 16.
constexpr std::uint64_t siginfo_after_ucontext = 304;
constexpr std::uint64_t uc_stack_sp = 16, uc_stack_size = 32;

/// Ends C unwinding at the first Go function: from there on pclntab is exact.
UnwindStep go_boundary(CodeCache& code) {
    return {.name = "go", .step = [&code](const UnwindState& state, AddressRange) {
                StepResult result;
                auto pc = state.registers.pc();
                if (pc && code.at(*pc, state.after_call)->func) {
                    result.kind = StepResult::Kind::outermost;
                    result.reason = "Go";
                } else {
                    result.reason = "not Go";
                }
                return result;
            }};
}

}  // namespace

std::optional<InterruptedContext> read_ucontext(const Memory& memory, const Machine& machine, Address at,
                                                const Registers& current) {
    InterruptedContext context{.ucontext = at, .registers = Registers(machine), .siginfo = std::nullopt};
    for (unsigned i = 0; i < machine.registers.size(); ++i) {
        const auto& row = machine.registers[i];
        if (row.ucontext_offset < 0) continue;
        auto value = memory.load<std::uint64_t>(at + static_cast<std::uint64_t>(row.ucontext_offset));
        if (!value) return std::nullopt;
        context.registers.set(i, *value);
    }
    auto sp = context.registers.sp();
    if (!sp || !memory.is_mapped(*sp)) return std::nullopt;
    // A handler runs with the thread pointer of what it interrupted.
    if (machine.thread_pointer >= 0) {
        auto index = static_cast<std::uint8_t>(machine.thread_pointer);
        if (auto base = current.get(index)) context.registers.set(index, *base);
    }
    Address siginfo = at + siginfo_after_ucontext;
    if (auto number = memory.load<std::int32_t>(siginfo); number && *number > 0 && *number <= 64) {
        context.siginfo = siginfo;
        context.signal = *number;
    }
    return context;
}

std::optional<InterruptedContext> find_interrupted(const Memory& memory, const Runtime& runtime,
                                                   const Machine_m& machine, const Registers& registers) {
    auto pc = registers.pc(), sp = registers.sp();
    if (!pc || !sp || !machine.gsignal_stack.contains(*sp)) return std::nullopt;
    // First by pclntab: exact, as long as the handler is Go code.
    Address at = *pc, top = *sp;
    bool after_call = false;
    for (int depth = 0; depth < 1000; ++depth) {
        auto func = runtime.find_func(after_call ? at - 1 : at);
        if (!func || func->table == nullptr) break;
        auto delta = func->table->sp_delta(*func, at);
        if (!delta || *delta < 0) break;
        Address cfa = top + static_cast<std::uint64_t>(*delta) + 8;
        if (!machine.gsignal_stack.contains(cfa)) break;
        if (func->special == SpecialFunc::sigtramp) {
            if (auto context = read_ucontext(memory, registers.machine(), cfa, registers)) return context;
            break;
        }
        auto caller = memory.load_address(cfa - 8);
        if (!caller || func->sp_write()) break;
        at = *caller;
        top = cfa;
        after_call = true;
    }
    // C code in the handler (libc's raise): every frame of the kernel names the alternate stack that it was put on.
    for (Address a = Address{(sp->value + 7) & ~std::uint64_t{7}};
         machine.gsignal_stack.contains(a + siginfo_after_ucontext); a += 8) {
        auto low = memory.load<std::uint64_t>(a + uc_stack_sp);
        auto size = memory.load<std::uint64_t>(a + uc_stack_size);
        if (!low || !size) break;
        if (*low != machine.gsignal_stack.begin.value || *size != machine.gsignal_stack.size()) continue;
        if (auto context = read_ucontext(memory, registers.machine(), a, registers); context && context->signal != 0)
            return context;
    }
    return std::nullopt;
}

std::optional<InterruptedContext> interrupted_context(const CoreFile&, const Memory& memory, const Runtime& runtime,
                                                      const Machine_m& machine, const ThreadState& thread) {
    // A signal that a handler sends itself, as every crash with GOTRACEBACK=crash does, comes in a frame on top.
    constexpr int most_nested = 16;
    auto context = find_interrupted(memory, runtime, machine, thread.registers);
    for (int nested = 1; context && nested < most_nested; ++nested) {
        auto outer = find_interrupted(memory, runtime, machine, context->registers);
        if (!outer || outer->ucontext <= context->ucontext) break;
        context = std::move(outer);
    }
    return context;
}

/// Pushes C frames from `start` on; the state at which Go was reached, or nullopt and `native_end_` says why not.
std::optional<UnwindState> Walk::walk_native(const Registers& start, bool after_call, report::Trust trust) {
    auto sp = start.sp();
    const AddressRange stack = sp ? stack_range(in_.memory, *sp) : AddressRange{};
    if (stack.empty()) {
        native_end_ = "C stack is not in the core";
        return std::nullopt;
    }
    std::vector<UnwindStep> steps{go_boundary(in_.code)};
    steps.insert(steps.end(), in_.native_steps.begin(), in_.native_steps.end());
    UnwindState state{.registers = start,
                      .after_call = after_call,
                      .trust = trust,
                      .kind = report::FrameKind::native,
                      .cfa = std::nullopt};
    Unwound unwound = unwind(state, stack, steps, {.frames = in_.limit, .trace = false});
    native_end_ = unwound.end;
    native_complete_ = unwound.complete;
    for (auto& frame : unwound.frames) {
        auto pc = frame.state.registers.pc();
        if (!pc) break;
        if (in_.code.at(*pc, frame.state.after_call)->func) return frame.state;
        PhysicalFrame& physical = stack_.physical.emplace_back();
        physical.pc = *pc;
        physical.sp = frame.state.registers.sp().value_or(Address{});
        physical.bp = frame.state.registers.fp().value_or(Address{});
        physical.cfa = frame.cfa.value_or(Address{});
        physical.after_call = frame.state.after_call;
        physical.trust = frame.state.trust;
        physical.kind = frame.state.kind;
        physical.owner = StackOwner::system;
        physical.native = static_cast<std::uint32_t>(stack_.native.size());
        stack_.native.push_back(frame);
    }
    return std::nullopt;
}

/// The C code that a thread came from before it was Go's: a thread of pthread_create runs crosscall1, which calls
/// mstart; the first one runs main, which jumps to rt0_go.
Walk::Next Walk::under_go(Context& context, const PhysicalFrame& frame, const CodePoint& code) {
    if (in_.native_steps.empty() || !code.sp_delta || *code.sp_delta < 0) return Next::end;
    Address caller_at = frame.cfa - 8, caller_bp = context.bp;
    if (code.is(SpecialFunc::rt0_go)) {
        // sp -= 0x28 (1.16: 0x27), then rounded down to 16 (src/runtime/asm_amd64.s): with the alignment that a C
        // caller has, its return address is at sp+0x28. A process that begins in rt0_go has none.
        caller_at = context.sp + 0x28;
        caller_bp = {};
    } else if (*code.sp_delta >= 8 && !load(frame.cfa - 16, caller_bp)) {
        caller_bp = {};
    }
    Address caller_pc;
    if (!context.stack.contains(caller_at) || !load(caller_at, caller_pc) || caller_pc.is_null()) return Next::end;
    const CodePoint* caller = in_.code.at(caller_pc, true);
    if (!caller->func) {
        if (is_code(in_.memory, caller_pc) != Code::yes || !may_be_return_address(in_.memory, caller_pc))
            return Next::end;
        Registers& registers = context.registers.emplace(in_.core.machine());
        registers.set_pc(caller_pc);
        registers.set_sp(caller_at + 8);
        if (!caller_bp.is_null()) registers.set_fp(caller_bp);
    }
    stack_.physical.back().cfa = caller_at + 8;
    context.pc = caller_pc;
    context.sp = caller_at + 8;
    context.bp = caller_bp;
    context.after_call = true;
    context.trap = false;
    context.trust = report::Trust::pclntab;
    return Next::go_on;
}

/// The scheduler runs on the system stack from g0.sched on: in the function that started the thread or, under a
/// callback from C, above cgocallback's frame. There the saved pc is older than the saved sp, and crosscall2 is near.
Walk::Next Walk::start_of_system_stack(Context& context, std::string why) {
    const bool known = machine_ != nullptr && context.owner == StackOwner::system && !in_.native_steps.empty() &&
                       context.stack.contains(machine_->g0_sched_sp) && machine_->g0_sched_sp > context.sp;
    if (!known) return finish(std::move(why), true);
    context.pc = StructView(in_.memory, machine_->g0).get(in_.runtime.layout().g.sched_pc).value_or(Address{});
    context.sp = machine_->g0_sched_sp;
    constexpr std::uint64_t callback_frame = 0x40;  // bytes, at most: 24 of its own, a saved bp, the return address
    for (std::uint64_t at = 8; at < callback_frame; at += 8) {
        Address word;
        if (!load(machine_->g0_sched_sp + at, word)) break;
        const CodePoint* code = in_.code.at(word, true);
        if (!code->func || code->func->name != "crosscall2") continue;
        context.pc = word;
        context.sp = machine_->g0_sched_sp + at + 8;
        break;
    }
    const CodePoint* code = in_.code.at(context.pc, true);
    const std::string_view name = code->func ? code->func->name : std::string_view();
    if (!name.starts_with("runtime.mstart") && name != "crosscall2") return finish(std::move(why), true);
    context.bp = {};
    context.after_call = true;
    context.trap = false;
    context.trust = report::Trust::pclntab;
    context.registers.reset();
    return Next::go_on;
}

Walk::Next Walk::step_native(Context& context) {
    if (!context.registers || in_.native_steps.empty()) {
        if (context.registers) push(context, in_.code.at(context.pc, context.after_call));
        return finish(fmt::format("{:#x} is in no Go function", context.pc.value), false);
    }
    auto state = walk_native(*context.registers, context.after_call, context.trust);
    if (!state) return finish(native_end_, native_complete_);
    context = context_of(state->registers, state->after_call);
    context.trust = state->trust;
    return Next::go_on;
}

Registers Walk::registers_under_crosscall2(const PhysicalFrame& frame, Address caller_pc) {
    // go1.16 and go1.17–1.27 src/runtime/cgo/asm_amd64.s: where crosscall2 saves C's callee-saved registers, from its
    // sp.
    struct Saved {
        std::string_view name;
        std::uint16_t offset;
    };
    static constexpr Saved before_117[] = {{"rbx", 0x18}, {"r12", 0x28}, {"r13", 0x30},
                                           {"r14", 0x38}, {"r15", 0x40}, {"rbp", 0x50}};
    static constexpr Saved since_117[] = {{"rbx", 0x18}, {"r12", 0x20}, {"r13", 0x28},
                                          {"r14", 0x30}, {"r15", 0x38}, {"rbp", 0x40}};
    Registers registers(in_.core.machine());
    registers.set_pc(caller_pc);
    registers.set_sp(frame.cfa);
    const std::int32_t delta = frame.code != nullptr ? frame.code->sp_delta.value_or(0) : 0;
    std::span<const Saved> saved;
    if (delta == 0x58) saved = before_117;
    if (delta == 0x48) saved = since_117;
    for (const auto& [name, offset] : saved)
        if (auto value = in_.memory.load<std::uint64_t>(frame.sp + offset)) registers.set(name, *value);
    return registers;
}

/// The C frames between a callback into Go and the Go code that called C. The runtime lets cgocallback's frame on the
/// goroutine return right to that Go code; the C frames are on the thread's stack, above cgocallback's other frame,
/// whose sp is g0.sched.sp. At that sp it keeps the g0.sched.sp of the callback before.
void Walk::join_callback(const PhysicalFrame& frame) {
    const Address sp = in_.callback_sp;
    if (sp.is_null() || in_.native_steps.empty() || frame.code == nullptr || !frame.code->sp_delta) return;
    Address older, return_pc;
    const Address cfa = sp + static_cast<std::uint64_t>(*frame.code->sp_delta) + 8;
    if (!load(sp, older) || !load(cfa - 8, return_pc)) return;
    in_.callback_sp = older > sp ? older : Address{};
    const CodePoint* code = in_.code.at(return_pc, true);
    if (!code->func || code->func->name != "crosscall2" || !code->sp_delta) return;

    PhysicalFrame crosscall;
    crosscall.code = code;
    crosscall.pc = return_pc;
    crosscall.sp = cfa;
    crosscall.cfa = cfa + static_cast<std::uint64_t>(*code->sp_delta) + 8;
    crosscall.owner = StackOwner::system;
    Address caller_pc;
    if (!load(crosscall.cfa - 8, caller_pc)) return;
    stack_.physical.push_back(crosscall);
    walk_native(registers_under_crosscall2(crosscall, caller_pc), true, report::Trust::pclntab);
}

}  // namespace incident::go
