#include "disasm/call_argument.h"

#include <algorithm>
#include <ranges>
#include <string_view>
#include <vector>

namespace incident {

namespace {

constexpr std::size_t longest_look_back = 24;  // instructions before the call
constexpr std::size_t most_loads = 3;

/// Writes registers that its operands do not show, or shows two of them.
bool writes_more(std::string_view mnemonic) {
    static constexpr std::string_view such[] = {"mul",  "imul",         "div",       "idiv",      "cqo",      "cdq",
                                                "cdqe", "cwd",          "rdtsc",     "cpuid",     "xchg",     "cmpxchg",
                                                "xadd", "lock cmpxchg", "rep stosq", "rep movsq", "lock xadd"};
    return std::ranges::find(such, mnemonic) != std::end(such);
}

/// Where the operand lies, as far as the frame alone tells.
std::optional<Address> place_of(const MemoryOperand& operand, const CallFrame& frame) {
    if (operand.absolute) return operand.absolute;
    if (operand.index) return std::nullopt;
    if (operand.base == frame.machine.sp) return frame.sp + static_cast<std::uint64_t>(operand.displacement);
    if (operand.base == frame.machine.fp && !frame.bp.is_null())
        return frame.bp + static_cast<std::uint64_t>(operand.displacement);
    return std::nullopt;
}

}  // namespace

std::optional<Address> argument_of_call(const Memory& memory, std::span<const Instruction> code, unsigned reg,
                                        const CallFrame& frame) {
    if (code.empty()) return std::nullopt;
    std::vector<std::int64_t> loads;  // displacements from the pointer loaded before, the last load first
    for (const Instruction& at :
         code.first(code.size() - 1) | std::views::reverse | std::views::take(longest_look_back)) {
        if (at.flow != Flow::next && at.flow != Flow::conditional_jump)
            return std::nullopt;  // other paths, other values
        if (writes_more(at.mnemonic)) return std::nullopt;
        if (at.destination != reg) continue;
        if (at.mnemonic != "mov" && at.mnemonic != "lea") return std::nullopt;  // computed
        if (at.memory.empty()) {
            if (!at.source) return std::nullopt;
            reg = *at.source;
            continue;
        }
        const MemoryOperand& from = at.memory.front();
        std::optional<Address> value = place_of(from, frame);
        if (value) {
            if (!at.lea) loads.push_back(0);
        } else {
            if (at.lea || !from.base || from.index || from.fs_relative || from.gs_relative ||
                loads.size() == most_loads)
                return std::nullopt;
            loads.push_back(from.displacement);
            reg = *from.base;
            continue;
        }
        for (const std::int64_t displacement : loads | std::views::reverse) {
            const auto loaded = memory.load_address(*value + static_cast<std::uint64_t>(displacement));
            if (!loaded) return std::nullopt;
            value = *loaded;
        }
        return value;
    }
    return std::nullopt;
}

}  // namespace incident
