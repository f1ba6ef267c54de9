// go.waitgroup.stuck: goroutines sleep in Wait, the counter is above zero, and no goroutine alive still has a Done
// before it.
//
// Proof: no pending defer, frame, timer or finalizer leads to Done or Add(-n) of this address, but for those of
// goroutines that sleep in this very Wait; or one of these owes a Done itself, on every way out of what it still has to
// run.
// Innocent look-alikes: workers that are alive and slow; a Done that another goroutine is told to make through a
// channel.
#include <fmt/format.h>

#include <algorithm>

#include "detect/locks.h"
#include "detect/telling.h"

namespace incident::detect {

namespace {

/// singleflight's Do of a key by the function that Do of this key runs: it waits for the call that it is itself.
const LockHolderRow* owes_itself(const GoLock& lock) {
    const auto self =
        std::ranges::find_if(lock.holders, [](const LockHolderRow& h) { return h.waits_for_it && h.surely; });
    return self != lock.holders.end() ? &*self : nullptr;
}

report::Finding tell_self(const LockTeller& teller, const GoLock& lock, const LockHolderRow& self) {
    auto finding = teller.start(lock, "go.waitgroup.stuck");
    finding.subject.what = "wait group";
    const std::int64_t goid = teller.goid(self.goroutine);
    const bool deferred = self.basis == HoldBasis::pending_defer;
    finding.severity = report::Severity::error;
    finding.strength = report::Strength::likely;
    finding.title =
        fmt::format("goroutine {} waits for a WaitGroup whose Done it owes itself: {}", goid, teller.name(lock));
    finding.where =
        fmt::format("waited for in {}, goroutine {}", place_in_source(teller.asking_frame(self.goroutine)), goid);
    finding.why = fmt::format("counter {}, and its own {} still has the Done before it", lock.state.counter,
                              deferred ? fmt::format("deferred {}", self.deferred) : std::string(self.function));
    finding.evidence.push_back({fmt::format("goroutine {} gives back what it waits for, but only after it", goid),
                                self.site, std::string(deferred ? self.deferred : self.function), "core",
                                deferred ? "pending defers and disassembly" : "disassembly"});
    finding.innocent.push_back("another goroutine that makes more Dones than it was counted for");
    teller.add_snapshot(finding, self.goroutine);
    if (self.physical) teller.add_snapshot(finding, self.goroutine, self.physical);
    teller.add_verify(finding, lock);
    finding.remedy = "never wait for a group from what is counted in it: start the inner work as a group of its own";
    return finding;
}

}  // namespace

Detection detect_waitgroups(const Process& process) {
    Detection detection;
    std::optional<LockTeller> teller;
    std::optional<LockFolder> folder;
    const auto in_cycle = locks_in_cycles(*process.locks);
    for (const GoLock& lock : process.locks->locks) {
        if (lock.state.type != go::WaitObject::wait_group) continue;
        ++detection.checked;
        if (!lock.readable || lock.waiters.empty() || lock.state.counter <= 0 ||
            in_cycle.contains(lock.state.address.value))
            continue;
        if (const LockHolderRow* self = owes_itself(lock)) {
            if (!teller) teller.emplace(process);
            detection.findings.push_back(tell_self(*teller, lock, *self));
            continue;
        }
        if (!std::ranges::all_of(lock.holders, &LockHolderRow::waits_for_it)) continue;
        if (!teller) teller.emplace(process);
        if (!folder) folder.emplace(*teller, detection.findings);
        if (folder->fold(lock, "go.waitgroup.stuck")) continue;
        auto finding = teller->start(lock, "go.waitgroup.stuck");
        finding.subject.what = "wait group";
        teller->add_search(finding, lock);
        finding.title = fmt::format("A WaitGroup waits for {} that {}: {}",
                                    lock.state.counter == 1 ? "a Done" : fmt::format("{} Dones", lock.state.counter),
                                    lock.possible.empty() ? "nobody alive will make" : "nobody was found to owe",
                                    teller->name(lock));
        finding.where = fmt::format("waited for in {}", teller->locked_in(lock));
        finding.why = fmt::format("counter {}, and no defer, frame, timer or finalizer {} to Done", lock.state.counter,
                                  lock.possible.empty() ? "leads" : "is known to lead");
        teller->add_unable(finding, lock);
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
