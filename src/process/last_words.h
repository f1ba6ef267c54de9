// Last words: what a dying process was about to print, recovered from memory. Stripped binaries too.
#pragma once

#include <optional>
#include <string>

#include "core/memory.h"
#include "go/binary/runtime.h"
#include "go/stacks/walk.h"
#include "image/images.h"

namespace incident {

/// The string that runtime.throw or runtime.fatal was called with, from its own frame.
std::optional<std::string> fatal_text(const Memory& memory, const go::Runtime& runtime, const go::PhysicalFrame& frame);

/// glibc's __abort_msg: assert's, malloc's and fortify's message. Empty when libc's symbols are missing or nothing was
/// said.
std::optional<std::string> abort_message(const Memory& memory, const Images& images);

}  // namespace incident
