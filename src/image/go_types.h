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

/// Empty without Go DWARF. Bounded: at most 8 million DIEs of each sort. libdw's thread only.
GoDebugTypes read_go_types(const Image& image);

}  // namespace incident
