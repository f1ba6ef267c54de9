// FaultAccess: the faulting instruction, decoded: which operand faulted, which register was bad, and from which slot
// that register was loaded. Says nothing where the code between the load and the fault is not straight.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "disasm/disasm.h"
#include "process/process.h"

namespace incident {

struct FaultAccess {
    Instruction instruction;
    std::optional<MemoryOperand> operand;  ///< the one that faulted; nullopt when none explains the address
    std::optional<Address> effective;      ///< its address by the saved registers
    std::optional<unsigned> bad_register;  ///< base or index that made it bad
    std::optional<std::uint64_t> deduced;  ///< value of bad_register, from the faulting address, when it was not saved
    bool write = false;
    std::optional<std::uint64_t> target;  ///< of a call, a jump or a return, as far as registers and memory still say

    struct Load {
        Address pc;  ///< of the load
        MemoryOperand from;
        std::optional<Address> slot;  ///< its effective address, when the registers it used are unchanged
        bool confirmed = false;       ///< the slot still holds the register's value
    };
    std::optional<Load> load;  ///< last write to bad_register on the straight path
    std::string source;        ///< other origin in words: "result of the call at …", "argument"
};

/// `function` bounds the backward look; empty range: no backward look.
std::optional<FaultAccess> analyse_access(const Process& process, const Registers& registers,
                                          std::optional<Address> fault, AddressRange function);

/// Where a call, a jump or a return leads, when registers and memory still say so.
std::optional<std::uint64_t> jump_target(const Process& process, const Registers& registers,
                                         const Instruction& instruction);

/// Bounds of the function that holds `pc`: pclntab's, else the symbol's; empty when neither knows.
AddressRange function_range(const Process& process, Address pc);

/// "[rax+0x10]"
std::string operand_text(const MemoryOperand& operand, const Machine& machine);

}  // namespace incident
