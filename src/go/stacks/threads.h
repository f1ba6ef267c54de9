// The runtime's threads (m) and its notes of time, for read_goroutines only.
#pragma once

#include "core/core_file.h"
#include "go/stacks/goroutines.h"

namespace incident::go {

/// Fills `list.machines`, each joined to its thread of the core, and names what does not fit in `list.gaps`.
void read_machines(const CoreFile& core, const Memory& memory, const Runtime& runtime, GoroutineList& list);

/// The latest nanotime among those that the runtime keeps.
LatestTime latest_time(const Memory& memory, const Runtime& runtime, const GoroutineList& list);

}  // namespace incident::go
