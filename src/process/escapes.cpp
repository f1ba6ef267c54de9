#include "process/escapes.h"

#include <algorithm>
#include <array>
#include <bitset>

#include "process/fault_access.h"

namespace incident {

namespace {

constexpr std::size_t longest = 4000;  // instructions
using Set = std::bitset<max_registers>;

struct Names {
    explicit Names(const Machine& machine) {
        for (unsigned i = 0; i < machine.registers.size(); ++i) {
            std::string_view name = machine.registers[i].name;
            if (name == "rdi" || name == "rsi" || name == "rdx" || name == "rcx" || name == "r8" || name == "r9")
                arguments.set(i);
            if (name == "rax" || name == "r10" || name == "r11") scratch.set(i);
        }
        scratch |= arguments;
    }
    Set arguments, scratch;
};

/// May the function at `entry` read `reg` before it writes it? Unknown is yes.
bool reads(const Process& process, Address entry, unsigned reg) {
    for (const Instruction& i : process.disassembler->decode_range(process.memory, {entry, entry + 200}, 40)) {
        if (i.source && *i.source == reg) return true;
        for (const MemoryOperand& operand : i.memory)
            if (operand.base == reg || operand.index == reg) return true;
        if (i.flow != Flow::next) return true;
        if (i.destination && *i.destination == reg) return !(i.mnemonic.starts_with("mov") || i.lea);
    }
    return true;
}

/// Functions of libc that remember none of their arguments.
bool keeps_nothing(const Process& process, Address target) {
    const Image* image = process.images->find(target);
    auto symbol = image != nullptr ? image->symbol_at(target) : std::nullopt;
    if (!symbol) return false;
    std::string_view name = symbol->name.substr(0, symbol->name.find('@'));
    static constexpr std::array known = {"memset",  "memcpy", "memmove",  "memcmp",  "strlen", "strcpy",
                                         "strncpy", "strcmp", "snprintf", "sprintf", "printf", "fprintf",
                                         "dprintf", "puts",   "read",     "write"};
    return std::ranges::find(known, name) != known.end();
}

}  // namespace

std::optional<Address> function_entry(const Process& process, Address pc, std::optional<Address> return_pc) {
    AddressRange range = function_range(process, pc);
    if (!range.empty()) return range.begin;
    if (!return_pc || !process.disassembler) return std::nullopt;
    auto call = process.disassembler->call_before(process.memory, *return_pc);
    if (!call || !call->target || *call->target > pc || pc - *call->target > (1 << 16)) return std::nullopt;
    return call->target;
}

bool keeps_addresses_in(const Process& process, Address entry, Address return_pc) {
    if (!process.disassembler) return false;
    const Machine& machine = process.core.machine();
    const Names names(machine);
    bool complete = false;
    auto code = process.disassembler->decode_range(process.memory, {entry, return_pc}, longest, &complete);
    if (!complete || code.empty() || code.back().pc + code.back().size != return_pc) return false;
    // A loop around the call, or code that was moved behind it and comes back.
    Address last = return_pc;  // the farthest place that a jump of this function leads to
    auto jumps_to = [](const Instruction& i) { return i.flow == Flow::call ? std::nullopt : i.target; };
    constexpr std::uint64_t farthest = 4096;
    for (const Instruction& i : code)
        if (auto to = jumps_to(i); to && *to > last && *to < return_pc + farthest) last = *to;
    for (const Instruction& i :
         process.disassembler->decode_range(process.memory, {return_pc, return_pc + farthest}, longest)) {
        if (i.flow == Flow::indirect_jump) return false;
        auto to = jumps_to(i);
        if (to && *to >= entry && *to < return_pc) return false;
        if (to && *to > last && *to < i.pc + farthest && i.flow == Flow::conditional_jump) last = *to;
        bool ends = i.flow == Flow::ret || i.flow == Flow::jump || i.flow == Flow::trap;
        if (ends && i.pc >= last) break;
    }
    Set tainted;
    for (int pass = 0; pass < 2; ++pass) {
        tainted.reset(machine.fp);  // the caller's, until it is set here
        for (const Instruction& i : code) {
            if (i.flow == Flow::indirect_jump) return false;
            if (i.flow == Flow::call || i.flow == Flow::indirect_call) {
                for (unsigned reg = 0; reg < machine.registers.size(); ++reg)
                    if (tainted[reg] && names.arguments[reg] &&
                        (i.flow == Flow::indirect_call || !i.target ||
                         (!keeps_nothing(process, *i.target) && reads(process, *i.target, reg))))
                        return false;
                tainted &= ~names.scratch;
                continue;
            }
            bool stores = std::ranges::any_of(i.memory, [](const MemoryOperand& m) { return m.written; });
            bool reads_address = i.source && (tainted[*i.source] || *i.source == machine.sp);
            if (stores && reads_address) return false;
            if (!i.destination) {
                // Into a vector register, a push, or something that we do not know.
                if (reads_address && i.mnemonic != "cmp" && i.mnemonic != "test") return false;
                continue;
            }
            bool from_frame =
                i.lea && std::ranges::any_of(i.memory, [&](const MemoryOperand& m) {
                    return (m.base && (*m.base == machine.sp || *m.base == machine.fp || tainted[*m.base])) ||
                           (m.index && tainted[*m.index]);
                });
            bool copy = i.mnemonic.starts_with("mov") && i.memory.empty() && i.source &&
                        (*i.source == machine.sp || tainted[*i.source]);
            bool arithmetic = !i.lea && !i.mnemonic.starts_with("mov") &&
                              ((i.source && tainted[*i.source]) || tainted[*i.destination]);
            if (*i.destination != machine.sp) tainted[*i.destination] = from_frame || copy || arithmetic;
        }
    }
    return true;
}

}  // namespace incident
