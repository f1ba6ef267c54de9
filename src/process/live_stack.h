// The live parts of the stacks that a thread stands on, for whoever looks for pointers there: its own, and below a
// signal handler or a call between Go and C the one that it came from.
//
// Surprising: a mapping is not a stack. Goroutines' stacks are carved from the Go heap, so that the mapping around one
// may be all of that heap; and the kernel joins neighbouring mappings, a C thread's stack and an arena of malloc too.
#pragma once

#include <vector>

#include "process/process.h"

namespace incident {

/// Each from a stack pointer, rounded down to 8, to the end of that stack; the one of the registers first. Empty: there
/// is no stack pointer, or nobody knows where that stack ends. The others only where the thread was unwound.
std::vector<AddressRange> live_stacks(const Process& process, const ThreadState& thread);

}  // namespace incident
