// native.rwlock.orphaned: threads wait for a pthread rwlock whose writer is no thread of this process.
//
// Proof: the waiters' system calls name words of the lock, every field of it fits, it is write-locked, and the writer's
// tid is among no thread's own. Read locks are anonymous: readers that are gone cannot be told from readers that sleep,
// so nothing is ever said about them. Innocent look-alikes, silent: a writer that sleeps, readers that sleep, a
// process-shared lock.
#include <fmt/format.h>

#include "detect/native_locks.h"

namespace incident::detect {

using native::FutexObject;
using native::OwnerState;
using native::PthreadLock;
using report::Severity;
using report::Strength;

Detection detect_native_rwlocks(const Process& process) {
    Detection detection;
    const auto& pthreads = *process.pthreads;
    std::optional<PthreadTeller> teller;
    for (const PthreadLock& lock : pthreads.locks()) {
        if (lock.object != FutexObject::rwlock) continue;
        ++detection.checked;
        if (lock.state != OwnerState::absent || lock.waiters.empty() || !lock.write_locked) continue;
        const std::size_t stuck = waiting_for_good(pthreads, lock);
        if (!teller) teller.emplace(process);
        auto finding = teller->start(lock, "native.rwlock.orphaned");
        const bool sure = lock.sure && stuck != 0;
        finding.strength = sure ? Strength::likely : Strength::possible;
        finding.severity = sure                                                 ? Severity::error
                           : !lock.sure && !among_our_tids(process, lock.owner) ? Severity::info
                                                                                : Severity::warning;
        finding.title = fmt::format("A write lock is held by a thread that no longer exists: {}", teller->name(lock));
        const std::string asked = teller->asked_in(lock);
        finding.where =
            fmt::format("{} thread{} for it{}", lock.waiters.size(), lock.waiters.size() == 1 ? " waits" : "s wait",
                        asked.empty() ? "" : " in " + asked);
        finding.why = fmt::format("its writer is tid {}, and none of the {} threads has that tid", lock.owner,
                                  process.core.threads().size());
        teller->add_owner(finding, lock);
        for (std::size_t i = 0; i < lock.waiters.size() && i < 2; ++i)
            teller->add_snapshot(finding, pthreads.waits()[lock.waiters[i]].thread);
        finding.innocent.push_back(
            "a write lock that some other thread will give back: not allowed by POSIX, but it works on Linux");
        if (stuck == 0) finding.innocent.push_back(not_for_good);
        if (!lock.sure) finding.innocent.push_back("a futex of the program's own, whose data look like an rwlock");
        teller->add_verify(finding, lock);
        finding.remedy =
            "unlock on every way out of the thread: early return, pthread_exit, cancellation, an exception";
        detection.findings.push_back(std::move(finding));
    }
    note_unread_locks(pthreads, detection);
    return detection;
}

}  // namespace incident::detect
