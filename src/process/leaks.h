// Leaks: goroutines blocked on what no goroutine that can still run will ever reach. The fixpoint of Go's own
// goroutineleak profile (go1.27 src/runtime/mgc.go, findMaybeRunnableGoroutines), from a core: what package variables,
// timers, finalizers and the stacks of all goroutines that are not blocked so reach; then a blocked goroutine whose
// channel or lock was reached counts as alive, and its stack joins; until nothing changes.
//
// Surprising: it is the first part of marking the heap, not a marking of its own: most of the heap is reached by it.
// A goroutine's g and its sudogs are not looked into before it is over: through them everybody reaches everybody.
// "Reached" errs on the side of life: frames that were stopped anywhere are taken word by word.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "go/sync/waits.h"

namespace incident {

struct Process;
namespace go {
class Reach;
}

struct BlockedForever {
    std::uint32_t goroutine = 0;
    Address first;  ///< what it waits for; of a select, the first
    go::WaitObject object = go::WaitObject::channel;
    bool nil = false;  ///< only for nil channels: nobody can ever wake it
};

struct Leaks {
    std::vector<BlockedForever> left;  ///< sorted by goroutine
    std::size_t asked = 0;             ///< blocked goroutines that were looked at
    std::size_t alive = 0;             ///< of these: within reach of one that can run
    bool complete = true;              ///< false: given up, `left` are those not decided
    /// Every goroutine of the program waits for another, and no timer or finalizer runs code that could wake one:
    /// package variables lead to nobody then. `left` are all of them.
    bool nobody_runs = false;

    bool contains(std::uint32_t goroutine) const {
        return complete && std::ranges::binary_search(left, goroutine, {}, &BlockedForever::goroutine);
    }
};

/// Reads goroutines, stacks and waits of `process`, and marks.
Leaks find_leaks(const Process& process, go::Reach& reach);

}  // namespace incident
