// Snapshots: the instructions around a pc. The start of the function anchors the decoding; in long functions decoding
// starts a little before the pc, since x86 finds its instruction boundaries again within a few bytes.
#include <algorithm>

#include <fmt/format.h>

#include "base/text.h"
#include "process/snapshot.h"
#include "process/snapshot_values.h"

namespace incident {

namespace {

constexpr std::uint64_t run_up = 2048;              // bytes decoded before the pc when the function begins farther up
constexpr std::uint64_t look_ahead = 64;            // bytes from the pc on
constexpr std::size_t decode_limit = 4096;          // instructions
constexpr std::int64_t longest_constant = 1 << 16;  // of string constants

/// Where the function of `pc` begins.
std::optional<Address> function_start(const Locator& locator, Address pc) {
    const auto& context = locator.context();
    if (context.runtime != nullptr)
        if (auto func = context.runtime->find_func(pc)) return func->entry;
    if (const Image* image = context.images.find(pc))
        if (auto symbol = image->symbol_at(pc)) return symbol->address;
    return std::nullopt;
}

std::vector<Instruction> decode_around(const Locator& locator, const Disassembler& disassembler, Address pc,
                                       bool after_call) {
    const Memory& memory = locator.context().memory;
    auto start = function_start(locator, after_call ? pc - 1 : pc);
    if (!start || *start > pc) return disassembler.decode_range(memory, {pc, pc + look_ahead}, 8);
    if (pc.value - start->value > run_up) start = pc - run_up;
    for (unsigned shift = 0; shift < 16; ++shift) {  // a start in mid-instruction may run past the pc
        auto code = disassembler.decode_range(memory, {*start + shift, pc + look_ahead}, decode_limit);
        if (std::ranges::any_of(code, [&](const Instruction& i) { return i.pc == pc; })) return code;
    }
    return disassembler.decode_range(memory, {pc, pc + look_ahead}, 8);
}

/// `lea reg, [rip+x]` of a Go string constant is followed by its length: `mov reg, 12`.
std::optional<std::uint64_t> length_after(std::span<const Instruction> code, std::size_t at) {
    for (std::size_t i = at + 1; i < code.size() && i <= at + 4 && code[i].flow == Flow::next; ++i)
        if (code[i].mnemonic == "mov" && code[i].immediate && code[i].destination && *code[i].immediate > 0 &&
            *code[i].immediate < longest_constant)
            return static_cast<std::uint64_t>(*code[i].immediate);
    return std::nullopt;
}

std::string operand_comment(const Locator& locator, std::span<const Instruction> code, std::size_t at,
                            const MemoryOperand& operand) {
    Address target = *operand.absolute;
    Placement place = locator.place(target);
    if (!place.mapped()) return "unmapped";
    bool constant = place.kind == PlaceKind::image && place.section != nullptr && !place.section->writable &&
                    !place.section->executable;
    if (code[at].lea && constant) {
        bool go = locator.context().runtime != nullptr && locator.context().runtime->find_func(code[at].pc).has_value();
        auto length = go ? length_after(code, at) : std::nullopt;
        if (length || !go)
            if (auto text = quoted_text(locator.context().memory, target, length)) return *text;
    }
    std::string name = place.kind == PlaceKind::image && !constant ? locator.symbol(target) : std::string{};
    if (name.empty()) return locator.describe(place);
    return code[at].lea ? "&" + name : name;
}

std::string access_text(const Locator& locator, Address a) {
    Placement place = locator.place(a);
    return place.kind == PlaceKind::null || place.kind == PlaceKind::small_number ? "near nil"
                                                                                  : locator.describe(place);
}

report::CodeLine line_of(const Locator& locator, std::span<const Instruction> code, std::size_t at, Address pc,
                         bool after_call, const Registers* registers) {
    const Instruction& instruction = code[at];
    report::CodeLine line;
    line.pc = instruction.pc;
    line.text = readable_text(instruction);
    line.current = instruction.pc == pc;
    if (instruction.flow == Flow::call && instruction.target)
        if (std::string name = locator.symbol(*instruction.target); !name.empty())
            line.text = instruction.mnemonic + " " + name;
    for (const MemoryOperand& operand : instruction.memory) {
        if (operand.absolute && !operand.fs_relative && !operand.gs_relative) {
            line.comment = operand_comment(locator, code, at, operand);
        } else if (line.current && !after_call && registers != nullptr && !operand.fs_relative &&
                   !operand.gs_relative && !instruction.lea) {
            if (auto address = Disassembler::effective_address(operand, *registers))
                line.comment = fmt::format("accesses {}: {}", hex(address->value), access_text(locator, *address));
        }
    }
    if (line.current && after_call && line.comment.empty()) line.comment = "the call above returns here";
    return line;
}

}  // namespace

std::string readable_text(const Instruction& instruction) {
    std::string text = instruction.text();
    bool sized = instruction.destination || instruction.source;
    if (auto at = text.find(" ptr ["); sized && at != std::string::npos) {
        auto word = text.find_last_of(" ,", at - 1);
        text.erase(word + 1, at + 5 - (word + 1));
    }
    auto open = text.find('['), close = text.find(']');
    if (open == std::string::npos || close == std::string::npos || close < open) return text;
    std::string inside = text.substr(open, close - open);
    std::erase(inside, ' ');
    return text.substr(0, open) + inside + text.substr(close);
}

std::vector<report::CodeLine> Snapshots::code(Address pc, bool after_call, const Registers* registers,
                                              const SnapshotOptions& options) const {
    std::vector<report::CodeLine> lines;
    if (disassembler_ == nullptr) return lines;
    auto code = decode_around(locator_, *disassembler_, pc, after_call);
    auto current = std::ranges::find(code, pc, &Instruction::pc);
    if (current == code.end()) return lines;
    auto index = static_cast<std::size_t>(current - code.begin());
    std::size_t begin = index - std::min(index, options.code_before),
                end = std::min(code.size(), index + options.code_after);
    for (std::size_t i = begin; i < end; ++i) lines.push_back(line_of(locator_, code, i, pc, after_call, registers));
    return lines;
}

}  // namespace incident
