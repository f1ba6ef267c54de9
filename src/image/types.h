// DWARF struct -> layout. Only the types that are asked for are read: one pass over the compile units collects every
// wanted name at once.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "image/image.h"
#include "image/type_places.h"

namespace incident {

struct StructMember {
    std::string name;
    std::uint64_t offset = 0;  ///< bytes
    std::uint64_t size = 0;    ///< bytes
    std::string type;          ///< name of the member's type
    bool pointer = false;
};

struct StructLayout {
    std::string name;
    std::uint64_t size = 0;  ///< bytes
    std::vector<StructMember> members;
    const StructMember* find(std::string_view member) const;
};

/// Every struct (typedefs followed) of `names` that the image's DWARF defines. Missing ones are simply not in the
/// result.
std::unordered_map<std::string, StructLayout> find_structs(const Image& image, std::span<const std::string> names);
/// Addresses of DWARF variables (globals) by name: "runtime.allgs".
std::unordered_map<std::string, Address> find_globals(const Image& image, std::span<const std::string> names);

struct GlobalVariable {
    std::string name;    ///< qualified
    std::string type;    ///< as in Variable::type
    std::string layout;  ///< qualified name of its struct, typedefs followed, for find_structs; empty: no struct
    Address address;
    std::uint64_t size = 0;  ///< bytes; 0 unknown
    bool pointer = false;
    TypeRef ref;  ///< the type itself
};
/// Variables with a fixed address at file and namespace scope of C and C++ units, at most `limit`.
std::vector<GlobalVariable> list_globals(const Image& image, std::size_t limit = 100000);
/// The static variables of functions, "parse::cache"; looks at no more than `most_dies` of what functions are made of.
std::vector<GlobalVariable> list_local_statics(const Image& image, std::size_t most_dies = 4'000'000);

}  // namespace incident
