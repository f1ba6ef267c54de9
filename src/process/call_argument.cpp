#include "process/call_argument.h"

#include <algorithm>

namespace incident {

namespace {

constexpr std::uint64_t window = 80;  // bytes before the call: an argument is loaded close to it

/// The straight line of instructions that ends with the call. x86 code is decoded forward only: of the places it may
/// be entered at, the earliest from which the call is hit exactly is taken; decoding falls into step within a few.
std::vector<Instruction> line_before(const Process& process, Address return_pc) {
    auto call = process.disassembler->call_before(process.memory, return_pc);
    if (!call) return {};
    for (Address begin = call->pc - window; begin < call->pc; begin += 1) {
        auto code = process.disassembler->decode_range(process.memory, {begin, return_pc}, window);
        auto at = std::ranges::find(code, call->pc, &Instruction::pc);
        if (at == code.end()) continue;
        code.erase(at, code.end());
        return code;
    }
    return {};
}

bool kept_by_calls(const Machine& machine, unsigned reg) {
    std::string_view name = machine.registers[reg].name;
    return name == "rbx" || name == "rbp" || name == "rsp" || name == "r12" || name == "r13" || name == "r14" ||
           name == "r15";
}

}  // namespace

std::optional<CallArgument> first_argument(const Process& process, Address return_pc, const Registers& caller) {
    const Machine& machine = process.core.machine();
    auto rdi = std::ranges::find(machine.registers, std::string_view("rdi"), &RegisterRow::name);
    if (rdi == machine.registers.end() || !process.disassembler) return std::nullopt;
    auto code = line_before(process, return_pc);
    unsigned wanted = static_cast<unsigned>(rdi - machine.registers.begin());
    std::uint64_t added = 0;
    for (auto at = code.rbegin(); at != code.rend(); ++at) {
        if (at->flow != Flow::next && at->flow != Flow::conditional_jump) return std::nullopt;
        if (!at->destination || *at->destination != wanted) continue;
        if ((at->mnemonic == "add" || at->mnemonic == "sub") && at->immediate) {
            auto by = static_cast<std::uint64_t>(*at->immediate);
            added += at->mnemonic == "add" ? by : ~by + 1;
            continue;
        }
        if (!at->mnemonic.starts_with("mov") && !at->lea) return std::nullopt;
        if (!at->memory.empty()) {
            // The base still holds what it held: the frame's own registers do, others may have been written since.
            const MemoryOperand& operand = at->memory.front();
            bool stable =
                !operand.index && (operand.absolute || (operand.base && kept_by_calls(machine, *operand.base)));
            auto place = stable ? Disassembler::effective_address(operand, caller) : std::nullopt;
            if (!place) return std::nullopt;
            if (at->lea) return CallArgument{place->value + added, std::nullopt};
            auto word = process.memory.load<std::uint64_t>(*place);
            if (!word || operand.size != 8) return std::nullopt;
            return CallArgument{*word + added, place};
        }
        if (at->immediate) return CallArgument{static_cast<std::uint64_t>(*at->immediate) + added, std::nullopt};
        if (!at->source) return std::nullopt;
        wanted = *at->source;
        if (kept_by_calls(machine, wanted)) {
            auto value = caller.get(wanted);
            return value ? std::optional(CallArgument{*value + added, std::nullopt}) : std::nullopt;
        }
    }
    return std::nullopt;
}

}  // namespace incident
