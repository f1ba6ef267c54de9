#include "process/fault_access.h"

#include <fmt/format.h>

#include <algorithm>

namespace incident {

namespace {

constexpr std::size_t longest_function = 20000;  // instructions decoded to find one load

/// The operand whose effective address is the faulting one; with no address (a general protection fault), the one that
/// cannot be an address, or is not aligned as vector instructions want it.
void choose_operand(FaultAccess& access, const Registers& registers, std::optional<Address> fault,
                    std::uint8_t canonical_bits) {
    for (auto& operand : access.instruction.memory) {
        auto effective = Disassembler::effective_address(operand, registers);
        if (!effective && fault && operand.base && !operand.index && !registers.get(*operand.base)) {
            // The register was not saved, but the kernel's address and the instruction tell it, when nothing else can
            // have faulted.
            if (access.instruction.memory.size() != 1) continue;
            access.operand = operand;
            access.effective = fault;
            access.write = operand.written;
            access.deduced = fault->value - static_cast<std::uint64_t>(operand.displacement);
            return;
        }
        if (!effective) continue;
        bool hit = fault ? (*fault >= *effective && *fault < *effective + std::max(operand.size, 1u))
                         : (effective->value >> canonical_bits) != 0 ||
                               (operand.size >= 16 && !effective->is_aligned(operand.size));
        if (!hit) continue;
        access.operand = operand;
        access.effective = effective;
        access.write = operand.written;
        return;
    }
}

/// Which register made the address bad: the base, unless an index is larger than any plausible one.
void choose_register(FaultAccess& access, const Registers& registers, std::uint8_t canonical_bits) {
    auto& operand = *access.operand;
    auto implausible = [&](unsigned index) {
        auto value = registers.get(index);
        return value && *value >> canonical_bits != 0 &&
               *value >> canonical_bits != (~std::uint64_t{0} >> canonical_bits);
    };
    if (operand.base && !operand.index)
        access.bad_register = operand.base;
    else if (operand.base && operand.index) {
        if (implausible(*operand.base))
            access.bad_register = operand.base;
        else if (implausible(*operand.index))
            access.bad_register = operand.index;
        else
            access.bad_register = registers.get(*operand.base).value_or(1) < 0x10000 ? operand.base : operand.index;
    }
}

bool writes(const Instruction& instruction, unsigned reg) {
    return instruction.destination && *instruction.destination == reg;
}

bool ends_straight_line(const Instruction& instruction) {
    return instruction.flow != Flow::next && instruction.flow != Flow::conditional_jump;
}

/// The last write to the bad register, if execution must have come through it: no jump lands in between.
void find_load(FaultAccess& access, const Process& process, const Registers& registers, AddressRange function) {
    Address pc = access.instruction.pc;
    bool complete = false;
    auto code = process.disassembler->decode_range(process.memory, function, longest_function, &complete);
    auto at = std::ranges::find_if(code, [&](auto& i) { return i.pc == pc; });
    if (at == code.end()) return;  // undecodable on the way: unknown
    Address straight_from = function.begin;
    for (auto& instruction : code)
        if (instruction.target && *instruction.target <= pc && *instruction.target > straight_from &&
            function.contains(*instruction.target) &&
            (instruction.flow == Flow::jump || instruction.flow == Flow::conditional_jump))
            straight_from = *instruction.target;
    for (auto back = at; back != code.begin();) {
        --back;
        if (back->pc < straight_from) return;
        if (back->flow == Flow::call || back->flow == Flow::indirect_call) {
            access.source = fmt::format("set after the call at {:#x} returned", back->pc.value);
            return;
        }
        if (ends_straight_line(*back)) return;
        if (!writes(*back, *access.bad_register)) continue;
        if (back->lea || back->memory.empty() || !back->memory.front().read) return;
        FaultAccess::Load load{back->pc, back->memory.front(), std::nullopt, false};
        // The slot can be named only if the registers it was computed from still hold what they held then.
        bool unchanged = std::none_of(back, at, [&](const Instruction& i) {
            return i.destination && ((load.from.base && *load.from.base == *i.destination) ||
                                     (load.from.index && *load.from.index == *i.destination));
        });
        if (unchanged) load.slot = Disassembler::effective_address(load.from, registers);
        if (load.slot) {
            auto word = process.memory.load<std::uint64_t>(*load.slot);
            auto value = access.deduced ? access.deduced : registers.get(*access.bad_register);
            load.confirmed = word && value == *word;
        }
        access.load = load;
        return;
    }
}

}  // namespace

std::optional<FaultAccess> analyse_access(const Process& process, const Registers& registers,
                                          std::optional<Address> fault, AddressRange function) {
    auto pc = registers.pc();
    if (!pc || !process.disassembler) return std::nullopt;
    auto instruction = process.disassembler->decode(process.memory, *pc);
    if (!instruction) return std::nullopt;
    FaultAccess access;
    access.instruction = std::move(*instruction);
    access.target = jump_target(process, registers, access.instruction);
    auto bits = process.core.machine().canonical_bits;
    choose_operand(access, registers, fault, bits);
    if (!access.operand) {
        // Which operand is clear when there is one, whatever its registers held.
        if (access.instruction.memory.size() == 1) access.write = access.instruction.memory.front().written;
        return access;
    }
    choose_register(access, registers, bits);
    if (access.bad_register && !function.empty()) find_load(access, process, registers, function);
    return access;
}

std::optional<std::uint64_t> jump_target(const Process& process, const Registers& registers,
                                         const Instruction& instruction) {
    if (instruction.flow == Flow::ret) {
        auto back = registers.sp() ? process.memory.load<std::uint64_t>(*registers.sp())
                                   : Result<std::uint64_t>(fail(ErrorKind::absent, ""));
        return back ? std::optional(*back) : std::nullopt;
    }
    if (instruction.flow != Flow::indirect_call && instruction.flow != Flow::indirect_jump) return std::nullopt;
    if (instruction.memory.empty()) return registers.get(instruction.operands);  // "rdx"
    auto slot = Disassembler::effective_address(instruction.memory.front(), registers);
    auto word = slot ? process.memory.load<std::uint64_t>(*slot) : Result<std::uint64_t>(fail(ErrorKind::absent, ""));
    return word ? std::optional(*word) : std::nullopt;
}

AddressRange function_range(const Process& process, Address pc) {
    if (process.go)
        if (auto func = process.go->find_func(pc)) return {func->entry, func->end};
    if (const Image* image = process.images->find(pc))
        if (auto symbol = image->symbol_at(pc); symbol && symbol->size > 0)
            return {symbol->address, symbol->address + symbol->size};
    return {};
}

std::string operand_text(const MemoryOperand& operand, const Machine& machine) {
    if (operand.absolute) return fmt::format("[{:#x}]", operand.absolute->value);
    std::string text = operand.fs_relative ? "fs:[" : operand.gs_relative ? "gs:[" : "[";
    auto name = [&](unsigned index) {
        return index < machine.registers.size() ? machine.registers[index].name : std::string_view("?");
    };
    if (operand.base) text += name(*operand.base);
    if (operand.index) text += fmt::format("{}{}*{}", operand.base ? "+" : "", name(*operand.index), operand.scale);
    if (operand.displacement != 0 || (!operand.base && !operand.index))
        text += operand.displacement < 0
                    ? fmt::format("-{:#x}", -static_cast<std::uint64_t>(operand.displacement))
                    : fmt::format("{}{:#x}", operand.base || operand.index ? "+" : "", operand.displacement);
    return text + "]";
}

}  // namespace incident
