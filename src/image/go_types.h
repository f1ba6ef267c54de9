// Go's types and package variables as DWARF has them, raw and flat: one pass over the unit in which the linker collects
// all types, and one over the top level of the other Go units for their variables. References between types stay DIE
// offsets; go/binary/type_table.h makes one model of them and the runtime's own types.
//
// Surprising: map and chan types are typedefs of pointers to structs that the linker made up ("hash<int,bool>",
// "map<int,bool>", "hchan<int>"); these have kind 0.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "image/image.h"

namespace incident {

struct GoTypeDie {
    enum class Form : std::uint8_t { other, base, structure, array, pointer, function, alias };
    std::uint64_t die = 0;  ///< offset in .debug_info; rows are sorted by it
    std::string_view name;  ///< alive as long as the Image
    Form form = Form::other;
    std::uint8_t kind = 0;          ///< reflect.Kind; 0: none, or made up by the linker
    std::uint64_t size = 0;         ///< bytes; 0: not said
    std::uint64_t count = 0;        ///< arrays: elements
    std::uint64_t type = 0;         ///< DW_AT_type as DIE offset; 0 none
    std::uint64_t elem = 0;         ///< slices, maps, chans
    std::uint64_t key = 0;          ///< maps
    std::uint64_t runtime_type = 0; /**< offset from moduledata.types, or in some releases and types an ELF address; 0:
                                         the binary has none */
    std::uint32_t first_member = 0, member_count = 0;
};

struct GoMember {
    std::string_view name;
    std::uint64_t offset = 0;  ///< bytes
    std::uint64_t type = 0;    ///< DIE
    bool embedded = false;
};

struct GoVariable {
    std::string_view name;  ///< "main.store"
    Address address;        ///< in the target
    std::uint64_t type = 0;
};

struct GoDebugTypes {
    std::vector<GoTypeDie> types;
    std::vector<GoMember> members;
    std::vector<GoVariable> variables;  ///< by address
};

/// A variable of a frame that lies on the stack, whole or in its first word.
struct GoFrameVariable {
    std::string_view name;
    std::uint64_t type = 0;       ///< DIE
    std::int64_t cfa_offset = 0;  ///< bytes from the frame's CFA
    std::uint64_t size = 0;       ///< bytes of it that lie there
    bool operator==(const GoFrameVariable&) const = default;
};
/// Variables in scope at `pc` (for a caller pass pc-1), inlined calls' too. What is in registers is left out, and so is
/// the question whether the place holds a value already: the stack maps answer it.
std::vector<GoFrameVariable> go_frame_variables(const Image& image, Address pc);
/// Every variable of the function that `pc` is in, of inlined calls too, that lies on the stack anywhere in it. The
/// compiler ends a variable's location before the last use of its parts: a live word may still be what only one
/// variable ever puts there. (Since 1.23 variables with separate lives may share a place.)
std::vector<GoFrameVariable> go_slot_variables(const Image& image, Address pc);

/// What the function that begins at `entry` finds in its closure (go1.22+; earlier compilers do not say).
struct GoCapture {
    std::string_view name;
    std::uint64_t type = 0;    ///< DIE
    std::uint64_t offset = 0;  ///< bytes from the funcval
};
std::vector<GoCapture> go_captures(const Image& image, Address entry);

/// Empty without Go DWARF. Bounded: at most 8 million DIEs of each sort. libdw's thread only.
GoDebugTypes read_go_types(const Image& image);

}  // namespace incident
