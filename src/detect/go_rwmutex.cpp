// go.rwmutex.reader-leaked: a writer waits for readers to leave, and no goroutine alive still has an RUnlock before it.
//
// Proof: readerWait says how many must leave; no pending defer, frame, timer or finalizer leads to RUnlock of this
// address, or only those of goroutines that wait for ever (select{}, a nil channel). Innocent look-alike: a slow reader
// inside its section, with the very same counters.
#include <fmt/format.h>

#include "detect/locks.h"

namespace incident::detect {

Detection detect_rwmutexes(const Process& process) {
    Detection detection;
    std::optional<LockTeller> teller;
    std::optional<LockFolder> folder;
    const auto in_cycle = locks_in_cycles(*process.locks);
    for (const GoLock& lock : process.locks->locks) {
        if (lock.state.type != go::WaitObject::rwmutex) continue;
        ++detection.checked;
        if (!lock.readable || lock.waiters.empty() || in_cycle.contains(lock.state.address.value)) continue;
        if (!lock.state.writer || lock.state.reader_wait <= 0 || self_holder(lock) != nullptr) continue;
        const auto [by_somebody, stuck] = holding(process, lock, go::HoldKind::shared);
        if (by_somebody) continue;
        if (!teller) teller.emplace(process);
        if (!folder) folder.emplace(*teller, detection.findings);
        if (folder->fold(lock, "go.rwmutex.reader-leaked", stuck)) continue;
        if (stuck != nullptr) {
            detection.findings.push_back(teller->tell_stuck(lock, "go.rwmutex.reader-leaked", *stuck));
            folder->told();
            continue;
        }
        auto finding = teller->start(lock, "go.rwmutex.reader-leaked");
        teller->add_search(finding, lock);
        const auto n = lock.state.reader_wait;
        finding.title = fmt::format(
            "{} {}: {}", n == 1 ? "1 read lock is held" : fmt::format("{} read locks are held", n),
            lock.possible.empty() ? "that nobody alive can give back" : "and no holder was found", teller->name(lock));
        finding.where = fmt::format("wanted in {}", teller->locked_in(lock));
        finding.why = fmt::format(
            "readerCount {:#x} and readerWait {}: a writer waits for {}, and no defer or frame {} to RUnlock",
            lock.state.raw, n, n == 1 ? "a reader" : "readers", lock.possible.empty() ? "leads" : "is known to lead");
        teller->add_unable(finding, lock);
        teller->add_waiters(finding, lock);
        teller->add_verify(finding, lock);
        finding.remedy =
            "find the RLock without RUnlock on every way out, those of panics too; put `defer mu.RUnlock()` right "
            "after RLock";
        detection.findings.push_back(std::move(finding));
        folder->told();
    }
    if (folder) folder->finish();
    return detection;
}

}  // namespace incident::detect
