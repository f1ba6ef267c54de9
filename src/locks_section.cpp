#include "locks_section.h"

#include "go/heap/heap_types.h"
#include "process/lock_name.h"
#include "process/pthread_waits.h"
#include "process/typed_locks.h"
#include "pthread_section.h"

#include <fmt/format.h>

#include <algorithm>

#include "report/wait_summary.h"

namespace incident {

namespace {

std::string where_of(const Process& process, const Locator& locator, Address lock, std::string_view type) {
    if (std::string name = lock_name(process, locator, lock, type); !name.empty()) return name;
    const Placement place = locator.place(lock);
    return place.kind == PlaceKind::go_object ? locator.describe(place) : std::string{};
}

std::string basis_of(const LockHolderRow& holder) {
    if (holder.basis == HoldBasis::pending_defer) return fmt::format("pending defer: {}", holder.deferred);
    if (holder.basis == HoldBasis::releasing) return fmt::format("frame: in {}, on this very lock", holder.function);
    return fmt::format("frame: {} will release it{}", holder.function, holder.surely ? "" : " on some paths");
}

/// The lock itself, without who waits for it or holds it.
report::Lock row_of(const GoLock& lock, const Process& process, const Locator& locator) {
    report::Lock row;
    row.address = lock.state.address;
    row.type = to_string(lock.state.type);
    row.where = where_of(process, locator, lock.state.address, row.type);
    if (lock.readable) {
        row.state.raw = lock.state.raw;
        if (lock.state.type != go::WaitObject::wait_group)
            row.state.locked = lock.state.locked || lock.state.readers > 0;
        row.state.waiters = lock.state.type == go::WaitObject::wait_group ? lock.state.group_waiters
                            : lock.state.type == go::WaitObject::mutex    ? lock.state.mutex_waiters
                                                                          : lock.waiters.size();
        row.state.words = lock.state.words();
    } else {
        row.state.words = "its words could not be read";
    }
    return row;
}

}  // namespace

std::vector<report::Lock> locks_section(const Process& process, const Locator& locator) {
    std::vector<report::Lock> rows;
    const std::vector<go::Goroutine> none;
    auto& all = process.goroutines ? process.goroutines->all : none;
    rows.reserve(process.locks->locks.size());
    for (const GoLock& lock : process.locks->locks) {
        report::Lock row = row_of(lock, process, locator);
        for (auto& waiter : lock.waiters)
            row.waiters.push_back({{all[waiter.goroutine].goid, std::nullopt},
                                   std::string(to_string(waiter.mode)),
                                   go::waited(*process.goroutines, all[waiter.goroutine])});
        for (auto& holder : lock.holders) {
            const bool sure = holder.basis == HoldBasis::pending_defer || holder.surely;
            row.holders.push_back({{all[holder.goroutine].goid, std::nullopt},
                                   basis_of(holder),
                                   sure ? report::Strength::likely : report::Strength::possible});
        }
        for (auto* some : {&lock.possible, &lock.unable})
            for (auto& possible : *some)
                if (lock.holders.empty() && possible.goroutine)
                    row.holders.push_back({{all[*possible.goroutine].goid, std::nullopt},
                                           "may release it: " + possible.what,
                                           report::Strength::possible,
                                           true});
        std::ranges::sort(row.waiters, {}, &report::LockWaiter::who);
        rows.push_back(std::move(row));
    }
    // Held, as far as their words say, with nobody waiting: known by their type alone.
    for (const go::LockState& state : find_typed_locks(process).locked) {
        GoLock lock;
        lock.state = state;
        rows.push_back(row_of(lock, process, locator));
    }
    std::ranges::stable_sort(rows, {}, &report::Lock::address);
    add_pthread_rows(process, locator, rows);
    return rows;
}

void note_unread_locks(const Process& process, std::vector<report::Gap>& gaps) {
    if (!process.locks || !process.go) return;
    if (!process.heap_types)
        gaps.push_back({"locked locks that nobody waits for and that no frame will release",
                        "their types are read together with the Go heap: locks --held, analyze", "", false});
    else if (!process.heap_types->types().has_dwarf())
        gaps.push_back({"locked locks in package variables that nobody waits for and that no frame will release",
                        "without debug information such a variable is known only where the code passes its address "
                        "straight to Lock, to Unlock or to a method of a type that has a descriptor",
                        "", false});
}

report::WaitGraph wait_graph_section(const Process& process, const Locator& locator,
                                     std::span<const report::Lock> locks) {
    report::WaitGraph graph;
    graph.edges.reserve(process.locks->edges.size());
    for (const BlockEdge& edge : process.locks->edges) {
        std::string what = edge.what;
        const std::string_view type = std::string_view(edge.what).substr(0, edge.what.find(' '));
        if (std::string name = lock_name(process, locator, edge.object, type); !name.empty()) what += " " + name;
        graph.edges.push_back({actor_of(process, edge.from), actor_of(process, edge.to), std::move(what), edge.basis,
                               edge.object,
                               edge.others         ? report::Alternatives::unknown
                               : edge.is_channel() ? report::Alternatives::known
                                                   : report::Alternatives::none});
    }
    graph.cycles = process.locks->cycles;
    report::summarize(graph, locks);
    return graph;
}

}  // namespace incident
