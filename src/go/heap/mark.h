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

/// A pointer word of a reached object that leads to no allocated one: to a free slot, a free page, or a stack.
struct Stray {
    SlotId holder = no_slot;
    std::uint64_t offset = 0;  ///< of the word in the object, bytes
    Address value;
};
inline constexpr std::size_t stray_limit = 1 << 18;  ///< kept per worker

struct MarkResult {
    std::uint64_t marked = 0;
    std::uint64_t without_map = 0;  ///< marked objects some of whose words could not be read or are of unknown kind
    /// Every word found, in no order.
    std::vector<Stray> strays;
    bool strays_complete = true;
};

/// Marks `seeds` and all that they lead to. `todo`: candidates; reached ones are cleared. Objects in `closed` are
/// marked, but not looked into (may be null). With `strays`, `todo` has the bits of free slots set too, which stay so,
/// and what leads to none that is allocated is noted: that costs one more look per object, not per pointer.
MarkResult mark_from(const HeapPointers& pointers, std::span<const SlotId> seeds, SlotBits& todo, unsigned jobs,
                     const SlotBits* closed = nullptr, bool strays = false);

}  // namespace incident::go
