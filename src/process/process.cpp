// The passes, top to bottom. Memory is frozen before anything is interpreted; a pass that fails leaves its part absent
// and a gap that names it, and the run goes on.
#include "process/process.h"

#include <algorithm>

#include <fmt/format.h>

#include "base/parallel.h"
#include "go/binary/field_path.h"
#include "go/heap/heap_build.h"
#include "native/malloc.h"
#include "process/malloc_stop.h"
#include "process/native_threads.h"
#include "process/pthread_waits.h"
#include "process/trace.h"

namespace incident {

namespace {

using report::Gap;

void note_damage(Process& process) {
    if (auto cut = process.core.truncation())
        process.gaps.push_back({fmt::format("the core file is cut at byte {}", cut->at),
                                fmt::format("{} bytes that its headers promise are missing", cut->missing_bytes),
                                "everything that lay in the lost regions (see maps)"});
    for (auto& error : process.core.damage())
        process.gaps.push_back({error.what, std::string(to_string(error.kind)), ""});
}

void attach_go(Process& process) {
    auto runtime = go::Runtime::attach(process.core, process.memory, *process.images, *process.disassembler);
    if (runtime) {
        process.go = std::move(*runtime);
        std::ranges::copy(process.go->gaps(), std::back_inserter(process.gaps));
        return;
    }
    process.go_absent = runtime.error().what;
    if (runtime.error().kind == ErrorKind::absent) return;
    process.go_expected = true;
    process.gaps.push_back(
        {"the Go runtime of this process", describe(runtime.error()), "goroutines, locks, heap: everything of Go"});
}

/// Commands that need no goroutine list still need the Ms and what runs on them, to find the crash and to walk threads.
void read_goroutines(Process& process, bool all) {
    if (process.goroutines)  // read again
        std::erase_if(process.gaps, [&](const report::Gap& gap) {
            return std::ranges::find(process.goroutines->gaps, gap.what, &report::Gap::what) !=
                   process.goroutines->gaps.end();
        });
    auto which = all ? go::Which::all : go::Which::on_threads;
    auto list = go::read_goroutines(process.core, process.memory, *process.go, process.jobs, which);
    if (!list) {
        process.gaps.push_back({"the goroutines", describe(list.error()), "everything about goroutines"});
        return;
    }
    process.goroutines = std::move(*list);
    std::ranges::copy(process.goroutines->gaps, std::back_inserter(process.gaps));
}

void walk_stacks(Process& process, const ProcessOptions& options) {
    auto& all = process.goroutines->all;
    process.stacks = go::GoStacks(all.size());
    parallel_chunks(process.jobs, all.size(), 256, [&](std::size_t begin, std::size_t end, unsigned) {
        GoroutineWalker walker(process);
        for (std::size_t i = begin; i < end; ++i)
            if (!GoroutineWalker::needs_native_steps(all[i])) process.stacks.set(i, all[i].stack, walker.walk(all[i]));
    });
    auto steps = native_steps(process);
    GoroutineWalker walker(process, steps);
    for (std::size_t i = 0; i < all.size(); ++i)
        if (GoroutineWalker::needs_native_steps(all[i])) process.stacks.set(i, all[i].stack, walker.walk(all[i]));
    if (options.progress) options.progress("stacks", all.size(), all.size());
}

void read_waits(Process& process) {
    process.waits = go::Waits::read(process.memory, *process.go, *process.goroutines);
    std::ranges::copy(process.waits->gaps(), std::back_inserter(process.gaps));
}

/// Of a deadlock the story is where everybody waits: that is asked of all goroutines, however quick the question.
void find_crash(Process& process) {
    process.crash = find_crash_context(process);
    if (!process.crash->deadlock() || !process.goroutines || process.goroutines->which == go::Which::all) return;
    read_goroutines(process, true);
    process.crash = find_crash_context(process);
}

void keep_spans(Process& process, Result<go::Spans> spans) {
    if (!spans) {
        process.gaps.push_back(
            {"the Go heap's spans", describe(spans.error()), "what heap addresses are, and whether they were freed"});
        return;
    }
    process.spans = std::move(*spans);
    std::ranges::copy(process.spans->gaps(), std::back_inserter(process.gaps));
}

void read_malloc(Process& process) {
    auto heaps = native::Heaps::read(process.core, process.memory, *process.images, process.jobs, malloc_stop(process));
    if (!heaps) {
        process.gaps.push_back({"malloc's heaps", describe(heaps.error()), "what C heap addresses are"});
        return;
    }
    std::ranges::copy(heaps->gaps(), std::back_inserter(process.gaps));
    for (const auto& foreign : heaps->foreign())
        process.gaps.push_back({fmt::format("the blocks of {}", foreign.name),
                                fmt::format("{}; its structures are not read", foreign.basis),
                                "which of its memory is in use and which was freed", false});
    process.malloc = std::make_shared<native::Heaps>(std::move(*heaps));
}

/// The heap is marked while the other passes go on.
std::optional<go::HeapBuild> start_heap(Process& process, bool types, bool leaks) {
    process.core.expect_reading_all();
    go::HeapInput input{&process.core,        process.memory,  *process.go, *process.spans,
                        &*process.goroutines, &process.stacks, process.jobs};
    auto build = go::HeapBuild::start(input, types, [&process, leaks](go::Reach& reach) {
        if (leaks && process.waits) process.leaks = find_leaks(process, reach);
    });
    if (build) return std::move(*build);
    process.gaps.push_back({"the objects of the Go heap", describe(build.error()), "everything about heap objects"});
    return std::nullopt;
}

void finish_heap(Process& process, go::HeapBuild& build) {
    auto heap = build.finish();
    process.heap = std::move(heap.graph);
    process.heap_types = std::move(heap.types);
    std::ranges::copy(process.heap->gaps(), std::back_inserter(process.gaps));
    if (!process.locks) return;
    find_releasing_methods(*process.locks, process);
    forget_unable(*process.locks, process);
}

/// Types only to name locks that lie in package variables: a quick question does not read them for nothing.
std::shared_ptr<const go::TypeTable> types_of_locks(const Process& process) {
    if (!process.go || !process.locks || process.go->description().debug_info != "dwarf") return nullptr;
    const bool needed = std::ranges::any_of(
        process.locks->locks, [&](const GoLock& lock) { return process.go->is_variable(lock.state.address); });
    return needed ? std::make_shared<const go::TypeTable>(go::TypeTable::read(process.memory, *process.go)) : nullptr;
}

/// `types`: they are being read with the heap, and will be there when anybody asks.
LocateContext locate_context(const Process& process, bool types) {
    LocateContext context{process.core, process.memory, *process.images};
    if (process.go) context.runtime = &*process.go;
    if (process.malloc) context.malloc = process.malloc.get();
    if (process.goroutines) context.goroutines = &*process.goroutines;
    if (process.spans) context.spans = &*process.spans;
    context.stacks = &process.stacks;
    if (types) {
        context.variable_path = [&process](Address word, std::optional<std::uint64_t> behind) {
            return process.heap_types ? go::variable_path(process.heap_types->types(), word, behind) : std::string();
        };
        context.object_type = [&process](const go::ObjectRef& object) -> std::string {
            const auto slot = process.heap_types ? process.heap->slot_of(object.base) : std::nullopt;
            return slot && process.heap_types->type_of(*slot).known() ? process.heap_types->name_of(*slot)
                                                                      : std::string();
        };
    } else if (auto own = types_of_locks(process)) {
        context.variable_path = [own = std::move(own)](Address word, std::optional<std::uint64_t> behind) {
            return go::variable_path(*own, word, behind);
        };
    }
    return context;
}

}  // namespace

Result<std::shared_ptr<const Process>> open_process(const ProcessOptions& options) {
    auto process = std::make_shared<Process>(TRY(CoreFile::open(options.core_path, options.open)));
    process->jobs = worker_count(options.jobs);
    process->trace = options.trace;
    note_damage(*process);

    auto progress = [&](std::string_view phase) {
        if (options.progress) options.progress(phase, 0, 0);
    };
    progress("matching files");
    Memory core_memory;
    process->core.fill(core_memory);
    core_memory.freeze();
    process->images.emplace(Images::match(process->core, core_memory, options.images));
    std::ranges::copy(process->images->gaps(), std::back_inserter(process->gaps));
    process->core.fill(process->memory);
    process->images->splice_into(process->memory);
    process->memory.freeze();
    // Memory is frozen: nothing below adds bytes.

    process->disassembler.emplace(TRY(Disassembler::create(process->core.machine())));
    progress("Go runtime");
    attach_go(*process);
    auto& passes = options.passes;
    std::optional<go::HeapBuild> heap;
    if (process->go) {
        const bool all = passes.goroutines || passes.stacks;
        std::optional<Result<go::Spans>> spans;
        side_by_side(
            process->jobs,
            [&] {
                if (passes.spans) spans = go::Spans::read(process->memory, *process->go, process->jobs);
            },
            [&] {
                read_goroutines(*process, all);
                if (process->goroutines && all) read_waits(*process);
            });
        if (process->goroutines && passes.stacks) walk_stacks(*process, options);
        if (spans) keep_spans(*process, std::move(*spans));
        if (passes.heap && process->spans && process->goroutines)
            heap = start_heap(*process, passes.heap_types, passes.leaks);
    }
    progress("crash");
    if (passes.crash) find_crash(*process);
    if (passes.threads) progress("threads");
    if (passes.threads) process->threads = walk_threads(*process);
    if (passes.malloc) progress("malloc");
    if (passes.malloc) read_malloc(*process);
    if ((passes.pthreads || passes.locks) && passes.threads) {
        process->pthreads = std::make_shared<native::Pthreads>(read_pthreads(*process));
        std::ranges::copy(process->pthreads->gaps(), std::back_inserter(process->gaps));
    }
    if (passes.locks && process->disassembler &&
        (process->go ? process->waits && !process->stacks.empty() : process->pthreads != nullptr))
        process->locks = find_locks(*process);
    process->locator = std::make_unique<const Locator>(locate_context(*process, heap && passes.heap_types));
    if (heap) {
        progress("heap objects");
        finish_heap(*process, *heap);
    }
    // Process is frozen: nothing below derives new facts.
    if (options.trace && options.log) {
        if (process->go) trace_layout(*process->go, options.log);
        trace_stacks(*process, options.log);
    }
    return process;
}

const NativeThread* Process::find_thread(std::int32_t tid) const {
    auto found = std::ranges::find_if(threads, [&](auto& thread) { return thread.state->tid == tid; });
    return found == threads.end() ? nullptr : &*found;
}

std::optional<std::size_t> Process::find_goroutine(std::int64_t goid) const {
    if (!goroutines) return std::nullopt;
    const go::Goroutine* found = goroutines->find(goid);
    return found == nullptr ? std::nullopt : std::optional(static_cast<std::size_t>(found - goroutines->all.data()));
}

}  // namespace incident
