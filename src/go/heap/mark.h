// Marking: from seeds to everything reachable, in parallel. A slot's bit in `todo` is cleared when it is reached, so
// one bitmap answers both "is it an allocated object?" and "was it seen?". What was reached and not yet looked into
// waits in its lane's queue (lanes.h, slot_queue.h).
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "go/heap/heap_pointers.h"
#include "go/heap/lanes.h"

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

/// "This object is reached."
struct MarkMessage {
    static constexpr std::uint32_t noscan = ~0u;
    SlotId slot = no_slot;
    std::uint32_t part = 0;  ///< noscan; or a part of a large object that is being looked into, 0: just reached
};
using MarkLanes = Lanes<MarkMessage>;

/// Marks `seeds` and all that they lead to. `todo`: candidates; reached ones are cleared. `lanes`: for as many slots,
/// with the workers that are to do it; they serve for many markings. Objects in `closed` are marked, but not looked
/// into (may be null). With `strays`, `todo` has the bits of free slots set too, which stay so, and what leads to none
/// that is allocated is noted: that costs one more look per object, not per pointer.
MarkResult mark_from(const HeapPointers& pointers, std::span<const SlotId> seeds, SlotBits& todo, MarkLanes& lanes,
                     const SlotBits* closed = nullptr, bool strays = false);

}  // namespace incident::go
