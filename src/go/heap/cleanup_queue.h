// Cleanups that wait to run (runtime.AddCleanup, 1.25 and later): from the collection that found their object dead
// until a goroutine of the runtime's has called them, they lie in blocks of their own, and what they refer to lives.
#pragma once

#include <optional>
#include <vector>

#include "go/binary/runtime.h"

namespace incident::go {

struct CleanupBlocks {
    std::uint64_t entry_words = 3;  ///< {call, fn, arg}; up to 1.25 fn alone
    /// Entries in use of every block that hangs on `head`; nullopt: that is no list of such blocks. Bounded.
    std::optional<std::vector<AddressRange>> read(const Memory& memory, Address head) const;
};

/// Empty: none wait, or the queue was not found (without symbols it is found by its shape).
std::vector<AddressRange> queued_cleanups(const Memory& memory, const Runtime& runtime);

}  // namespace incident::go
