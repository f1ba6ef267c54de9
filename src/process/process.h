// Process: everything that the passes of one command found out about the dead process, joined and frozen. Parts that
// were not asked for or could not be had are absent, and the latter are named in `gaps`. Made by open_process;
// immutable after.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "core/core_file.h"
#include "core/memory.h"
#include "disasm/disasm.h"
#include "go/binary/runtime.h"
#include "go/heap/spans.h"
#include "go/stacks/goroutines.h"
#include "go/stacks/stack_set.h"
#include "go/stacks/walk.h"
#include "go/sync/waits.h"
#include "image/images.h"
#include "process/crash_context.h"
#include "process/leaks.h"
#include "process/locate.h"
#include "process/wait_graph.h"
#include "report/report.h"

namespace incident {

namespace go {
class HeapGraph;  // go/heap/heap_graph.h
class HeapTypes;  // go/heap/heap_types.h
}  // namespace go
namespace native {
class Heaps;     // native/malloc.h
class Pthreads;  // native/pthreads.h
}  // namespace native

/// Which passes a command needs: a quick question never pays for the heap.
struct Passes {
    bool threads = false;     ///< unwind every thread
    bool goroutines = false;  ///< read all of them
    bool stacks = false;      ///< and walk their stacks
    bool spans = false;       ///< index of the Go heap's spans
    bool crash = false;       ///< what died and why
    bool locks = false;       ///< locks, their holders and waiters; needs goroutines and stacks
    bool heap = false;        ///< every object of the Go heap and what is reachable; needs spans and stacks
    bool heap_types = false;  ///< and the objects' types; needs heap
    bool leaks = false;       ///< goroutines that nobody can wake; needs heap
    bool malloc = false;      ///< glibc's arenas and chunks
    bool pthreads = false;    ///< pthread locks, their owners and waiters; needs threads

    bool operator==(const Passes&) const = default;
};

/// One thread of the core, unwound.
struct NativeThread {
    const ThreadState* state = nullptr;
    std::string name;
    std::optional<std::int64_t> goroutine;  ///< that runs on it
    go::GoStack stack;                      ///< C frames too: physical[i].native is their index into stack.native
    std::vector<std::string> rejected;      ///< with --trace: each caller that a step rejected, and why
};

struct Process {
    explicit Process(CoreFile opened) : core(std::move(opened)) {}
    Process(const Process&) = delete;
    Process& operator=(const Process&) = delete;

    CoreFile core;
    Memory memory;
    std::optional<Images> images;
    std::optional<Disassembler> disassembler;
    std::optional<go::Runtime> go;
    std::string go_absent;     ///< why there is no Go here, in words; empty when there is
    bool go_expected = false;  ///< it is a Go program whose runtime we could not read
    std::optional<go::GoroutineList> goroutines;
    go::GoStacks stacks;             ///< parallel to goroutines->all; empty when not walked
    std::optional<go::Waits> waits;  ///< who waits for which semaphore; with the stacks
    std::optional<go::Spans> spans;
    std::optional<LockPicture> locks;  ///< with the stacks, when asked for
    // Looked at only by those who include their headers; null: not asked for, or not there (then a gap says so).
    std::shared_ptr<const go::HeapGraph> heap;
    std::shared_ptr<const go::HeapTypes> heap_types;
    std::optional<Leaks> leaks;
    std::shared_ptr<const native::Heaps> malloc;
    std::shared_ptr<const native::Pthreads> pthreads;
    std::vector<NativeThread> threads;
    std::optional<CrashContext> crash;
    std::vector<report::Gap> gaps;
    std::unique_ptr<const Locator> locator;  ///< "what is this address?", of all that is above; never null
    unsigned jobs = 1;
    bool trace = false;

    const NativeThread* find_thread(std::int32_t tid) const;
    /// Index into goroutines->all.
    std::optional<std::size_t> find_goroutine(std::int64_t goid) const;
};

struct ProcessOptions {
    std::string core_path;
    OpenOptions open;
    ImageOptions images;
    Passes passes;
    unsigned jobs = 0;
    bool trace = false;
    std::function<void(std::string_view line)> log;
    std::function<void(std::string_view phase, std::uint64_t done, std::uint64_t total)> progress;
};

/// Runs the passes in order, forward only. Fails only when the core cannot be opened.
Result<std::shared_ptr<const Process>> open_process(const ProcessOptions& options);

}  // namespace incident
