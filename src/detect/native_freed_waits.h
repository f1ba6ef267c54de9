// A lock that was freed under threads that wait for it.
#pragma once

#include <cstdint>
#include <vector>

#include "native/malloc.h"
#include "process/process.h"
#include "report/report.h"

namespace incident::detect {

struct FreedWait {
    native::Chunk chunk;               ///< freed
    std::vector<std::uint32_t> waits;  ///< indices into Pthreads::waits(), never empty
};

/// One for each chunk, at most 16.
std::vector<FreedWait> find_freed_waits(const Process& process);
report::Finding tell_freed_wait(const Process& process, const FreedWait& freed);

}  // namespace incident::detect
