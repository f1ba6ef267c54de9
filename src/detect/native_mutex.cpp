// native.mutex.orphaned: threads wait for a pthread mutex whose owner is no thread of this process.
// native.mutex.self-deadlock: the owner of a non-recursive mutex waits for it.
//
// Proof: the waiters' system calls name the lock word; the words around it are a mutex in every field; its owner's tid
// is among no thread's own tid, or is the waiter's. A recursive or error-checking mutex cannot be unlocked by anybody
// else, so its orphan is proved; a normal one is likely. Without libc's own code at the system call it is only
// possible: other futexes may have such bytes; and a remark only, when this process can have had no such tid. Innocent
// look-alikes, all silent: an owner that sleeps (alive); a process-shared mutex (the owner may be another process's
// thread); a robust mutex whose owner died (the next to lock is told); a mutex just being taken or given back (no
// owner, or a word that changed since the waiter slept). One with priority inheritance is handed on by the kernel,
// which compares no value when it puts a waiter to sleep: whoever waits for it is never known to wait for good, unless
// the kernel refused and libc sleeps on a word of its own. Left as words: a normal mutex that another thread unlocks,
// as one may do on Linux; a tid that was given out again; a fork while the lock was held.
#include <fmt/format.h>

#include <algorithm>

#include "base/text.h"
#include "detect/native_locks.h"

namespace incident::detect {

using native::FutexObject;
using native::FutexWait;
using native::MutexType;
using native::OwnerState;
using native::PthreadLock;
using report::Severity;
using report::Strength;

namespace {

void grade(report::Finding& finding, Strength strength) {
    finding.strength = strength;
    finding.severity = strength == Strength::possible ? Severity::warning : Severity::error;
}

report::Finding tell_orphan(const Process& process, const PthreadTeller& teller, const PthreadLock& lock) {
    auto finding = teller.start(lock, "native.mutex.orphaned");
    const bool others_cannot = lock.type == MutexType::recursive || lock.type == MutexType::errorcheck;
    const std::size_t stuck = waiting_for_good(*process.pthreads, lock);
    grade(finding, !lock.sure || stuck == 0 ? Strength::possible : others_cannot ? Strength::proved : Strength::likely);
    if (!lock.sure && !among_our_tids(process, lock.owner)) finding.severity = Severity::info;
    finding.title = fmt::format("A mutex is held by a thread that no longer exists: {}", teller.name(lock));
    std::string asked = teller.asked_in(lock);
    finding.where = fmt::format(
        "{} for it{}", lock.waiters.size() == 1 ? "1 thread waits" : count_of(lock.waiters.size(), "thread") + " wait",
        asked.empty() ? "" : " in " + asked);
    finding.why = fmt::format("its owner is tid {}, and none of the {} threads has that tid", lock.owner,
                              process.core.threads().size());
    teller.add_owner(finding, lock);
    for (std::size_t i = 0; i < lock.waiters.size() && i < 2; ++i)
        teller.add_snapshot(finding, process.pthreads->waits()[lock.waiters[i]].thread);
    if (!lock.sure) finding.innocent.push_back("a futex of the program's own, whose data look like a mutex");
    if (!others_cannot)
        finding.innocent.push_back(
            "a normal mutex that some other thread will unlock: not allowed by POSIX, but it works on Linux");
    finding.innocent.push_back("a child process that was forked by the owner, and will unlock it under its new tid");
    if (stuck == 0) finding.innocent.push_back(not_for_good);
    teller.add_verify(finding, lock);
    finding.remedy =
        "unlock on every way out of the thread: early return, pthread_exit, cancellation, an exception; do not fork "
        "while "
        "other threads hold locks; or make the mutex robust";
    return finding;
}

report::Finding tell_self(const Process& process, const PthreadTeller& teller, const PthreadLock& lock,
                          const FutexWait& wait) {
    auto finding = teller.start(lock, "native.mutex.self-deadlock");
    const std::uint32_t node = teller.nodes().waiter(wait.thread);
    const bool own = teller.nodes().is_thread(node) || teller.nodes().fixed[wait.thread];
    grade(finding,
          !lock.sure || wait.timed || !own || (lock.shared && !lock.listed) ? Strength::possible : Strength::likely);
    const std::string who = teller.who(node);
    finding.title = fmt::format("{} waits for a mutex that it holds itself: {}", who, teller.name(lock));
    finding.title[0] = static_cast<char>(std::toupper(static_cast<unsigned char>(finding.title[0])));
    const std::string asker = teller.asker(wait.thread);
    finding.where = asker.empty() ? fmt::format("asked for by {}", thread_text(process, wait.thread))
                                  : fmt::format("asked for in {}, {}", asker, thread_text(process, wait.thread));
    finding.why = fmt::format("the mutex is {}, and its owner is the thread that waits for it", to_string(lock.type));
    if (lock.waiters.size() > 1)
        finding.why += fmt::format("; {} more wait behind it", count_of(lock.waiters.size() - 1, "thread"));
    teller.add_owner(finding, lock);
    teller.add_snapshot(finding, wait.thread);
    finding.innocent.push_back("another thread may unlock a normal mutex: not allowed by POSIX, but it works on Linux");
    if (!own)
        finding.innocent.push_back(
            "the thread may have locked it for another goroutine, which goes on with it: this one is not locked to its "
            "thread");
    finding.innocent.push_back("an older owner ended with the lock, and this thread was given its tid again");
    if (wait.timed) finding.innocent.push_back("the wait has a time limit");
    teller.add_verify(finding, lock);
    finding.remedy =
        "split the function into a front that locks and a core that does not, and never call the front from the core; "
        "or "
        "use a recursive mutex";
    return finding;
}

}  // namespace

Detection detect_native_mutexes(const Process& process) {
    Detection detection;
    const auto& pthreads = *process.pthreads;
    std::optional<PthreadTeller> teller;
    for (const PthreadLock& lock : pthreads.locks()) {
        if (lock.object != FutexObject::mutex) continue;
        ++detection.checked;
        if (!lock.held || lock.waiters.empty()) continue;
        if (lock.state == OwnerState::unknown && lock.owner != 0) ++detection.unchecked;
        if (lock.state == OwnerState::absent) {
            // A word that changed since they slept: it is on its way from hand to hand.
            const bool still = std::ranges::any_of(lock.waiters, [&](auto w) {
                const FutexWait& wait = pthreads.waits()[w];
                return wait.asleep() || !wait.expected;
            });
            if (!still) continue;
            if (!teller) teller.emplace(process);
            detection.findings.push_back(tell_orphan(process, *teller, lock));
        } else if (lock.state == OwnerState::alive && lock.type != MutexType::recursive &&
                   lock.type != MutexType::errorcheck) {
            for (std::uint32_t w : lock.waiters) {
                const FutexWait& wait = pthreads.waits()[w];
                if (wait.thread != lock.owner_thread || !wait.asleep()) continue;
                if (!teller) teller.emplace(process);
                detection.findings.push_back(tell_self(process, *teller, lock, wait));
                break;
            }
        }
    }
    if (detection.unchecked != 0)
        detection.reason = fmt::format("{} mutexes whose owner's thread is not known", detection.unchecked);
    note_unread_locks(pthreads, detection);
    return detection;
}

}  // namespace incident::detect
