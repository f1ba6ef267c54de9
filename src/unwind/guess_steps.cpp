// The two steps that guess: the chain of saved frame pointers, and the search for a word that looks like a return
// address. Both insist on a call instruction before the address where the code is held.
#include <algorithm>
#include <array>
#include <cstring>
#include <span>

#include "base/text.h"
#include "disasm/disasm.h"
#include "unwind/code.h"
#include "unwind/unwinder.h"

namespace incident {
namespace {

constexpr std::uint64_t scan_words = 1024;

StepResult rejected(std::string why) { return {.reason = std::move(why)}; }

bool plausible_return(const Memory& memory, Address a) {
    switch (is_code(memory, a)) {
        case Code::yes: return may_be_return_address(memory, a);
        case Code::no: return false;
        case Code::unknown: return true;
    }
    return false;
}

/// A jump to nowhere has executed nothing: if it was a call, the return address is the word at sp.
bool is_nowhere(const Memory& memory, const UnwindState& state) {
    return !state.after_call && state.registers.pc() && is_code(memory, *state.registers.pc()) == Code::no;
}

/// The interrupted function may have no frame of its own yet: a leaf without one, or still in its prologue. Then the
/// frame pointer is the caller's, and following it would lose a frame. True when the word at sp returns from a direct
/// call to a function that begins shortly before pc and has not executed `push rbp; mov rbp, rsp`.
bool is_frameless(const Memory& memory, const UnwindState& state) {
    constexpr std::uint64_t near = 4096;  // bytes from a function's entry
    if (state.after_call || !state.registers.sp() || !state.registers.pc()) return false;
    const Address pc = *state.registers.pc();
    auto back = memory.load<std::uint64_t>(*state.registers.sp());
    if (!back || !plausible_return(memory, Address{*back})) return false;
    const std::byte* call = memory.data_at(Address{*back} - 5, 5);
    if (call == nullptr || call[0] != std::byte{0xe8}) return false;
    std::int32_t relative;
    std::memcpy(&relative, call + 1, sizeof relative);
    const Address entry = Address{*back} + static_cast<std::uint64_t>(std::int64_t{relative});
    if (entry > pc || pc.value - entry.value >= near) return false;
    static constexpr unsigned char landing[] = {0xf3, 0x0f, 0x1e, 0xfa}, prologue[] = {0x55, 0x48, 0x89, 0xe5};
    const std::byte* code = memory.data_at(entry, 8);
    if (code == nullptr) return false;
    std::uint64_t length = 0;
    if (std::memcmp(code, landing, sizeof landing) == 0) length += sizeof landing;
    const bool makes_frame = std::memcmp(code + length, prologue, sizeof prologue) == 0;
    return !makes_frame || pc <= entry + length;  // behind the push the word at sp is the saved frame pointer already
}

/// Does the function that a symbol names begin without `mov rbp, rsp`? Then the frame pointer is some caller's, and
/// following it would skip all frames up to that one. Code without symbols may be anything.
bool leaves_frame_pointer(const Memory& memory, const Images& images, const UnwindState& state) {
    if (!state.registers.pc()) return false;
    const Address at = state.after_call ? *state.registers.pc() - 1 : *state.registers.pc();
    const Image* image = images.find(at);
    const auto symbol = image != nullptr ? image->symbol_at(at) : std::nullopt;
    if (!symbol || !symbol->function || symbol->size == 0) return false;
    constexpr std::uint64_t longest_prologue = 64;  // bytes: the compiler moves other instructions in between
    const std::uint64_t length = std::min(symbol->size, longest_prologue);
    const std::byte* code = memory.data_at(symbol->address, length);
    if (code == nullptr) return false;
    // mov rbp, rsp in its two encodings; lea rbp, [rsp+…], with a byte or a word
    static constexpr std::array<std::array<unsigned char, 3>, 4> makes = {
        {{0x48, 0x89, 0xe5}, {0x48, 0x8b, 0xec}, {0x48, 0x8d, 0x6c}, {0x48, 0x8d, 0xac}}};
    const std::span bytes(code, length);
    return std::ranges::none_of(makes, [&](const auto& wanted) {
        return !std::ranges::search(bytes, std::as_bytes(std::span(wanted))).empty();
    });
}

/// Of a libc without CFI (musl): what the kernel enters, and clone()'s other side.
bool begins_here(const Images& images, Address a) {
    const Image* image = images.find(a);
    const auto symbol = image != nullptr ? image->symbol_at(a) : std::nullopt;
    return symbol && (symbol->name == "_start" || symbol->name == "__clone");
}

UnwindState caller_at(const UnwindState& state, Address pc, Address sp, report::Trust trust) {
    UnwindState caller{Registers(state.registers.machine()), /*after_call=*/true, trust, report::FrameKind::native,
                       std::nullopt};
    caller.registers.set_pc(pc);
    caller.registers.set_sp(sp);
    return caller;
}

StepResult found(const UnwindState& caller, Address cfa) {
    StepResult out{.kind = StepResult::Kind::caller, .cfa = cfa};
    out.caller = caller;
    return out;
}

}  // namespace

UnwindStep frame_pointer_step(const Memory& memory, const Images* images) {
    return {"frame pointer", [&memory, images](const UnwindState& state, AddressRange stack) -> StepResult {
                const auto fp = state.registers.fp(), sp = state.registers.sp();
                if (!fp || !sp) return rejected("not known");
                if (is_nowhere(memory, state)) return rejected("pc is no code");
                if (is_frameless(memory, state)) return rejected("the function has no frame at this pc");
                if (images != nullptr && leaves_frame_pointer(memory, *images, state))
                    return rejected("the function makes no such frame");
                if (*fp < *sp || !stack.contains(AddressRange{*fp, *fp + 16}))
                    return rejected(hex(fp->value) + " is not on the stack above sp");
                if (!fp->is_aligned(8)) return rejected(hex(fp->value) + " is not aligned");
                auto saved = memory.load<std::uint64_t>(*fp), back = memory.load<std::uint64_t>(*fp + 8);
                if (!saved || !back) return rejected("frame at " + hex(fp->value) + " cannot be read");
                // A scan only supposes that the callee left the frame pointer alone.
                if (*back == 0 && state.trust == report::Trust::scan) return rejected("its return address is 0");
                if (*back == 0)
                    return {.kind = StepResult::Kind::outermost,
                            .cfa = *fp + 16,
                            .reason = "the return address is 0: outermost frame"};
                if (!plausible_return(memory, Address{*back}))
                    return rejected(hex(*back) + " at " + hex(fp->value + 8) + " is no return address");
                UnwindState caller = caller_at(state, Address{*back}, *fp + 16, report::Trust::frame_pointer);
                caller.registers.set_fp(Address{*saved});
                return found(caller, *fp + 16);
            }};
}

UnwindStep scan_step(const Memory& memory, const Images& images) {
    return {"scan", [&memory, &images](const UnwindState& state, AddressRange stack) -> StepResult {
                const auto sp = state.registers.sp(), fp = state.registers.fp();
                if (!sp || !state.registers.pc()) return rejected("no sp");
                const bool nowhere = is_nowhere(memory, state);
                if (state.after_call && begins_here(images, *state.registers.pc() - 1))
                    return {.kind = StepResult::Kind::outermost, .reason = "the thread begins here"};
                const std::uint64_t words = nowhere ? 1 : scan_words;
                Address at{(sp->value + 7) & ~std::uint64_t{7}};
                MemoryCursor cursor(memory);
                for (std::uint64_t i = 0; i < words && at + 8 <= stack.end; ++i, at += 8) {
                    std::uint64_t word = 0;
                    if (!cursor.load(at, word)) break;
                    if (word < 0x1000 || !may_be_return_address(memory, Address{word}) ||
                        is_code(memory, Address{word}) != Code::yes)
                        continue;
                    if (!nowhere && !images.find_module(Address{word})) continue;  // JIT code is not worth a guess
                    UnwindState caller = caller_at(state, Address{word}, at + 8, report::Trust::scan);
                    // A frame pointer that points above may still be the caller's: callees save it.
                    if (fp && *fp > at && stack.contains(*fp)) caller.registers.set_fp(*fp);
                    return found(caller, at + 8);
                }
                return rejected("no word that could be a return address");
            }};
}

}  // namespace incident
