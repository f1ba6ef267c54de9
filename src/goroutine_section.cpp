// The goroutines' part of the Report.
#include <algorithm>
#include <numeric>
#include <unordered_map>

#include "base/parallel.h"
#include "go/stacks/defers.h"
#include "go/stacks/panics.h"
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

/// `printed`: before the runtime prints the panics that it dies of, it puts the text of errors and Stringers in their
/// place (preprintpanics): what is a string then may have been of any type.
void add_panics(report::Goroutine& row, const go::Panics& panics, bool printed) {
    for (auto& active : panics.chain) {
        const bool replaced = printed && active.type_name == "string";
        row.panics.push_back({active.value, replaced ? "" : active.type_name, active.recovered, active.goexit});
    }
}

/// Everything of one goroutine but its snapshots. Each worker has its own resolver: capstone and its caches are not
/// shared.
class RowMaker {
public:
    explicit RowMaker(const Process& process)
        : process_(process),
          disassembler_(Disassembler::create(process.core.machine())),
          callees_(process.memory, *process.go, *process.goroutines->code, disassembler_ ? &*disassembler_ : nullptr) {
        for (const auto& machine : process.goroutines->machines)
            if (machine.dying != 0) dying_.push_back(machine.curg);
    }

    report::Goroutine make(std::size_t index) {
        const go::Goroutine& g = process_.goroutines->all[index];
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
        if (!g.panics.is_null()) {
            const bool printed = std::ranges::find(dying_, g.g) != dying_.end();
            add_panics(row, go::read_panics(process_.memory, runtime, g), printed);
        }
        if (process_.stacks.empty()) return row;
        const go::GoStack stack = process_.stacks.load_physical(index);
        row.frames_computed = true;
        row.frames = process_.stacks.frames(index);
        row.stack_end = stack.end;
        if (process_.waits)
            for (auto& wait : process_.waits->of(process_.memory, runtime, g, stack))
                row.blocked_on.push_back({wait.address, std::move(wait.what)});
        add_defers(row, go::read_defers(process_.memory, runtime, g, stack, callees_), stack);
        return row;
    }

private:
    const Process& process_;
    Result<Disassembler> disassembler_;
    go::CalleeResolver callees_;
    std::vector<Address> dying_;  ///< goroutines whose thread is ending the process
};

void add_snapshots(report::Goroutine& row, const Process& process, const Locator& locator, std::size_t index) {
    constexpr std::size_t wanted = 64;
    Snapshots snapshots(locator, &*process.disassembler);
    const go::GoStack stack = process.stacks.load(index);
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
                                                  std::optional<std::int64_t> only) {
    auto& all = process.goroutines->all;
    std::vector<report::Goroutine> rows;
    if (only) {
        if (auto index = process.find_goroutine(*only)) rows.push_back(RowMaker(process).make(*index));
        if (!rows.empty() && !process.stacks.empty())
            add_snapshots(rows.front(), process, locator, *process.find_goroutine(*only));
        name_blocking_objects(rows, locator);
        return rows;
    }
    std::vector<std::size_t> order(all.size());  // by number; rows are large, and many
    std::iota(order.begin(), order.end(), std::size_t{0});
    std::ranges::stable_sort(order, {}, [&](std::size_t index) { return all[index].goid; });
    rows.resize(all.size());
    parallel_chunks(process.jobs, all.size(), 512, [&](std::size_t begin, std::size_t end, unsigned) {
        RowMaker maker(process);
        for (std::size_t i = begin; i < end; ++i) rows[i] = maker.make(order[i]);
    });
    name_blocking_objects(rows, locator);
    return rows;
}

}  // namespace incident
