// The detectors of Go's locks: they read Process::locks, which says who waits, who holds and who might release.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <unordered_set>

#include "detect/detector.h"
#include "process/locate.h"

namespace incident::detect {

inline constexpr std::string_view mutex_kinds[] = {"go.mutex.orphaned", "go.mutex.self-deadlock"};
inline constexpr std::string_view bad_unlock_kinds[] = {"go.mutex.bad-unlock"};
inline constexpr std::string_view rwmutex_kinds[] = {"go.rwmutex.reader-leaked"};
inline constexpr std::string_view cycle_kinds[] = {"lock.cycle"};
inline constexpr std::string_view waitgroup_kinds[] = {"go.waitgroup.stuck"};

Detection detect_mutexes(const Process& process);
Detection detect_bad_unlock(const Process& process);
Detection detect_rwmutexes(const Process& process);
Detection detect_lock_cycles(const Process& process);
Detection detect_waitgroups(const Process& process);

/// The same lock in every finding: names, state, waiters, what was searched, how to check it by hand.
class LockTeller {
public:
    explicit LockTeller(const Process& process)
        : process_(process), picture_(*process.locks), locator_(*process.locator) {}

    std::string name(const GoLock& lock) const;  ///< "main.ledger.mu", else type and address
    report::Finding start(const GoLock& lock, std::string kind) const;
    /// "nobody holds it": evidence of the search, and the strength that it allows.
    void add_search(report::Finding& finding, const GoLock& lock) const;
    void add_snapshot(report::Finding& finding, std::uint32_t goroutine,
                      std::optional<std::uint32_t> physical = std::nullopt) const;
    /// The frames of the first waiter, and of one that asked elsewhere.
    void add_waiters(report::Finding& finding, const GoLock& lock) const;
    /// Those who may hold it and wait for ever themselves: what each would do, and where it waits.
    void add_unable(report::Finding& finding, const GoLock& lock) const;
    void add_verify(report::Finding& finding, const GoLock& lock) const;
    /// Of a lock that its holder never gives back: he is known, and alive in name only.
    report::Finding tell_stuck(const GoLock& lock, std::string kind, const LockHolderRow& holder) const;
    std::int64_t goid(std::uint32_t goroutine) const { return process_.goroutines->all[goroutine].goid; }
    /// Where a waiter asked for the lock: the innermost frame outside package sync; null: none. Its code; sp, bp and
    /// cfa are those of a stack like it (GoStacks).
    const report::Frame* asking_frame(std::uint32_t goroutine) const;
    std::string locked_in(const GoLock& lock) const;

private:
    const Process& process_;
    const LockPicture& picture_;
    const Locator& locator_;
};

/// Locks of which the same is to be said become one finding with a count: 10^5 locks of one loop are one story. Doubts
/// fold at once; accusations only when there are many, since each may be a fault of its own.
class LockFolder {
public:
    LockFolder(const LockTeller& teller, std::vector<report::Finding>& findings)
        : teller_(teller), findings_(findings) {}

    /// True: counted with an earlier one, nothing more to tell. `stuck`: the holder who waits for ever, if that is why.
    bool fold(const GoLock& lock, std::string_view kind, const LockHolderRow* stuck = nullptr);
    /// After the finding about `lock` was pushed.
    void told();
    void finish();

private:
    struct Story {
        std::size_t finding = SIZE_MAX, told = 0;
        std::vector<Address> more;  ///< the first few that were folded
    };
    std::string key_of(const GoLock& lock, std::string_view kind, const LockHolderRow* stuck) const;

    const LockTeller& teller_;
    std::vector<report::Finding>& findings_;
    std::unordered_map<std::string, Story> stories_;
    std::string last_key_;
};

struct Holding {
    bool by_somebody = false;              ///< who may go on
    const LockHolderRow* stuck = nullptr;  ///< who never will: he is in select{}, waits for a nil channel, is leaked
};
Holding holding(const Process& process, const GoLock& lock, go::HoldKind kind);

/// Goroutine that waits for a lock which it holds itself; nullptr: none.
const LockHolderRow* self_holder(const GoLock& lock);
/// Locks of which a cycle already tells.
std::unordered_set<std::uint64_t> locks_in_cycles(const LockPicture& picture);
/// A waiter whose deferred call takes the lock once more, `defer mu.Lock()` where Unlock was meant. `book` keeps what
/// was decoded for the next lock.
std::optional<std::uint32_t> deferred_relock(const Process& process, go::CodeBook& book, const GoLock& lock);

}  // namespace incident::detect
