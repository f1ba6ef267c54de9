// Threads of the core, unwound: by pclntab in Go code, by CFI, frame pointers and, last, a scan in C.
#pragma once

#include <span>
#include <vector>

#include "process/process.h"

namespace incident {

/// CFI, frame pointer, scan: in the order of trust. They use libdw: one thread only.
std::vector<UnwindStep> native_steps(const Process& process);

/// A thread without Go frames, or of a process without Go.
/// `rejected`, when not null, receives each caller that a step rejected.
go::GoStack walk_native_thread(const Process& process, const ThreadState& thread, std::span<const UnwindStep> steps,
                               std::vector<std::string>* rejected = nullptr);

std::vector<NativeThread> walk_threads(const Process& process);

/// Return addresses of a parked goroutine by its saved frame pointers alone: all that a core without its executable gives.
go::GoStack raw_stack(const Process& process, const go::Goroutine& g);

/// The mapping that holds `sp`: what bounds a stack of which nothing better is known.
AddressRange stack_bounds(const CoreFile& core, Address sp);

}  // namespace incident
