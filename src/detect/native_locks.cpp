#include "detect/native_locks.h"
#include "detect/telling.h"

#include <algorithm>

#include <fmt/format.h>

#include "base/text.h"
#include "process/own_frames.h"
#include "process/snapshot.h"

namespace incident::detect {

using native::FutexObject;
using native::FutexWait;
using native::PthreadLock;

bool among_our_tids(const Process& process, std::int32_t tid) {
    constexpr std::int32_t later = 4096;
    std::int32_t lowest = INT32_MAX, highest = 0;
    for (std::uint32_t t = 0; t < process.core.threads().size(); ++t)
        if (auto own = process.pthreads->inner_tid(t)) {
            lowest = std::min(lowest, *own);
            highest = std::max(highest, *own);
        }
    return tid > lowest && tid < highest + later;
}

void note_unread_locks(const native::Pthreads& pthreads, Detection& detection) {
    if (!pthreads.locks_unread()) return;
    detection.unchecked += pthreads.waits().size();
    detection.reason = pthreads.unsupported();
}

std::size_t waiting_for_good(const native::Pthreads& pthreads, const PthreadLock& lock) {
    return static_cast<std::size_t>(std::ranges::count_if(lock.waiters, [&](std::uint32_t w) {
        const FutexWait& wait = pthreads.waits()[w];
        return wait.asleep() && !wait.timed;
    }));
}

std::string PthreadTeller::symbol(const PthreadLock& lock) const { return lock_symbol(locator_, lock.address); }

std::string PthreadTeller::name(const PthreadLock& lock) const {
    std::string known = symbol(lock);
    return known.empty() ? fmt::format("{} at {:#x}", to_string(lock.object), lock.address.value) : known;
}

std::string PthreadTeller::who(std::uint32_t node) const {
    const auto actor = actor_of(process_, node);
    return actor.goroutine ? fmt::format("goroutine {}", *actor.goroutine) : fmt::format("thread {}", *actor.thread);
}

void PthreadTeller::add_actor(report::Finding& finding, std::uint32_t thread) const {
    const auto actor = actor_of(process_, nodes_.waiter(thread));
    if (actor.goroutine) finding.goroutines.push_back(*actor.goroutine);
    finding.threads.push_back(process_.core.threads()[thread].tid);
}

const report::Frame* PthreadTeller::asking_frame(std::uint32_t thread) const {
    if (thread >= process_.threads.size()) return nullptr;
    const auto& frames = process_.threads[thread].stack.frames;
    const auto* wait = process_.pthreads->wait_of(thread);
    // Of a thread in a signal handler, what the handler interrupted.
    auto from = frames.begin();
    if (wait != nullptr && wait->in_signal_handler)
        from = std::ranges::find_if(frames, [&](const report::Frame& f) { return f.pc == wait->pc; });
    for (; from != frames.end(); ++from)
        if (!of_the_runtime(*from) && !of_the_cxx_headers(*from)) return &*from;
    return nullptr;
}

const report::Frame* PthreadTeller::naming_frame(std::uint32_t thread) const {
    const auto* frame = asking_frame(thread);
    if (frame == nullptr) return nullptr;
    const auto& frames = process_.threads[thread].stack.frames;
    // Stripped C under Go: the Go function that called it says more than nothing.
    for (; frame != frames.data() + frames.size(); ++frame)
        if (!frame->function.empty() && !is_machinery(*frame) && !of_the_cxx_headers(*frame)) return frame;
    return nullptr;
}

std::string PthreadTeller::asker(std::uint32_t thread) const {
    const auto* named = naming_frame(thread);
    if (named != nullptr) return std::string(named->function);
    const auto* asking = asking_frame(thread);
    return asking != nullptr && !asking->module.empty() ? place_in_source(*asking) : std::string();
}

std::string PthreadTeller::asked_in(const PthreadLock& lock) const {
    std::vector<std::string> functions;
    for (std::uint32_t w : lock.waiters)
        if (auto function = asker(pthreads_.waits()[w].thread); !function.empty())
            if (std::ranges::find(functions, function) == functions.end()) functions.push_back(std::move(function));
    std::string text;
    for (std::size_t i = 0; i < functions.size() && i < 3; ++i) text += (i == 0 ? "" : ", ") + functions[i];
    return functions.size() > 3 ? text + " …" : text;
}

report::Evidence PthreadTeller::wait_evidence(const FutexWait& wait) const {
    std::string call = fmt::format("futex({:#x}, {:#x}{})", wait.word.value, wait.operation,
                                   wait.expected ? fmt::format(", {:#x}", *wait.expected) : "");
    std::string what = fmt::format("{} waits in the kernel: {}", thread_text(process_, wait.thread), call);
    const auto actor = actor_of(process_, nodes_.waiter(wait.thread));
    if (actor.goroutine)
        what = fmt::format("goroutine {} on {} waits in the kernel: {}", *actor.goroutine,
                           thread_text(process_, wait.thread), call);
    if (wait.refused) what += ", a word of libc's own, for good: the kernel refused it the lock";
    return {what, wait.word, wait.value ? fmt::format("{:#x}", *wait.value) : "", "core",
            wait.in_signal_handler ? "registers that a signal handler interrupted" : "registers of the system call"};
}

report::Finding PthreadTeller::start(const PthreadLock& lock, std::string kind) const {
    report::Finding finding;
    finding.kind = std::move(kind);
    finding.subject = {lock.address, "lock", std::string(to_string(lock.object)), symbol(lock)};
    if (finding.subject.symbol.empty()) finding.explanation = "the lock lies in " + locator_.describe(lock.address);
    for (std::uint32_t w : lock.waiters) add_actor(finding, pthreads_.waits()[w].thread);
    std::ranges::sort(finding.goroutines);
    std::ranges::sort(finding.threads);
    finding.evidence.push_back({"its words: " + lock.words(), lock.address, fmt::format("{:#x}", lock.raw()), "core",
                                fmt::format("{} layout", to_string(lock.object))});
    for (std::size_t i = 0; i < lock.waiters.size() && i < 8; ++i)
        finding.evidence.push_back(wait_evidence(pthreads_.waits()[lock.waiters[i]]));
    if (lock.waiters.size() > 8)
        finding.evidence.push_back(
            {fmt::format("{} more threads wait for it", lock.waiters.size() - 8), std::nullopt, "", "core", ""});
    return finding;
}

void PthreadTeller::add_owner(report::Finding& finding, const PthreadLock& lock) const {
    const std::uint64_t offset = lock.object == FutexObject::rwlock ? 24 : 8;
    const std::string_view field = lock.object == FutexObject::rwlock ? "__cur_writer" : "__owner";
    const auto threads = process_.core.threads().size();
    std::string said;
    if (lock.owner_thread)
        said = fmt::format("{} names {}", field, thread_text(process_, *lock.owner_thread));
    else
        said = fmt::format("{} names tid {}, and none of the {} threads has that tid", field, lock.owner, threads);
    finding.evidence.push_back(
        {said, lock.address + offset, fmt::format("{}", lock.owner), "core",
         pthreads_.basis() +
             (pthreads_.foreign_namespace() ? "; the core's own tids are of another PID namespace" : "")});
}

void PthreadTeller::add_snapshot(report::Finding& finding, std::uint32_t thread) const {
    if (!process_.disassembler || finding.snapshots.size() >= 4 || thread >= process_.threads.size()) return;
    const auto& stack = process_.threads[thread].stack;
    const report::Frame* asking = asking_frame(thread);
    for (std::size_t i = 0; i < stack.frames.size(); ++i) {
        if (asking != &stack.frames[i]) continue;
        Snapshots snapshots(locator_, &*process_.disassembler);
        auto snapshot = snapshots.frame(stack, i);
        const auto actor = actor_of(process_, nodes_.waiter(thread));
        snapshot.goroutine = actor.goroutine;
        if (!actor.goroutine) snapshot.thread = process_.core.threads()[thread].tid;
        finding.snapshots.push_back(std::move(snapshot));
        return;
    }
}

void PthreadTeller::add_verify(report::Finding& finding, const PthreadLock& lock) const {
    const std::uint64_t at = lock.address.value;
    if (lock.object == FutexObject::mutex)
        finding.verify.push_back(gdb_check(process_, {fmt::format("x/10dw {:#x}", at), "info threads"},
                                           "lock, count, owner, nusers, kind: the third word is the owner's tid"));
    else if (lock.object == FutexObject::rwlock)
        finding.verify.push_back(gdb_check(process_, {fmt::format("x/14dw {:#x}", at), "info threads"},
                                           "the seventh word is the writer's tid, the first >> 3 the readers"));
    else
        finding.verify.push_back(gdb_check(process_, {fmt::format("x/4dw {:#x}", at)}));
    if (lock.object == FutexObject::mutex || lock.object == FutexObject::rwlock)
        finding.verify.push_back({"gdb", fmt::format("p *({}*){:#x}   # with libc's or the program's debug information",
                                                     to_string(lock.object), at)});
    if (!lock.waiters.empty())
        finding.verify.push_back(
            {"gdb",
             "thread apply all -q p/x {$orig_rax, $rdi, $rsi, $rdx}   # 0xca: futex(word, operation, expected)"});
    if (pthreads_.foreign_namespace())
        finding.verify.push_back({"gdb", "thread apply all -q x/dw $fs_base+0x2d0   # each thread's own tid"});
}

}  // namespace incident::detect
