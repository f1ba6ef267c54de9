// Bytes inside a value, as Go code would name them. [any thread]
#pragma once

#include <optional>
#include <string>

#include "go/binary/type_table.h"

namespace incident::go {

enum class Until : std::uint8_t {
    first,  ///< the outermost part that begins at the offset: ".mu" of a struct, not the ".mu.state" in it
    leaf,   ///< the innermost one
};

struct FieldPath {
    std::string text;        ///< ".list[3].mu"; "+0x4" at its end: where no field begins; empty: the value itself
    TypeId type = no_type;   ///< of what begins there
    std::uint64_t rest = 0;  ///< bytes into it
    TypeId of = no_type;     ///< the struct or array that it is the last part of
};

FieldPath field_path(const TypeTable& types, TypeId id, std::uint64_t offset, Until until);

/// The package variable that holds `word`: "main.accounts[1]". With `behind`, the bytes that far into what the pointer
/// there leads to: "main.accounts[1].mu". Empty: no variable, or its type does not say. Names come from the binary:
/// not escaped.
std::string variable_path(const TypeTable& types, Address word, std::optional<std::uint64_t> behind = std::nullopt);

}  // namespace incident::go
