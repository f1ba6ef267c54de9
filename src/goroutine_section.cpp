// The goroutines' part of the Report.
#include <algorithm>
#include <unordered_map>

#include "base/parallel.h"
#include "go/stacks/defers.h"
#include "go/stacks/panics.h"
#include "process/native_threads.h"
#include "process/snapshot.h"
#include "sections.h"

namespace incident {

namespace {

void add_defers(report::Goroutine& row, const go::Defers& defers, const go::GoStack& stack) {
    for (auto& pending : defers.pending) {
        report::Defer defer;
        defer.function = !pending.function.empty() ? pending.function : pending.wrapper;
        defer.kind = go::to_string(pending.kind);
        if (!pending.closure.is_null()) defer.closure = pending.closure;
        if (pending.physical) {
            // The logical frame of the physical function itself comes last among its inlined ones.
            auto at = std::find(stack.frame_of.rbegin(), stack.frame_of.rend(), *pending.physical);
            if (at != stack.frame_of.rend()) defer.frame = static_cast<std::size_t>(stack.frame_of.rend() - at) - 1;
        }
        row.defers.push_back(std::move(defer));
    }
}

void add_panics(report::Goroutine& row, const go::Panics& panics) {
    for (auto& active : panics.chain)
        row.panics.push_back({active.value, active.type_name, active.recovered, active.goexit});
}

/// Everything of one goroutine but its snapshots. Each worker has its own resolver: capstone and its caches are not
/// shared.
class RowMaker {
public:
    explicit RowMaker(const Process& process)
        : process_(process),
          disassembler_(Disassembler::create(process.core.machine())),
          callees_(process.memory, *process.go, *process.goroutines->code, disassembler_ ? &*disassembler_ : nullptr) {}

    /// `stack` is null when stacks are not wanted; its frames are copied, or moved when it is ours to take.
    report::Goroutine make(const go::Goroutine& g, const go::GoStack* stack) {
        auto row = make_without_frames(g, stack);
        if (stack != nullptr) row.frames = stack->frames;
        return row;
    }
    report::Goroutine make(const go::Goroutine& g, go::GoStack&& stack) {
        auto row = make_without_frames(g, &stack);
        row.frames = std::move(stack.frames);
        row.frames.shrink_to_fit();
        return row;
    }

private:
    report::Goroutine make_without_frames(const go::Goroutine& g, const go::GoStack* stack) {
        auto& runtime = *process_.go;
        auto& list = *process_.goroutines;
        report::Goroutine row;
        row.id = g.goid;
        row.status = go::to_string(g.status);
        row.wait_reason = g.wait_reason;
        row.waited = go::waited(list, g);
        row.thread = g.tid;
        row.system = g.system;
        row.locked_to_thread = g.locked_to_thread;
        auto origin = go::origin_of(runtime, list, g);
        row.created_by = origin.created_by;
        row.created_by_goroutine = origin.created_by_goroutine;
        row.created_file = origin.created_at.file;
        row.created_line = static_cast<std::uint32_t>(std::max(origin.created_at.line, 0));
        row.start = origin.start;
        row.labels = go::read_labels(process_.memory, runtime, g);
        if (!g.panics.is_null()) add_panics(row, go::read_panics(process_.memory, runtime, g));
        if (stack == nullptr) return row;
        row.frames_computed = true;
        row.stack_end = stack->end;
        if (process_.waits)
            for (auto& wait : process_.waits->of(process_.memory, runtime, g, *stack))
                row.blocked_on.push_back({wait.address, std::move(wait.what)});
        add_defers(row, go::read_defers(process_.memory, runtime, g, *stack, callees_), *stack);
        return row;
    }

    const Process& process_;
    Result<Disassembler> disassembler_;
    go::CalleeResolver callees_;
};

void add_snapshots(report::Goroutine& row, const Process& process, const Locator& locator, std::size_t index) {
    constexpr std::size_t wanted = 64;
    Snapshots snapshots(locator, &*process.disassembler);
    auto& stack = process.stacks[index];
    for (std::size_t i = 0; i < stack.frames.size() && row.snapshots.size() < wanted; ++i) {
        if (stack.frames[i].runtime_internal || stack.frames[i].inlined) continue;
        auto snapshot = snapshots.frame(stack, i);
        snapshot.goroutine = row.id;
        row.snapshots.push_back(std::move(snapshot));
    }
}

/// "sync.Mutex main.ledger.mu": package variables have names, where symbols are left. Symbols need libdw, so this is
/// not part of the parallel loop; 10^5 waiters share few objects.
void name_blocking_objects(std::vector<report::Goroutine>& rows, const Locator& locator) {
    std::unordered_map<Address, std::string> names;
    for (auto& row : rows)
        for (auto& blocked : row.blocked_on) {
            auto [at, is_new] = names.try_emplace(blocked.address);
            if (is_new && locator.place(blocked.address).kind == PlaceKind::image)
                at->second = locator.symbol(blocked.address);
            if (!at->second.empty()) blocked.what += " " + at->second;
        }
}

}  // namespace

std::vector<report::Goroutine> goroutines_section(const Process& process, const Locator& locator,
                                                  const GoroutineDetail& detail, std::optional<std::int64_t> only) {
    auto& all = process.goroutines->all;
    auto stack_of = [&](std::size_t i) { return process.stacks.empty() ? nullptr : &process.stacks[i]; };
    std::vector<report::Goroutine> rows;
    if (only) {
        if (auto index = process.find_goroutine(*only))
            rows.push_back(RowMaker(process).make(all[*index], stack_of(*index)));
        if (detail.snapshots && !rows.empty() && !process.stacks.empty())
            add_snapshots(rows.front(), process, locator, *process.find_goroutine(*only));
        name_blocking_objects(rows, locator);
        return rows;
    }
    rows.resize(all.size());
    bool walk_here = process.stacks.empty() && detail.frames;
    parallel_chunks(process.jobs, all.size(), 512, [&](std::size_t begin, std::size_t end, unsigned) {
        RowMaker maker(process);
        std::optional<GoroutineWalker> walker;
        if (walk_here) walker.emplace(process);
        for (std::size_t i = begin; i < end; ++i) {
            if (!walk_here)
                rows[i] = maker.make(all[i], stack_of(i));
            else if (!GoroutineWalker::needs_native_steps(all[i]))
                rows[i] = maker.make(all[i], walker->walk(all[i]));
        }
    });
    if (walk_here) {
        auto steps = native_steps(process);
        GoroutineWalker walker(process, steps);
        RowMaker maker(process);
        for (std::size_t i = 0; i < all.size(); ++i)
            if (GoroutineWalker::needs_native_steps(all[i])) rows[i] = maker.make(all[i], walker.walk(all[i]));
    }
    std::ranges::stable_sort(rows, {}, &report::Goroutine::id);
    name_blocking_objects(rows, locator);
    return rows;
}

}  // namespace incident
