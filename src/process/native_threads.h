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

/// Walks goroutines, with what this core gives: by pclntab; without the executable by saved frame pointers. One per
/// worker. Goroutines on a thread may stand in C or in a signal handler, those locked to one may have been called from
/// C: only a walker made with `native_steps`, which use libdw and belong to one thread, may walk them.
class GoroutineWalker {
public:
    explicit GoroutineWalker(const Process& process, std::span<const UnwindStep> native_steps = {});
    go::GoStack walk(const go::Goroutine& g);
    static bool needs_native_steps(const go::Goroutine& g) { return g.tid.has_value() || g.locked_to_thread; }

private:
    const Process& process_;
    std::span<const UnwindStep> native_steps_;
    go::StackWalker walker_;
};

}  // namespace incident
