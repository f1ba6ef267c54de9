// Who waits for whom: every Go lock that is waited for or that somebody will give back, its waiters, its holders with
// the basis of each, who else might release it, and the cycles. Built once, from the frozen stacks, defers and
// callbacks.
//
// A holder is whoever still has a release of the lock before him (go/sync/holders.h). What could not be followed to an
// address is no holder but a *possible* releaser; a verdict "nobody can release it" needs both lists to be empty.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "go/sync/holders.h"
#include "go/sync/locks.h"

namespace incident {

struct Process;

enum class HoldBasis : std::uint8_t {
    pending_defer,
    frame,      ///< a release lies before it
    releasing,  ///< it stands in one
};

struct LockWaiterRow {
    std::uint32_t goroutine = 0;  ///< index into goroutines->all
    go::WaitMode mode = go::WaitMode::lock;
    bool on_writer_semaphore = false;  ///< RWMutex: waits for the readers to leave
    bool on_mutex = false;             ///< RWMutex: waits behind another writer
};

struct LockHolderRow {
    std::uint32_t goroutine = 0;
    go::HoldKind kind = go::HoldKind::exclusive;
    HoldBasis basis = HoldBasis::frame;
    bool surely = false;                    ///< every path that returns gives it back; else some
    bool waits_for_it = false;              ///< waits for what it holds
    std::optional<std::uint32_t> physical;  ///< the frame
    std::string_view function;              ///< that will release it
    std::string_view deferred;              ///< pending_defer: what was deferred
    Address site;

    bool certain() const { return surely || basis == HoldBasis::pending_defer; }
};

/// What may release a lock without being known to.
struct PossibleReleaser {
    std::string what;  ///< "goroutine 12 (main.finisher): …", "timer …"
    std::optional<std::uint32_t> goroutine;
    bool certain = false;  ///< it names this very lock
    Address value = {};    ///< of the function value in the heap that it is; null: none
};

struct GoLock {
    go::LockState state;
    bool readable = true;
    std::vector<LockWaiterRow> waiters;
    std::vector<LockHolderRow> holders;
    std::vector<PossibleReleaser> possible;
    std::vector<PossibleReleaser> unable;     ///< were possible, but wait for ever themselves
    std::vector<std::string_view> locked_in;  ///< functions that waiters ask for it in
    bool foreign_waiters = false;             ///< more waiters counted than found
    bool possible_cut = false;                ///< more may release it than `possible` names
};

struct BlockEdge {
    std::uint32_t from = 0, to = 0;  ///< nodes: goroutines by index, then threads (pthread_waits.h, actor_of)
    std::size_t lock = SIZE_MAX;     ///< index into locks; SIZE_MAX: no Go lock
    Address object;
    std::string what;
    std::string basis;
    bool certain = false;
    bool others = false;             ///< of a channel: somebody of unknown mind may serve it, too
    std::size_t pthread = SIZE_MAX;  ///< index into Process::pthreads->locks(); SIZE_MAX: none
    std::size_t wait = SIZE_MAX;     ///< index into Process::pthreads->waits(): it waits in C

    bool is_channel() const { return lock == SIZE_MAX && wait == SIZE_MAX; }
};

struct LockPicture {
    std::vector<GoLock> locks;  ///< sorted by address
    std::vector<BlockEdge> edges;
    std::vector<std::vector<std::size_t>> cycles;  ///< of edges; of two or more nodes

    // What was searched, for the finding to say so.
    std::size_t goroutines = 0, defers = 0, frames = 0, timers = 0, finalizers = 0, exported = 0;
    std::vector<std::string> not_searched;

    const GoLock* find(Address lock) const;
};

/// Needs goroutines, stacks and waits; joins the pthread locks when there are any. Without Go those alone.
LockPicture find_locks(const Process& process);

/// Of locks that nobody is known to hold: objects in interfaces whose methods would release them. Needs the types of
/// the heap.
void find_releasing_methods(LockPicture& picture, const Process& process);

/// What the marked heap tells of who may release a lock: function values that only garbage leads to do not, nor do
/// goroutines that wait for ever; and of a lock that nobody who can run reaches nobody does.
void forget_unable(LockPicture& picture, const Process& process);

/// Cycles of edges over `nodes` nodes, each of two or more. Waiting for a lock is waiting for all its holders; waiting
/// on a channel is waiting for any of those who will serve it.
std::vector<std::vector<std::size_t>> find_cycles(std::size_t nodes, const std::vector<BlockEdge>& edges);

}  // namespace incident
