// Methods that a type's descriptor lists. [any thread]
#pragma once

#include <string_view>
#include <vector>

#include "go/binary/kind.h"
#include "go/binary/runtime.h"

namespace incident::go {

struct TypeMethod {
    std::string_view name;
    /// What an interface's table has for it, which takes the receiver as one word. Null: the linker left it out, since
    /// no interface or reflection of the program can call it.
    Address entry;
};

/// Of the type of this kind whose descriptor is at `rtype`: those of a T and of a *T are two lists, and the second has
/// all. Empty: it has none, or they cannot be read.
std::vector<TypeMethod> read_methods(const Memory& memory, const Runtime& runtime, Kind kind, Address rtype);

}  // namespace incident::go
