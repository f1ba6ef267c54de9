// TypeTable: one model of the target's Go types, from DWARF and from the runtime's own type descriptors (rtypes), which
// stripped binaries keep too. Immutable once built: every question is [any thread].
//
// Surprising: a map variable is a pointer to a header whose struct has no name in the source (hmap, or Swiss Map): it
// is Type::header, and so is a channel's hchan. Without DWARF these, and the runtime's own structs (g, sudog …), come
// from RuntimeLayout and hold only the fields that lead on to other objects.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "go/binary/runtime.h"
#include "go/stacks/values.h"

namespace incident::go {

using TypeId = std::uint32_t;
inline constexpr TypeId no_type = 0;

struct TypeField {
    std::string_view name;
    std::uint64_t offset = 0;  ///< bytes
    TypeId type = no_type;
    bool embedded = false;
};

struct Type {
    std::string_view name;      ///< "main.Order", "[]int", "net/http.Request": packages are whole, also without DWARF
    Kind kind = Kind::invalid;  ///< structs that the linker made up are struct_
    bool empty_interface = false;  ///< interface without methods: its first word is the type itself, not an itab
    bool direct_interface = false;
    std::uint64_t size = 0;           ///< bytes
    std::uint64_t pointer_bytes = 0;  ///< of an rtype: bytes from the start that can hold pointers; ~0 unknown
    std::uint64_t count = 0;          ///< arrays: elements
    TypeId elem = no_type;            ///< pointer, slice, array, chan, map
    TypeId key = no_type;             ///< map
    TypeId header = no_type;          ///< map, chan: the struct that the value points to
    TypeId group = no_type;           ///< map: a bucket (classic) or a group of slots (Swiss)
    Address rtype;                    ///< *_type in the target; null: none
    std::uint32_t first_field = 0, field_count = 0;
};

struct GlobalOfType {
    std::string_view name;
    Address address;
    TypeId type = no_type;
};

class TypeTable {
public:
    struct State;  ///< private to go/binary

    /// Reads DWARF of every Go module (libdw's thread), then all rtypes; without DWARF, the code that uses package
    /// variables. `ignore_dwarf`: as if there were none.
    static TypeTable read(const Memory& memory, const Runtime& runtime, bool ignore_dwarf = false);

    std::size_t size() const;                 ///< ids are [1, size())
    const Type& operator[](TypeId id) const;  ///< of no_type: a Type without name and size
    std::span<const TypeField> fields(const Type& type) const;
    std::span<const TypeField> fields(TypeId id) const { return fields((*this)[id]); }
    const TypeField* field(TypeId id, std::string_view name) const;  ///< null: none

    TypeId find(Address rtype) const noexcept;
    TypeId find(std::string_view name) const;  ///< as in Type::name
    /// What a DWARF type of one module's executable stands for, typedefs followed.
    TypeId find_die(std::uint64_t die, std::size_t module = 0) const;
    bool has_dwarf() const;
    /// By address. Without DWARF only those whose type their uses prove (type_table_code.cpp), parts of variables too,
    /// called "package variable at 0x58c0e0".
    std::span<const GlobalOfType> globals() const;
    const GlobalOfType* global_at(Address a) const;  ///< whose bytes hold `a`
    const GlobalOfType* find_global(std::string_view name) const;
    /// Dynamic type of an interface value's first word; no_type: nil, or none we know.
    TypeId dynamic_type(Address word, bool empty_interface) const noexcept;
    TypeId bytes() const;  ///< uint8

private:
    std::shared_ptr<const State> state_;
    explicit TypeTable(std::shared_ptr<const State> state) : state_(std::move(state)) {}
};

}  // namespace incident::go
