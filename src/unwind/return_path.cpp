// Return paths: code without CFI tells its caller all the same. From pc on, the function's own instructions are
// followed up to a return, over dead memory: pushes, pops and additions to sp decide where the return address lies and
// what the callee-saved registers were.
//
// Where nothing but an epilogue follows, that line will run, and its end is believed whatever it is. A longer way may
// be one that is never taken: a call on it may not return, and behind that call another function begins. So the return
// address at its end counts only when it proves itself: a direct call stands before it, perhaps by way of the PLT, that
// leads to the code in which pc lies. Other ways are tried until one does; none, and this step does not guess.
#include "unwind/return_path.h"

#include <algorithm>
#include <array>
#include <unordered_set>

#include "base/text.h"
#include "disasm/disasm.h"
#include "unwind/code.h"

namespace incident {
namespace {

constexpr std::size_t most_instructions = 2000;  // of all ways from one pc
constexpr std::uint64_t largest_function = 64 << 10;
constexpr std::size_t most_pushed = 64;

StepResult rejected(std::string why) { return {.reason = std::move(why)}; }

/// The state of the machine on one way to a return.
struct Way {
    Registers registers;
    Address pc, sp;
    bool straight = true;  ///< so far nothing but an epilogue
    /// What the way itself pushed; nullopt: a value that is not known.
    std::vector<std::pair<Address, std::optional<std::uint64_t>>> pushed;
};

class ReturnPath {
public:
    ReturnPath(const Memory& memory, const Disassembler& disassembler, const Machine& machine)
        : memory_(memory), disassembler_(disassembler), sp_(machine.sp), bp_(machine.fp) {}

    struct End {
        Way way;
        Address back;
        Address cfa;
    };

    std::optional<End> find(Way start) {
        function_at_ = start.pc;
        ways_.push_back(std::move(start));
        while (!ways_.empty()) {
            Way way = std::move(ways_.back());
            ways_.pop_back();
            if (auto end = follow(std::move(way))) return end;
        }
        return std::nullopt;
    }

private:
    /// Up to a return that can be believed; the other sides of branches are left in ways_.
    std::optional<End> follow(Way way) {
        while (seen_.size() < most_instructions && seen_.insert(way.pc.value).second) {
            auto instruction = disassembler_.decode(memory_, way.pc);
            if (!instruction) return std::nullopt;
            const Address next = way.pc + instruction->size;
            switch (instruction->flow) {
                case Flow::ret: return end_of(std::move(way));
                case Flow::next:
                    if (!step(way, *instruction)) return std::nullopt;
                    way.pc = next;
                    break;
                case Flow::call:
                case Flow::indirect_call:
                    way.straight = false;
                    way.pc = next;
                    break;
                case Flow::jump:
                    way.straight = false;
                    if (!instruction->target) return std::nullopt;
                    way.pc = *instruction->target;
                    break;
                case Flow::conditional_jump:
                    way.straight = false;
                    if (instruction->target) {
                        ways_.push_back(way);
                        ways_.back().pc = *instruction->target;
                    }
                    way.pc = next;
                    break;
                case Flow::trap:
                case Flow::indirect_jump: return std::nullopt;
            }
        }
        return std::nullopt;
    }

    std::optional<End> end_of(Way way) {
        auto back = memory_.load_address(way.sp);
        if (!back) return std::nullopt;
        const Address cfa = way.sp + 8;
        if (!way.straight && !calls_this_function(*back)) return std::nullopt;
        return End{std::move(way), *back, cfa};
    }

    bool calls_this_function(Address back) const {
        if (is_code(memory_, back) != Code::yes) return false;
        auto call = disassembler_.call_before(memory_, back);
        if (!call || call->flow != Flow::call || !call->target) return false;
        Address entry = *call->target;
        for (int hops = 0; hops < 3; ++hops) {  // endbr64; jmp *GOT entry; or a function that only jumps on
            if (entry <= function_at_ && function_at_.value - entry.value < largest_function) return true;
            auto first = disassembler_.decode(memory_, entry);
            if (first && first->mnemonic == "endbr64") first = disassembler_.decode(memory_, entry + first->size);
            if (!first) return false;
            if (first->flow == Flow::jump && first->target)
                entry = *first->target;
            else if (first->flow == Flow::indirect_jump && first->memory.size() == 1 && first->memory[0].absolute)
                entry = memory_.load_address(*first->memory[0].absolute).value_or(Address{});
            else
                return false;
        }
        return false;
    }

    /// One instruction that does not branch; false: sp is not known behind it.
    bool step(Way& way, const Instruction& i) {
        if (i.mnemonic == "pop") return i.destination && *i.destination != sp_ && pop(way, *i.destination);
        if (i.mnemonic == "nop" || i.mnemonic == "endbr64") return true;
        if (i.mnemonic == "add" && i.destination == sp_)
            return i.immediate && *i.immediate >= 0 && raise(way, *i.immediate);
        way.straight = false;
        if (i.mnemonic == "push")
            return push(way, i.memory.empty() && i.source ? way.registers.get(*i.source) : std::nullopt);
        if (i.mnemonic == "leave") return set_sp(way, way.registers.get(bp_), 0) && pop(way, bp_);
        if (i.mnemonic == "pushfq") return push(way, std::nullopt);
        if (i.mnemonic == "popfq") return raise(way, 8);
        if (!i.destination) return true;
        if (*i.destination != sp_) {
            auto value =
                i.mnemonic == "mov" && i.memory.empty() && i.source == sp_ ? std::optional(way.sp.value) : std::nullopt;
            value ? way.registers.set(*i.destination, *value) : way.registers.forget(*i.destination);
            return true;
        }
        if (i.mnemonic == "sub" && i.immediate) return raise(way, -*i.immediate);
        if (i.mnemonic == "add" && i.immediate) return raise(way, *i.immediate);
        if (i.mnemonic == "mov" && i.source && i.memory.empty()) return set_sp(way, way.registers.get(*i.source), 0);
        if (i.lea && i.memory.size() == 1 && i.memory[0].base && !i.memory[0].index)
            return i.memory[0].base == sp_
                       ? raise(way, i.memory[0].displacement)
                       : set_sp(way, way.registers.get(*i.memory[0].base), i.memory[0].displacement);
        return false;
    }

    static bool raise(Way& way, std::int64_t by) {
        way.sp = way.sp + static_cast<std::uint64_t>(by);
        return true;
    }
    static bool set_sp(Way& way, std::optional<std::uint64_t> value, std::int64_t by) {
        if (value) way.sp = Address{*value} + static_cast<std::uint64_t>(by);
        return value.has_value();
    }
    static bool push(Way& way, std::optional<std::uint64_t> value) {
        if (way.pushed.size() >= most_pushed) return false;
        way.sp = way.sp - 8;
        std::erase_if(way.pushed, [&](auto& word) { return word.first == way.sp; });
        way.pushed.emplace_back(way.sp, value);
        return true;
    }
    bool pop(Way& way, unsigned row) {
        auto own = std::ranges::find(way.pushed, way.sp, [](auto& word) { return word.first; });
        std::optional<std::uint64_t> value;
        if (own != way.pushed.end()) {
            value = own->second;
        } else {
            auto word = memory_.load<std::uint64_t>(way.sp);
            if (!word) return false;
            value = *word;
        }
        value ? way.registers.set(row, *value) : way.registers.forget(row);
        return raise(way, 8);
    }

    const Memory& memory_;
    const Disassembler& disassembler_;
    unsigned sp_, bp_;
    Address function_at_;
    std::vector<Way> ways_;
    std::unordered_set<std::uint64_t> seen_;
};

/// What a callee keeps of `state`'s registers (System V ABI, AMD64 supplement, figure 3.4); of an interrupted function
/// the rest is known too, and dead. The thread pointer is the thread's.
Registers kept(const Registers& registers) {
    Registers out(registers.machine());
    auto keep = [&](unsigned row) {
        if (auto value = registers.get(row)) out.set(row, *value);
    };
    for (std::string_view name : {"rbx", "rbp", "r12", "r13", "r14", "r15"})
        if (auto row = registers.machine().row_of(name)) keep(*row);
    if (const auto pointer = registers.machine().thread_pointer; pointer >= 0) keep(static_cast<std::uint8_t>(pointer));
    return out;
}

}  // namespace

UnwindStep return_path_step(const Memory& memory, const Machine& machine) {
    std::shared_ptr<const Disassembler> disassembler;
    constexpr unsigned x86_64 = 62;
    if (auto made = Disassembler::create(machine); made && machine.elf_machine == x86_64)
        disassembler = std::make_shared<const Disassembler>(std::move(*made));
    return {"return path", [&memory, disassembler](const UnwindState& state, AddressRange stack) -> StepResult {
                const auto pc = state.registers.pc(), sp = state.registers.sp();
                if (!disassembler || !pc || !sp) return rejected("not known");
                if (is_code(memory, *pc) != Code::yes) return rejected("the code is not held");
                Way start{kept(state.registers), *pc, *sp, state.after_call, {}};
                auto found = ReturnPath(memory, *disassembler, state.registers.machine()).find(std::move(start));
                if (!found) return rejected("no way to a return tells the caller");
                if (found->cfa > stack.end) return rejected("the return path leaves the stack");
                if (found->back.is_null())
                    return {.kind = StepResult::Kind::outermost,
                            .cfa = found->cfa,
                            .reason = "the return address is 0: outermost frame"};
                if (is_code(memory, found->back) == Code::no)
                    return {.cfa = found->cfa,
                            .bad_return = found->back.value,
                            .reason = "return address " + hex(found->back.value) + " is not code"};
                StepResult out{.kind = StepResult::Kind::caller, .cfa = found->cfa};
                Registers registers = kept(found->way.registers);
                registers.set_pc(found->back);
                registers.set_sp(found->cfa);
                out.caller.emplace(UnwindState{registers, /*after_call=*/true, report::Trust::cfi,
                                               report::FrameKind::native, std::nullopt});
                return out;
            }};
}

}  // namespace incident
