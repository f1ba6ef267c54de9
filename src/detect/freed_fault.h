// A fault that came of what free() had written into a chunk: somebody still read it as his own.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "native/malloc.h"
#include "process/live_memory.h"

namespace incident::detect {

inline constexpr std::uint64_t fault_reach = 64;  ///< bytes from a bad pointer to the member that was read through it

struct FreedFault {
    std::uint64_t bad = 0;              ///< the pointer that was followed
    std::vector<native::Chunk> chunks;  ///< that hold it; several, when it is their page's number, or the mark of all
    bool mark = false;                  ///< it is glibc's tcache key
    std::optional<LiveMemory::Word> keeper;  ///< a live word that holds it; the caller's search finds it
    std::size_t frame = 0;                   ///< of the crash's stack: the program's own
    std::string function;
};

/// nullopt: the process did not die so.
std::optional<FreedFault> find_freed_fault(const Process& process);

}  // namespace incident::detect
