// Locked locks that types name: sync.Mutex and sync.RWMutex in package variables, in what those lead to in the
// program's data, and in live objects of the Go heap, whether anybody waits for them or not. Who holds them is not
// said: a frame or a pending defer that will release one makes it a lock of the wait graph (wait_graph.h), and it is
// not listed again.
#pragma once

#include <vector>

#include "go/sync/locks.h"

namespace incident {

struct Process;

struct TypedLocks {
    std::vector<go::LockState> locked;    ///< by address; without those in Process::locks
    std::uint64_t checked = 0, more = 0;  ///< locks looked at; locked ones that were not kept
};

/// Needs Process::heap_types; nothing without them: a quick question does not pay for the heap.
TypedLocks find_typed_locks(const Process& process);

}  // namespace incident
