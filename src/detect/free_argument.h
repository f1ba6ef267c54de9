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

/// Of a fault inside free(): the pointer that a register shows, as malloc's users or as malloc itself writes it, and
/// whose size word sends free() to just this address for its arena.
std::optional<FreeArgument> find_faulting_argument(const Process& process, Address fault);
/// Where a chunk of an arena that is not the main one would find its arena.
Address arena_heap_of(Address pointer);

/// The innermost frames are free's, realloc's or operator delete's.
bool died_in_free(const Process& process);

}  // namespace incident::detect
