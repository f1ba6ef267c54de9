// The pointer that free() was given when the process died in it.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "process/process.h"

namespace incident::detect {

struct FreeArgument {
    Address pointer;  ///< as given to free()
    std::string by;
    std::optional<Address> slot;
};

/// By the caller's code, else a word of libc's frames that malloc's last words can be about. `text` empty: malloc said
/// nothing, and only the code is believed.
std::optional<FreeArgument> find_free_argument(const Process& process, std::string_view text);

/// The innermost frames are free's, realloc's or operator delete's.
bool died_in_free(const Process& process);

}  // namespace incident::detect
