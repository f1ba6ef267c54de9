// Marking: from seeds to everything reachable, in parallel. A slot's bit in `todo` is cleared when it is reached, so
// one bitmap answers both "is it an allocated object?" and "was it seen?". Work that waits lies in per-worker stacks of
// slot numbers; idle workers get half of somebody's stack.
//
// Surprising: depth first, newest first, with few objects prefetched ahead. What an object points to was mostly
// allocated beside it: on the benchmark's heap (16 million objects, lists that lead anywhere) a queue of 4096, oldest
// first, took four times as long, one of 32 more than twice, for all their prefetching.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "go/heap/heap_pointers.h"

namespace incident::go {

struct MarkResult {
    std::uint64_t marked = 0;
    std::uint64_t without_map = 0;  ///< marked objects some of whose words could not be read or are of unknown kind
};

/// Marks `seeds` and all that they lead to. `todo`: candidates; reached ones are cleared. Objects in `closed` are
/// marked, but not looked into (may be null).
MarkResult mark_from(const HeapPointers& pointers, std::span<const SlotId> seeds, SlotBits& todo, unsigned jobs,
                     const SlotBits* closed = nullptr);

}  // namespace incident::go
