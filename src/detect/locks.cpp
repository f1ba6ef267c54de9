// What the lock detectors share.
#include "detect/locks.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

#include "base/text.h"
#include "detect/telling.h"
#include "go/heap/heap_graph.h"
#include "process/lock_name.h"
#include "process/snapshot.h"

namespace incident::detect {

namespace {

std::string_view word_of(const GoLock& lock) {
    return lock.state.type == go::WaitObject::wait_group ? "wait group" : "lock";
}

}  // namespace

std::string LockTeller::name(const GoLock& lock) const {
    const std::string_view type = to_string(lock.state.type);
    std::string name = lock_name(process_, locator_, lock.state.address, type);
    if (!name.empty() && locator_.place(lock.state.address).kind == PlaceKind::image) return name;
    return fmt::format("{} at {:#x}", name.empty() ? type : name, lock.state.address.value);
}

const report::Frame* LockTeller::asking_frame(std::uint32_t goroutine) const {
    for (const auto& frame : process_.stacks.shape(goroutine).frames)
        if (!is_go_machinery(frame.function)) return &frame;
    return nullptr;
}

std::string LockTeller::locked_in(const GoLock& lock) const {
    std::string text;
    for (std::size_t i = 0; i < lock.locked_in.size() && i < 3; ++i)
        text += (i == 0 ? "" : ", ") + std::string(lock.locked_in[i]);
    if (lock.locked_in.size() > 3) text += " …";
    return text;
}

report::Finding LockTeller::start(const GoLock& lock, std::string kind) const {
    report::Finding finding;
    finding.kind = std::move(kind);
    finding.subject = {lock.state.address, "lock", std::string(to_string(lock.state.type)),
                       lock_name(process_, locator_, lock.state.address, to_string(lock.state.type))};
    if (finding.subject.symbol.empty())
        finding.explanation = fmt::format("the {} lies in {}", word_of(lock), locator_.describe(lock.state.address));
    for (auto& waiter : lock.waiters) finding.goroutines.push_back(goid(waiter.goroutine));
    std::ranges::sort(finding.goroutines);
    finding.evidence.push_back({fmt::format("state: {}", lock.state.words()), lock.state.address,
                                fmt::format("{:#x}", lock.state.raw), origin_of(process_, lock.state.address),
                                fmt::format("{} layout", to_string(lock.state.type))});
    finding.evidence.push_back(
        {fmt::format(
             "{} for it, in {}",
             lock.waiters.size() == 1 ? "1 goroutine waits" : fmt::format("{} goroutines wait", lock.waiters.size()),
             locked_in(lock)),
         std::nullopt, "", "core", "semtable and stacks"});
    return finding;
}

void LockTeller::add_search(report::Finding& finding, const GoLock& lock) const {
    std::vector<std::string> searched = {
        count_of(picture_.goroutines, "goroutine"), count_of(picture_.defers, "pending defer"),
        count_of(picture_.frames, "frame") + " from their return address on", count_of(picture_.timers, "timer"),
        count_of(picture_.finalizers, "finalizer")};
    if (picture_.exported > 0) searched.push_back(count_of(picture_.exported, "function") + " that C may call");
    const std::string last = searched.back();
    searched.pop_back();
    finding.evidence.push_back(
        {fmt::format("{} and {} were searched: none {} to a {} of this {}", fmt::join(searched, ", "), last,
                     lock.possible.empty() ? "leads" : "is known to lead",
                     lock.state.type == go::WaitObject::wait_group ? "Done" : "release", word_of(lock)),
         std::nullopt, "", "core", "open-coded defers, disassembly"});
    for (auto& what : picture_.not_searched) finding.innocent.push_back("not searched: " + what);
    for (auto& possible : lock.possible) finding.innocent.push_back(possible.what);
    const bool sure = lock.possible.empty() && picture_.not_searched.empty();
    finding.strength = sure ? report::Strength::likely : report::Strength::possible;
    // A possible releaser is the innocent explanation itself: worth a remark, no alarm.
    finding.severity = sure ? report::Severity::error : report::Severity::info;
    if (sure)
        finding.innocent.push_back(
            "code that is reached only through C, reflection or a goroutine that has not been created yet");
}

void LockTeller::add_snapshot(report::Finding& finding, std::uint32_t goroutine,
                              std::optional<std::uint32_t> physical) const {
    const go::GoStack stack = process_.stacks.load(goroutine);
    const auto& shape = process_.stacks.shape(goroutine);
    const report::Frame* asking = asking_frame(goroutine);
    for (std::size_t i = 0; i < stack.frames.size(); ++i) {
        const bool wanted =
            physical ? stack.frame_of[i] == *physical && !stack.frames[i].inlined : asking == &shape.frames[i];
        if (!wanted) continue;
        detect::add_snapshot(process_, finding, stack, i, goid(goroutine));
        return;
    }
}

void LockTeller::add_waiters(report::Finding& finding, const GoLock& lock) const {
    const report::Frame* shown = nullptr;
    for (const auto& waiter : lock.waiters) {
        const report::Frame* asking = asking_frame(waiter.goroutine);
        if (asking == nullptr || (shown != nullptr && asking->pc == shown->pc)) continue;  // the same picture again
        add_snapshot(finding, waiter.goroutine);
        if (shown != nullptr) return;
        shown = asking;
    }
}

void LockTeller::add_unable(report::Finding& finding, const GoLock& lock) const {
    constexpr std::size_t most = 4;
    std::size_t shown = 0;
    for (const PossibleReleaser& releaser : lock.unable) {
        if (++shown > most) break;
        finding.evidence.push_back({fmt::format("{}; it waits for ever, too, in {}", releaser.what,
                                                place_in_source(asking_frame(*releaser.goroutine))),
                                    std::nullopt, "", "core", "stacks and disassembly"});
    }
    if (shown > most)
        finding.evidence.push_back(
            {fmt::format("{} may be it as well", count_of(lock.unable.size() - most, "more", "more")), std::nullopt, "",
             "core", "stacks and disassembly"});
}

void LockTeller::add_verify(report::Finding& finding, const GoLock& lock) const {
    const std::uint64_t at = lock.state.address.value;
    if (lock.state.type == go::WaitObject::mutex)
        finding.verify.push_back(
            gdb_check(process_, {fmt::format("x/2wx {:#x}", at)}, "first word: bit 0 locked, >>3 waiters"));
    else if (lock.state.type == go::WaitObject::rwmutex)
        finding.verify.push_back(gdb_check(process_, {fmt::format("x/6wx {:#x}", at)},
                                           "w.state, w.sema, writerSem, readerSem, readerCount, readerWait"));
    else
        finding.verify.push_back(gdb_check(process_, {fmt::format("x/3wx {:#x}", at)}, "counter and waiters"));
    if (!finding.goroutines.empty())
        add_delve_check(process_, finding, fmt::format("goroutine {} bt", finding.goroutines.front()));
}

report::Finding LockTeller::tell_stuck(const GoLock& lock, std::string kind, const LockHolderRow& holder) const {
    const auto& g = process_.goroutines->all[holder.goroutine];
    auto finding = start(lock, std::move(kind));
    const bool sure = lock.possible.empty();
    finding.strength = sure ? report::Strength::likely : report::Strength::possible;
    finding.severity = sure ? report::Severity::warning : report::Severity::info;
    const bool shared = holder.kind == go::HoldKind::shared;
    finding.title = fmt::format("goroutine {} holds {} and waits for ever: {}", g.goid,
                                shared ? "a read lock" : "a lock", name(lock));
    finding.where = fmt::format("held by goroutine {} in {}; goroutines wait for it in {}", g.goid,
                                place_in_source(asking_frame(holder.goroutine)), locked_in(lock));
    finding.why = fmt::format("goroutine {} will never come to its {}: it waits for ever ({})", g.goid,
                              shared ? "RUnlock" : "Unlock", g.wait_reason);
    finding.evidence.push_back(
        {fmt::format("goroutine {} holds it: its {} is still before it", g.goid, shared ? "RUnlock" : "Unlock"),
         std::nullopt, std::string(g.wait_reason), "core", "g.waitreason, defers and disassembly"});
    finding.innocent.push_back("a lock that is held on purpose until the process ends");
    for (auto& possible : lock.possible) finding.innocent.push_back(possible.what);
    add_snapshot(finding, holder.goroutine);
    add_waiters(finding, lock);
    add_verify(finding, lock);
    finding.remedy = "give the holder a way out of its wait, or unlock before it";
    return finding;
}

std::string LockFolder::key_of(const GoLock& lock, std::string_view kind, const LockHolderRow* stuck) const {
    std::string key = fmt::format("{}\n{}", kind, static_cast<int>(lock.state.type));
    if (stuck != nullptr) key += "\nstuck in " + place_in_source(teller_.asking_frame(stuck->goroutine));
    auto names = lock.locked_in;
    std::ranges::sort(names);
    for (auto& name : names) (key += '\n') += name;
    for (auto& possible : lock.possible) (key += '\n') += possible.what;
    return key;
}

bool LockFolder::fold(const GoLock& lock, std::string_view kind, const LockHolderRow* stuck) {
    constexpr std::size_t accusations = 8, examples = 5;
    last_key_ = key_of(lock, kind, stuck);
    Story& story = stories_[last_key_];
    if (story.finding == SIZE_MAX) return false;
    auto& finding = findings_[story.finding];
    if (finding.severity > report::Severity::info && story.told < accusations) return false;
    ++finding.count;
    for (auto& waiter : lock.waiters) finding.goroutines.push_back(teller_.goid(waiter.goroutine));
    if (story.more.size() < examples) story.more.push_back(lock.state.address);
    return true;
}

void LockFolder::told() {
    Story& story = stories_[last_key_];
    story.finding = findings_.size() - 1;
    ++story.told;
}

void LockFolder::finish() {
    for (auto& [key, story] : stories_) {
        if (story.more.empty()) continue;
        auto& finding = findings_[story.finding];
        std::string examples;
        for (Address at : story.more) examples += fmt::format("{}{:#x}", examples.empty() ? "" : ", ", at.value);
        const std::size_t more = finding.count - 1;
        std::ranges::sort(finding.goroutines);
        finding.title += fmt::format(", and {} more alike", more);
        finding.evidence.push_back({fmt::format("the same is true of {} more {}", more, more == 1 ? "lock" : "locks"),
                                    std::nullopt, examples + (more > story.more.size() ? " …" : ""), "core",
                                    "the command locks lists them all"});
    }
}

Holding holding(const Process& process, const GoLock& lock, go::HoldKind kind) {
    Holding found;
    // Among those who wait for ever together the leak is the story; somebody beside them learns here whom he waits for.
    const bool outside_of_leaks = process.leaks && process.heap && process.heap->gaps().empty() &&
                                  !lock.waiters.empty() && !process.leaks->contains(lock.waiters.front().goroutine);
    for (const LockHolderRow& holder : lock.holders) {
        if (holder.kind != kind || holder.waits_for_it) continue;  // its release comes after what it waits for
        const std::string_view reason = process.goroutines->all[holder.goroutine].wait_reason;
        const bool forever = reason == "select (no cases)" || reason.ends_with("(nil chan)") ||
                             (outside_of_leaks && process.leaks->contains(holder.goroutine));
        if (!forever)
            found.by_somebody = true;
        else if (found.stuck == nullptr)
            found.stuck = &holder;
    }
    return found;
}

const LockHolderRow* self_holder(const GoLock& lock) {
    if (lock.state.type == go::WaitObject::wait_group) return nullptr;
    for (auto& holder : lock.holders)
        if (holder.waits_for_it && (holder.surely || holder.basis == HoldBasis::pending_defer)) return &holder;
    return nullptr;
}

std::unordered_set<std::uint64_t> locks_in_cycles(const LockPicture& picture) {
    std::unordered_set<std::uint64_t> locks;
    for (auto& cycle : picture.cycles)
        for (auto edge : cycle) locks.insert(picture.edges[edge].object.value);
    return locks;
}

std::optional<std::uint32_t> deferred_relock(const Process& process, go::CodeBook& book, const GoLock& lock) {
    if (lock.state.type != go::WaitObject::mutex) return std::nullopt;
    for (auto& waiter : lock.waiters) {
        const go::GoStack stack = process.stacks.load(waiter.goroutine);
        std::size_t f = 0;
        while (f < stack.physical.size() &&
               (stack.physical[f].func() == nullptr || is_go_machinery(stack.physical[f].name())))
            ++f;
        if (f >= stack.physical.size()) continue;
        const bool wrapped = stack.physical[f].name().find(".deferwrap") != std::string_view::npos ||
                             stack.physical[f].name().find("·dwrap·") != std::string_view::npos ||
                             stack.physical[f].func()->wrapper;
        std::size_t outer = f;
        if (wrapped)
            for (++outer; outer < stack.physical.size() &&
                          (stack.physical[outer].func() == nullptr || is_go_machinery(stack.physical[outer].name()));
                 ++outer) {}
        if (outer >= stack.physical.size()) continue;
        const auto& frame = stack.physical[outer];
        if (frame.func()->deferreturn == 0) continue;
        auto* code = book.function(frame.pc);
        if (code == nullptr || !code->complete) continue;
        // Without a wrapper (up to Go 1.16, or when nothing is inlined) the waiting call itself must be one of Lock.
        const auto here =
            std::ranges::find_if(code->steps, [&](auto& step) { return step.pc + step.size == frame.pc; });
        const bool calls_lock =
            here != code->steps.end() && here->flow == Flow::call && book.facts(here->target).op == go::LockOp::lock;
        // Up to Go 1.16 a record's function returns to the call of deferreturn itself, to run the next.
        const auto at = code->step_at(frame.pc);
        const bool from_record =
            at >= 0 && code->steps[static_cast<std::size_t>(at)].flow == Flow::call &&
            book.facts(code->steps[static_cast<std::size_t>(at)].target).kind == go::CalleeKind::deferreturn;
        if (!wrapped && !calls_lock && !from_record) continue;
        std::size_t earlier = 0, unlocks = 0;
        for (auto& step : code->steps) {
            go::LockOp op = step.op;
            if (step.flow == Flow::call)
                if (auto& callee = book.facts(step.target); callee.kind == go::CalleeKind::primitive) op = callee.op;
            if (op == go::LockOp::lock && (wrapped || step.pc + step.size < frame.pc)) ++earlier;
            if (op == go::LockOp::unlock) ++unlocks;
        }
        // Called from where the deferred calls run, in a function that locks and never unlocks.
        if (unlocks == 0 && earlier == 1) return waiter.goroutine;
    }
    return std::nullopt;
}

}  // namespace incident::detect
