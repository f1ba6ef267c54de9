// Small questions about DWARF type DIEs, shared by the layouts, the variables and the names.
#pragma once

#include <elfutils/libdw.h>

#include <optional>
#include <string>

namespace incident {

struct ImageState;

/// The DIE's own name; "" when it has none.
std::string_view die_name(Dwarf_Die& die);
bool is_go(Dwarf_Die& die);                        ///< by the language of its unit
std::optional<Dwarf_Die> type_of(Dwarf_Die& die);  ///< DW_AT_type, through abstract origins
/// Without const, volatile, restrict, atomic and typedefs.
std::optional<Dwarf_Die> peel(Dwarf_Die type);
std::optional<std::uint64_t> size_of(Dwarf_Die type);  ///< bytes
bool is_aggregate(Dwarf_Die& die);                     ///< struct, class or union
/// Pointer, reference; in Go also chan, map and func, which are pointers in memory.
bool is_pointer(Dwarf_Die type);
/// As the source would spell it: "*main.Order", "struct ctx *", "const char *", "int [4]".
/// With `image` C++ names are qualified: "std::vector<int>".
std::string type_name(std::optional<Dwarf_Die> type, const ImageState* image = nullptr, unsigned depth = 0);
/// DW_AT_data_member_location as constant bytes; 0 when the attribute is missing (unions).
std::optional<std::uint64_t> member_offset(Dwarf_Die& member);
/// Go writes locations as DW_FORM_block1, which libdw (0.188) refuses from DWARF 4 on. Up to 127 bytes the encoding is
/// that of DW_FORM_exprloc: this says so to libdw. Call it on an attribute before dwarf_getlocation*.
void accept_go_location(Dwarf_Attribute& location);
/// A variable of several words that its location list somewhere puts into one register: that list tells of one of its
/// words only, and not of which. Go's compiler writes pieces only where more than one part of a variable has a name of
/// its own; of a slice whose length is known elsewhere the data alone may be on the stack, and others lie behind it
/// (go1.16–1.27 src/cmd/compile/internal/ssa/debug.go, writePendingEntry).
bool tells_of_one_word(Dwarf_Attribute& location, std::uint64_t size);
/// The constant address that a static variable's location names (ELF address).
std::optional<std::uint64_t> static_address(Dwarf_Die& variable);

}  // namespace incident
