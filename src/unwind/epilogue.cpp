// Epilogues: code without CFI often tells its caller all the same. When nothing but pops, an addition to sp and a
// return follow the call, that straight line will run when the callee returns, and doing it over dead memory gives the
// caller's registers exactly. Anything else ends the attempt: this step does not guess.
#include <cstring>
#include <span>

#include "base/text.h"
#include "unwind/code.h"
#include "unwind/epilogue.h"

namespace incident {
namespace {

constexpr std::size_t longest_epilogue = 64;  // bytes

StepResult rejected(std::string why) { return {.reason = std::move(why)}; }

/// The x86-64 number of a register (as in instructions) → the row of our table that holds it.
std::optional<unsigned> row_of(const Machine& machine, unsigned number) {
    static constexpr std::string_view names[] = {"rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi",
                                                 "r8",  "r9",  "r10", "r11", "r12", "r13", "r14", "r15"};
    return machine.row_of(names[number & 15]);
}

/// What the straight line does, one instruction at a time.
class Epilogue {
public:
    Epilogue(const Memory& memory, const Registers& registers, Address sp)
        : memory_(memory), out_(registers.machine()), sp_(sp) {
        // What the line does not pop the function did not change, of the registers that a callee keeps (System V ABI,
        // AMD64 supplement, figure 3.4): rbx, rbp, r12 to r15. The thread pointer is the thread's.
        for (unsigned number : {3u, 5u, 12u, 13u, 14u, 15u})
            if (auto row = row_of(registers.machine(), number)) keep(registers, *row);
        if (int pointer = registers.machine().thread_pointer; pointer >= 0)
            keep(registers, static_cast<unsigned>(pointer));
    }

    /// Of `code`, up to and with the return; false: something else stands there.
    bool run(std::span<const std::byte> code) {
        while (!code.empty()) {
            const auto first = std::to_integer<unsigned>(code[0]);
            if (first == 0xc3 || (first == 0xf3 && byte(code, 1) == 0xc3)) return pop(return_address_);
            std::size_t length = 0;
            if (first == 0x90)
                length = 1;
            else if (first >= 0x58 && first <= 0x5f)
                length = pop_register(first - 0x58) ? 1 : 0;
            else if (first == 0x41 && byte(code, 1) >= 0x58 && byte(code, 1) <= 0x5f)
                length = pop_register(byte(code, 1) - 0x58 + 8) ? 2 : 0;
            else if (first == 0x48 && byte(code, 1) == 0x83 && byte(code, 2) == 0xc4)
                length = raise(static_cast<std::int8_t>(byte(code, 3))) ? 4 : 0;
            else if (first == 0x48 && byte(code, 1) == 0x81 && byte(code, 2) == 0xc4 && code.size() >= 7) {
                std::int32_t by;
                std::memcpy(&by, code.data() + 3, sizeof by);
                length = raise(by) ? 7 : 0;
            }
            if (length == 0 || length > code.size()) return false;
            code = code.subspan(length);
        }
        return false;
    }

    Registers registers() {
        out_.set_pc(Address{return_address_});
        out_.set_sp(sp_);
        return std::move(out_);
    }
    Address sp() const { return sp_; }
    Address return_address() const { return Address{return_address_}; }

private:
    void keep(const Registers& registers, unsigned row) {
        if (auto value = registers.get(row)) out_.set(row, *value);
    }
    static unsigned byte(std::span<const std::byte> code, std::size_t i) {
        return i < code.size() ? std::to_integer<unsigned>(code[i]) : 0x100;
    }
    bool pop(std::uint64_t& value) {
        auto word = memory_.load<std::uint64_t>(sp_);
        if (!word) return false;
        value = *word;
        sp_ = sp_ + 8;
        return true;
    }
    bool pop_register(unsigned number) {
        std::uint64_t value;
        constexpr unsigned rsp = 4;
        auto row = row_of(out_.machine(), number);
        if (number == rsp || !row || !pop(value)) return false;
        out_.set(*row, value);
        return true;
    }
    bool raise(std::int32_t by) {
        if (by < 0) return false;
        sp_ = sp_ + static_cast<std::uint64_t>(by);
        return true;
    }

    const Memory& memory_;
    Registers out_;
    Address sp_;
    std::uint64_t return_address_ = 0;
};

}  // namespace

UnwindStep epilogue_step(const Memory& memory) {
    return {"epilogue", [&memory](const UnwindState& state, AddressRange stack) -> StepResult {
                constexpr unsigned x86_64 = 62;
                const auto pc = state.registers.pc(), sp = state.registers.sp();
                if (!pc || !sp || !state.after_call || state.registers.machine().elf_machine != x86_64)
                    return rejected("no return address");
                std::size_t held = longest_epilogue;
                while (held > 0 && memory.data_at(*pc, held) == nullptr) held /= 2;
                if (held == 0) return rejected("the code is not held");
                Epilogue epilogue(memory, state.registers, *sp);
                if (!epilogue.run({memory.data_at(*pc, held), held}))
                    return rejected("more than an epilogue follows the call");
                const Address back = epilogue.return_address(), cfa = epilogue.sp();
                if (cfa > stack.end) return rejected("the epilogue leaves the stack");
                if (back.is_null())
                    return {.kind = StepResult::Kind::outermost,
                            .cfa = cfa,
                            .reason = "the return address is 0: outermost frame"};
                if (is_code(memory, back) == Code::no)
                    return {.cfa = cfa,
                            .bad_return = back.value,
                            .reason = "return address " + hex(back.value) + " is not code"};
                StepResult out{.kind = StepResult::Kind::caller, .cfa = cfa};
                out.caller.emplace(UnwindState{epilogue.registers(), /*after_call=*/true, report::Trust::cfi,
                                               report::FrameKind::native, std::nullopt});
                return out;
            }};
}

}  // namespace incident
