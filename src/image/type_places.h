// What lies at an offset of a typed object: the member names on the way, the type there, and where it leads when it is
// a pointer. By DIE, not by name: template arguments, typedefs inside classes and two files' `struct node` have names
// that do not tell them apart.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "image/image.h"

namespace incident {

/// A type in an image's DWARF; lives as long as the Image.
struct TypeRef {
    const void* die = nullptr;
    const void* unit = nullptr;
    explicit operator bool() const { return die != nullptr; }
    bool operator==(const TypeRef&) const = default;
};

struct TypedPlace {
    std::string path;          ///< ".it._M_cur", "[3].next"; empty: the object itself
    std::string type;          ///< as the source writes it
    std::string owner;         ///< the innermost struct that has it: "_Node_iterator_base<…>"; empty: none
    std::string member;        ///< its name there
    std::uint64_t offset = 0;  ///< bytes into it
    bool pointer = false;
    bool element = false;  ///< of an array, with nothing between: the `index`-th of `count`
    std::uint64_t index = 0, count = 0;
    std::uint64_t integer = 0;  ///< bytes of an integer; 0: it is none
    TypeRef pointee;            ///< of a pointer: typedefs and qualifiers followed
};

/// The innermost thing at `offset` of an object of `type`; nullopt: no such type, or nothing has a name there.
std::optional<TypedPlace> place_in(TypeRef type, std::uint64_t offset);
std::uint64_t size_of(TypeRef type);  ///< bytes; 0 unknown
std::string name_of(const Image& image, TypeRef type);
bool is_pointer(TypeRef type);
/// Offset of the first member that points to an object of `type` itself (`next`); nullopt: none, or no struct.
std::optional<std::uint64_t> self_link(TypeRef type);

}  // namespace incident
