// go.mutex.orphaned: a Mutex, or an RWMutex's writer side, is held, somebody waits, and nobody alive can give it back.
// go.mutex.self-deadlock: a goroutine waits for a lock that it holds itself.
//
// Proof: of the first, that no pending defer, no frame from its return address on, no timer and no finalizer leads to a
// release of this address; or that the goroutine which would release it waits for ever (select{}, a nil channel). Of
// the second, the pending deferred release in an older frame of the waiter, or a release of the same address on every
// path out of an older frame that the one acquisition it waits for does not account for. Innocent look-alikes: a slow
// holder has the same bytes; a lock may be handed to another goroutine; a waiter that has been woken (state unlocked,
// or starving) is on its way. Whatever may release it and is not known to makes the finding an info.
#include <fmt/format.h>

#include "detect/locks.h"
#include "detect/telling.h"

namespace incident::detect {

namespace {

report::Finding tell_self(const LockTeller& teller, const GoLock& lock, std::uint32_t goroutine,
                          const LockHolderRow* holder) {
    auto finding = teller.start(lock, "go.mutex.self-deadlock");
    const bool certain = holder != nullptr && holder->basis == HoldBasis::pending_defer;
    finding.severity = report::Severity::error;
    finding.strength = certain ? report::Strength::proved : report::Strength::likely;
    const std::int64_t goid = teller.goid(goroutine);
    const auto* asking = teller.asking_frame(goroutine);
    const bool upgrade = holder != nullptr && holder->kind == go::HoldKind::shared;
    const std::string where = place_in_source(asking);
    finding.title =
        upgrade ? fmt::format("goroutine {} holds a read lock of {} and waits for it again", goid, teller.name(lock))
                : fmt::format("goroutine {} waits for a lock that it holds itself: {}", goid, teller.name(lock));
    finding.where = fmt::format("asked for in {}, goroutine {}", where, goid);
    if (holder != nullptr && certain) {
        finding.why = fmt::format("its own older frame still has the deferred {} before it", holder->deferred);
        finding.evidence.push_back({fmt::format("pending defer of goroutine {}: {}", goid, holder->deferred),
                                    std::nullopt, "", "core", "open-coded defers"});
    } else if (holder != nullptr) {
        finding.why = fmt::format("every way out of {} releases it once more than it is taken", holder->function);
        finding.evidence.push_back(
            {fmt::format("code before goroutine {} releases the lock, beyond what it now waits for", goid),
             holder->site, std::string(holder->function), "file", "disassembly"});
    } else {
        finding.why = "a deferred call takes the lock that the same function took before; nothing in it unlocks";
        finding.evidence.push_back(
            {"the function locks, and its deferred call locks again", std::nullopt, where, "file", "disassembly"});
    }
    teller.add_snapshot(finding, goroutine);
    if (holder != nullptr && holder->physical) teller.add_snapshot(finding, goroutine, holder->physical);
    teller.add_verify(finding, lock);
    finding.remedy =
        holder == nullptr ? "write `defer mu.Unlock()`"
        : upgrade
            ? "give the read lock back before asking for more, and check again after"
            : "split the method into a front that locks and a core that does not; never call the front from the core";
    return finding;
}

report::Finding tell_orphaned(const LockTeller& teller, const GoLock& lock) {
    auto finding = teller.start(lock, "go.mutex.orphaned");
    teller.add_search(finding, lock);
    const bool writer = lock.state.type == go::WaitObject::rwmutex;
    // Who may unlock it may hold it; that he waits for a lock of the very one who waits for him is one way there.
    const bool unable = lock.possible.empty() && !lock.unable.empty();
    finding.title = unable ? fmt::format("A lock is held and who might unlock it waits for ever: {}", teller.name(lock))
                    : lock.possible.empty()
                        ? fmt::format("A lock is held and nobody alive can unlock it: {}", teller.name(lock))
                        : fmt::format("No holder of a lock was found: {}", teller.name(lock));
    finding.where = fmt::format("goroutines wait for it in {}; {}", teller.locked_in(lock),
                                !lock.possible.empty() ? "who holds it is not known"
                                : unable ? "whoever took it is gone, never unlocks it or waits for ever himself"
                                : writer ? "the writer that took it is gone or never unlocks it"
                                         : "whoever took it is gone or never unlocks it");
    finding.why = fmt::format("state {:#x} = {}, and no defer, frame, timer or finalizer {} to its Unlock",
                              lock.state.raw, lock.state.words(), lock.possible.empty() ? "leads" : "is known to lead");
    teller.add_unable(finding, lock);
    teller.add_waiters(finding, lock);
    teller.add_verify(finding, lock);
    finding.remedy = fmt::format(
        "find the early return or recovered panic between Lock and Unlock, in {} or wherever else it is taken; "
        "put `defer mu.Unlock()` right after Lock",
        teller.locked_in(lock));
    return finding;
}

}  // namespace

Detection detect_mutexes(const Process& process) {
    Detection detection;
    const LockPicture& picture = *process.locks;
    std::optional<LockTeller> teller;
    std::optional<LockFolder> folder;
    std::optional<go::CodeBook> book;
    const auto in_cycle = locks_in_cycles(picture);
    for (const GoLock& lock : picture.locks) {
        if (lock.state.type == go::WaitObject::wait_group) continue;
        ++detection.checked;
        if (!lock.readable) {
            ++detection.unchecked;
            continue;
        }
        if (lock.waiters.empty() || in_cycle.contains(lock.state.address.value)) continue;
        if (const LockHolderRow* self = self_holder(lock)) {
            if (!teller) teller.emplace(process);
            if (!folder) folder.emplace(*teller, detection.findings);
            if (folder->fold(lock, "go.mutex.self-deadlock", self)) continue;
            detection.findings.push_back(tell_self(*teller, lock, self->goroutine, self));
            folder->told();
            continue;
        }
        if (!lock.state.exclusively_held()) continue;
        const auto [by_somebody, stuck] = holding(process, lock, go::HoldKind::exclusive);
        if (by_somebody) continue;
        if (!teller) teller.emplace(process);
        if (lock.possible.empty() && stuck == nullptr && process.disassembler) {
            if (!book) book.emplace(process.memory, *process.go, *process.disassembler);
            if (auto again = deferred_relock(process, *book, lock)) {
                detection.findings.push_back(tell_self(*teller, lock, *again, nullptr));
                continue;
            }
        }
        if (!folder) folder.emplace(*teller, detection.findings);
        if (folder->fold(lock, "go.mutex.orphaned", stuck)) continue;
        detection.findings.push_back(stuck != nullptr ? teller->tell_stuck(lock, "go.mutex.orphaned", *stuck)
                                                      : tell_orphaned(*teller, lock));
        folder->told();
    }
    if (folder) folder->finish();
    if (detection.unchecked != 0)
        detection.reason = fmt::format("{} locks whose words could not be read", detection.unchecked);
    return detection;
}

}  // namespace incident::detect
