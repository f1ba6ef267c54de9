// Disassembly: the only place that knows capstone. Undecodable is unknown: capstone 4 misreads or stops at newer
// instructions, so every walk over code can end as *unknown*, and callers that ask "can this still unlock?" take that
// for yes.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/address.h"
#include "base/result.h"
#include "core/machine.h"
#include "core/memory.h"

namespace incident {

/// base + index*scale + displacement; for rip-relative operands `absolute` is the target address.
struct MemoryOperand {
    std::optional<unsigned> base;  ///< index into Machine::registers
    std::optional<unsigned> index;
    unsigned scale = 1;
    std::int64_t displacement = 0;
    std::optional<Address> absolute;  ///< rip-relative or direct
    bool fs_relative = false;         ///< TLS access: add the thread pointer
    bool gs_relative = false;
    unsigned size = 0;  ///< bytes accessed
    bool read = false, written = false;
};

enum class Flow : std::uint8_t { next, jump, conditional_jump, call, ret, trap, indirect_jump, indirect_call };

struct Instruction {
    Address pc;
    unsigned size = 0;  ///< bytes
    std::string mnemonic;
    std::string operands;  ///< Intel syntax
    Flow flow = Flow::next;
    std::optional<Address> target;        ///< of direct jumps and calls
    std::vector<MemoryOperand> memory;    ///< explicit memory operands
    std::optional<unsigned> destination;  ///< register written by a mov/lea/…: index into Machine::registers
    std::optional<unsigned> source;       ///< register operand read by a mov
    std::optional<std::int64_t> immediate;
    bool lea = false;
    bool locked = false;  ///< lock prefix or xchg
    std::string text() const { return operands.empty() ? mnemonic : mnemonic + " " + operands; }
};

class Disassembler {
public:
    static Result<Disassembler> create(const Machine& machine);
    Disassembler(Disassembler&&) noexcept;
    ~Disassembler();

    /// One instruction; fails with unsupported when it cannot be decoded, or with Memory's error. Not thread-safe.
    Result<Instruction> decode(const Memory& memory, Address pc) const;
    /// From `begin` on, at most `limit` instructions or up to `end`; stops early, with what it has, at the first
    /// undecodable one (`*complete` = false).
    std::vector<Instruction> decode_range(const Memory& memory, AddressRange range, std::size_t limit,
                                          bool* complete = nullptr) const;
    /// The instruction that ends exactly at `pc`, when `pc` can be a return address: a call stands before it.
    std::optional<Instruction> call_before(const Memory& memory, Address pc) const;

    /// Effective address of an operand, when its registers are known.
    static std::optional<Address> effective_address(const MemoryOperand& operand, const Registers& registers);

private:
    struct State;
    explicit Disassembler(std::unique_ptr<State> state);
    std::unique_ptr<State> state_;
};

/// Cheap check by bytes only [any thread]: may a call instruction end at `pc`? (E8 rel32 to a mapped address, FF /2
/// forms.)
bool may_be_return_address(const Memory& memory, Address pc);

}  // namespace incident
