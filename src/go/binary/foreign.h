// Go-like programs that we do not read, and saying which: gccgo, TinyGo, a garbled or packed binary.
#pragma once

#include <optional>
#include <string>

#include "core/core_file.h"
#include "image/images.h"

namespace incident::go {

/// Why the target's Go cannot be read, in words; nullopt: nothing in it looks like Go.
std::optional<std::string> recognise_foreign(const CoreFile& core, const Memory& memory, const Images& images);

}  // namespace incident::go
