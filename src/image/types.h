// DWARF struct -> layout. Only the types that are asked for are read: one pass over the compile units collects every
// wanted name at once.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "image/image.h"

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
/// Named constants: "runtime._Gwaiting", "internal/abi.TFlagDirectIface".
std::unordered_map<std::string, std::int64_t> find_constants(const Image& image, std::span<const std::string> names);

}  // namespace incident
