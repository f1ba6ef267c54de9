// go.waitgroup.stuck: goroutines sleep in Wait, the counter is above zero, and no goroutine alive still has a Done
// before it.
//
// Proof: no pending defer, frame, timer or finalizer leads to Done or Add(-n) of this address.
// Innocent look-alikes: workers that are alive and slow; a Done that another goroutine is told to make through a
// channel.
#include <fmt/format.h>

#include "detect/locks.h"

namespace incident::detect {

Detection detect_waitgroups(const Process& process) {
    Detection detection;
    std::optional<LockTeller> teller;
    std::optional<LockFolder> folder;
    const auto in_cycle = locks_in_cycles(*process.locks);
    for (const GoLock& lock : process.locks->locks) {
        if (lock.state.type != go::WaitObject::wait_group) continue;
        ++detection.checked;
        if (!lock.readable || lock.waiters.empty() || lock.state.counter <= 0 || !lock.holders.empty() ||
            in_cycle.contains(lock.state.address.value))
            continue;
        if (!teller) teller.emplace(process);
        if (!folder) folder.emplace(*teller, detection.findings);
        if (folder->fold(lock, "go.waitgroup.stuck")) continue;
        auto finding = teller->start(lock, "go.waitgroup.stuck");
        finding.subject.what = "wait group";
        teller->add_search(finding, lock);
        finding.title = fmt::format("A WaitGroup waits for {} that nobody alive will make: {}",
                                    lock.state.counter == 1 ? "a Done" : fmt::format("{} Dones", lock.state.counter),
                                    teller->name(lock));
        finding.where = fmt::format("waited for in {}", teller->locked_in(lock));
        finding.why =
            fmt::format("counter {}, and no defer, frame, timer or finalizer leads to Done", lock.state.counter);
        teller->add_waiters(finding, lock);
        teller->add_verify(finding, lock);
        finding.remedy = "call `defer wg.Done()` first in each worker, and Add before `go`";
        detection.findings.push_back(std::move(finding));
        folder->told();
    }
    if (folder) folder->finish();
    return detection;
}

}  // namespace incident::detect
