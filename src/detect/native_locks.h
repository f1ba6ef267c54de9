// What the detectors of pthread locks share: the same lock, its owner and its waiters told the same way in every
// finding.
#pragma once

#include <string>
#include <string_view>

#include "detect/detector.h"
#include "native/pthreads.h"
#include "process/locate.h"
#include "process/pthread_waits.h"

namespace incident::detect {

inline constexpr std::string_view native_mutex_kinds[] = {"native.mutex.orphaned", "native.mutex.self-deadlock"};
inline constexpr std::string_view native_rwlock_kinds[] = {"native.rwlock.orphaned"};

Detection detect_native_mutexes(const Process& process);
Detection detect_native_rwlocks(const Process& process);

class PthreadTeller {
public:
    explicit PthreadTeller(const Process& process)
        : process_(process), pthreads_(*process.pthreads), nodes_(process), locator_(*process.locator) {}

    const WaitNodes& nodes() const { return nodes_; }
    std::string symbol(const native::PthreadLock& lock) const;
    std::string name(const native::PthreadLock& lock) const;  ///< "g_cache.mu", else type and address
    report::Finding start(const native::PthreadLock& lock, std::string kind) const;
    /// Owner, its absence, and how tids were compared.
    void add_owner(report::Finding& finding, const native::PthreadLock& lock) const;
    void add_snapshot(report::Finding& finding, std::uint32_t thread) const;
    void add_verify(report::Finding& finding, const native::PthreadLock& lock) const;
    /// "goroutine 12", "thread 4711".
    std::string who(std::uint32_t node) const;
    /// Names of who waits, in the finding's lists.
    void add_actor(report::Finding& finding, std::uint32_t thread) const;
    /// Where a thread asked for the lock: the innermost frame that is not libc's; null: none.
    const report::Frame* asking_frame(std::uint32_t thread) const;
    /// The same, but the innermost that has a name.
    const report::Frame* naming_frame(std::uint32_t thread) const;
    /// Its function; of what has no name module and offset; empty: not known.
    std::string asker(std::uint32_t thread) const;
    std::string asked_in(const native::PthreadLock& lock) const;
    report::Evidence wait_evidence(const native::FutexWait& wait) const;

private:
    const Process& process_;
    const native::Pthreads& pthreads_;
    WaitNodes nodes_;
    const Locator& locator_;
};

/// Locks that are not read: whoever waits was not checked.
void note_unread_locks(const native::Pthreads& pthreads, Detection& detection);
/// Tids are given out in order: a thread of this process that has ended had one not far from the others'.
bool among_our_tids(const Process& process, std::int32_t tid);
/// Waiters of the lock that nobody has woken and that wait without a time limit.
std::size_t waiting_for_good(const native::Pthreads& pthreads, const native::PthreadLock& lock);
/// What is not ruled out where there are none.
inline constexpr const char* not_for_good = "the waiters have a time limit, or were just woken";

}  // namespace incident::detect
