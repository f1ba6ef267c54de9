// Evaluates DWARF expressions (CFI rules, variable locations) over dead registers and memory. Bounded in steps and
// stack; what cannot be computed says why: optimised out is a fact about the program, not a failure of ours.
#pragma once

#include <elfutils/libdw.h>

#include <array>
#include <functional>
#include <optional>

#include "base/result.h"
#include "core/machine.h"
#include "core/memory.h"

namespace incident {

struct LocationPiece {
    enum class Kind : std::uint8_t { memory, reg, value, unavailable } kind = Kind::unavailable;
    std::uint64_t where = 0;  ///< target address, DWARF register number, or the value itself
    std::uint64_t size = 0;   ///< bytes; 0: the whole variable
};

struct Location {
    std::array<LocationPiece, 16> pieces;
    std::size_t count = 0;
    bool whole() const { return count == 1 && pieces[0].size == 0; }
};

struct LocationContext {
    const Registers* registers = nullptr;
    const Memory* memory = nullptr;
    std::optional<Address> cfa;
    std::uint64_t bias = 0;
    Dwarf_Attribute* attribute = nullptr;               ///< whose expression it is, for indexed addresses
    std::function<Result<std::uint64_t>()> frame_base;  ///< DW_OP_fbreg
    /// What a register held when the function was entered, as the caller's call-site data tell; null: not asked.
    std::function<std::optional<std::uint64_t>(int dwarf_register)> entry_value;
};

Result<Location> evaluate_location(const Dwarf_Op* ops, std::size_t count, const LocationContext& context);
/// For CFI: the value that the rule yields (a register rule's location is read from memory).
Result<std::uint64_t> evaluate_value(const Dwarf_Op* ops, std::size_t count, const LocationContext& context,
                                     bool location_is_value);

/// DW_AT_frame_base of a function at an ELF address: a register location means the register's value.
Result<std::uint64_t> frame_base_of(Dwarf_Die function, Dwarf_Addr pc, const LocationContext& frame);

}  // namespace incident
