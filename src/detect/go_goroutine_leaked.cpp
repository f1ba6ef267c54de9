// go.goroutine.leaked: goroutines blocked forever on channels, selects or objects of package sync that no goroutine
// which can still run will ever reach.
//
// Proof rule: the search of process/leaks.h. Who waits for another of them is told with that one (leak_stories.h).
// An iterator of iter.Pull waits for whoever has its next or stop.
// Innocent look-alikes, left out: select{} (parked on purpose; infos: `<-ctx.Done()` of a context without an end, alone
// or in a select), goroutine 1 in a receive (main may wait for the end; an info), waits of the network, of sleep, of
// the runtime; what lies outside the heap; a program whose goroutines are all asleep, which the runtime has said
// already. Not ruled out: an object known only to C or as a uintptr.
#include "detect/go_goroutine_leaked.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <set>
#include <unordered_map>

#include "base/go_names.h"
#include "base/text.h"
#include "detect/leak_stories.h"
#include "detect/telling.h"
#include "go/heap/heap_graph.h"
#include "process/locate.h"
#include "process/snapshot.h"
#include "process/wait_graph.h"

namespace incident::detect {

namespace {

constexpr std::size_t most_examples = 8;

std::string_view words_of(go::WaitObject object) {
    using enum go::WaitObject;
    if (object == channel || object == nil_channel) return "channel";
    if (object == coroutine) return "coroutine";
    return object == wait_group ? "wait group" : object == cond ? "condition" : "lock";
}

const report::Frame* asking_frame(const go::GoStack& stack) {
    const auto own = std::ranges::find_if(stack.frames, [](auto& frame) { return !is_go_machinery(frame.function); });
    return own != stack.frames.end() ? &*own : nullptr;
}

/// Where it waits, the program's own code first: "main.big (main.go:43), in reflect.rselect (select.go:600)".
std::string waiting_place(const go::GoStack& stack, const report::Frame* asking) {
    if (asking == nullptr || !is_standard_library(asking->function)) return place_in_source(asking);
    for (const auto& frame : stack.frames)
        if (!is_standard_library(frame.function))
            return fmt::format("{}, in {}", place_in_source(frame), place_in_source(asking));
    return place_in_source(asking);
}

/// What is used up where well-known libraries wait: their channels are nobody's to send on.
struct Pool {
    std::string_view function, remedy;
};
constexpr Pool pools[] = {
    {"golang.org/x/sync/semaphore.(*Weighted).Acquire",
     "the semaphore is used up: look for ways out between Acquire and Release, and write `defer sem.Release(n)`"},
    {"golang.org/x/sync/errgroup.(*Group).Go",
     "the group's limit is reached: a member of a limited group must not add to it; TryGo does not wait"},
    {"database/sql.(*DB).conn",
     "the pool is used up: close every Rows, Tx and Conn, on all ways out, and give each query a context with a "
     "deadline"},
};

std::string_view remedy_of(const BlockedForever& b, const report::Frame* asking,
                           const std::optional<go::ChannelSummary>& channel) {
    if (b.nil)
        return "make() the channel where its owner is built; a context that is never cancelled has a nil Done() too";
    if (asking != nullptr)
        for (const Pool& pool : pools)
            if (asking->function == pool.function) return pool.remedy;
    if (channel && channel->capacity != 0 && channel->queued == channel->capacity && channel->element == "struct {}")
        return "it is full, and looks like a semaphore: whoever took a place has to give it back on all ways out, with "
               "`defer func() { <-sem }()`";
    if (channel && channel->timer)
        return "a stopped timer sends nothing, one that has fired nothing more: Reset it, or wait in a select with "
               "another "
               "way out";
    switch (b.object) {
        case go::WaitObject::wait_group: return "look why the goroutines that were counted never come to Done";
        case go::WaitObject::cond: return "whoever makes the condition true has to call Signal or Broadcast";
        case go::WaitObject::coroutine:
            return "call stop, the second result of iter.Pull, on all ways out: `defer stop()`";
        case go::WaitObject::mutex:
        case go::WaitObject::rwmutex: return "look at who took the lock: `incident locks CORE`";
        default: return "give every send and receive a way out: a context, a done channel, or a buffer of one";
    }
}

/// A select that may have its channels from calls: `case <-ctx.Done():` of contexts without an end.
bool asks_for_channels(const Process& process, const std::vector<Instruction>& code) {
    return std::ranges::any_of(code, [&](const Instruction& i) {
        if (i.flow == Flow::indirect_call) return true;
        if (i.flow != Flow::call || !i.target) return false;
        const auto func = process.go->find_func(*i.target);
        return !func || !func->name.starts_with("runtime.");
    });
}

/// A receive from a channel that is nil by the code itself, or that a call has just returned: `<-ctx.Done()` of a
/// context that nobody cancels parks like select{}. A channel from a variable should have been made.
bool parks_on_purpose(const Process& process, const go::GoStack& stack) {
    if (!process.disassembler) return false;
    for (std::size_t f = 1; f < stack.physical.size(); ++f) {
        if (stack.physical[f - 1].name() != "runtime.selectgo" || stack.physical[f].func() == nullptr) continue;
        const auto& frame = stack.physical[f];
        const AddressRange before{frame.func()->entry, frame.pc};
        auto code = process.disassembler->decode_range(process.memory, before, 20000);
        if (!code.empty()) code.pop_back();  // the call of selectgo
        return asks_for_channels(process, code);
    }
    if (!process.go->version().at_least(17)) return false;  // arguments in registers
    for (std::size_t f = 1; f < stack.physical.size(); ++f) {
        if (!stack.physical[f - 1].name().starts_with("runtime.chanrecv") || stack.physical[f].func() == nullptr ||
            stack.physical[f].name().starts_with("runtime."))
            continue;
        const auto& frame = stack.physical[f];
        const auto code = process.disassembler->decode_range(process.memory, {frame.func()->entry, frame.pc}, 20000);
        const auto channel = x86_64().row_of("rax");
        for (std::size_t i = code.size(); i-- > 1;) {
            const Instruction& before = code[i - 1];
            if (before.flow == Flow::call || before.flow == Flow::indirect_call) return true;
            if (before.flow != Flow::next) return false;
            if (before.destination == channel) return before.mnemonic == "xor";
        }
    }
    return false;
}

/// main waits for the end of the process in a receive, a select or a WaitGroup. Nobody means a send that way, or a
/// condition.
bool main_may_wait(const Process& process, const BlockedForever& b) {
    const std::string_view reason = process.goroutines->all[b.goroutine].wait_reason;
    return !reason.starts_with("chan send") && b.object != go::WaitObject::cond;
}

/// Equal places are one story, however many stand there.
struct Group {
    std::vector<std::size_t> members, behind;  ///< of Leaks::left
};

report::Finding tell(const Process& process, const Locator& locator, const std::vector<std::size_t>& group) {
    const auto& all = process.goroutines->all;
    const Leaks& leaks = *process.leaks;
    const BlockedForever& first = leaks.left[group.front()];
    const go::GoStack stack = process.stacks.load(first.goroutine);
    const auto* frame = asking_frame(stack);
    const bool nil = first.nil;
    const bool only_main = group.size() == 1 && all[first.goroutine].goid == 1;
    report::Finding finding;
    finding.kind = "go.goroutine.leaked";
    finding.count = group.size();
    for (std::size_t i : group) finding.goroutines.push_back(all[leaks.left[i].goroutine].goid);
    std::ranges::sort(finding.goroutines);
    const bool doubt = !process.heap->gaps().empty();
    // What is not known to be out of reach is no accusation; that nobody wakes who waits for nil needs no search.
    const bool parked = nil && parks_on_purpose(process, stack);
    const bool in_select = nil && all[first.goroutine].wait_reason == "select";
    const bool remark = (only_main && !in_select && main_may_wait(process, first)) || parked || (doubt && !nil);
    finding.severity = remark ? report::Severity::info : report::Severity::warning;
    finding.strength = doubt ? report::Strength::possible : report::Strength::likely;
    const std::string who = group.size() == 1 ? fmt::format("Goroutine {} is", all[first.goroutine].goid)
                                              : fmt::format("{} goroutines are", group.size());
    std::set<Address> objects;
    for (std::size_t i : group) objects.insert(leaks.left[i].first);
    const std::vector<go::WaitsFor> waits =
        nil ? std::vector<go::WaitsFor>{} : process.waits->of(process.memory, *process.go, all[first.goroutine], stack);
    std::set<Address> cases;
    for (const go::WaitsFor& wait : waits) cases.insert(wait.address);
    const std::string what = first.object == go::WaitObject::coroutine ? std::string("the next or stop of an iter.Pull")
                             : cases.size() > 1 && group.size() == 1
                                 ? fmt::format("a select of {} channels", cases.size())
                             : cases.size() > 1    ? std::string("selects of channels")
                             : objects.size() == 1 ? fmt::format("a {}", words_of(first.object))
                                                   : fmt::format("{} {}s", objects.size(), words_of(first.object));
    const std::string_view in = cases.size() > 1 ? "in" : "on";
    finding.title = in_select ? fmt::format("{} blocked forever in a select of nil channels", who)
                    : nil     ? fmt::format("{} blocked forever on a nil channel", who)
                    : leaks.nobody_runs
                        ? fmt::format("{} blocked forever {} {}: all other goroutines wait, too", who, in, what)
                        : fmt::format("{} blocked forever {} {} that nobody else can reach", who, in, what);
    finding.where = frame == nullptr && first.object == go::WaitObject::coroutine ? "an iterator that has not begun"
                                                                                  : waiting_place(stack, frame);
    const auto origin = go::origin_of(*process.go, *process.goroutines, all[first.goroutine]);
    if (!origin.created_by.empty()) finding.where += fmt::format(", created by {}", origin.created_by);
    finding.why = in_select ? "every channel of it is nil: nobody can ever send to one, or receive from it"
                  : nil     ? "nobody can ever send to a nil channel, or receive from it"
                  : leaks.nobody_runs
                      ? "no goroutine of the program can run, and no timer or finalizer would wake one: a deadlock"
                      : "no package variable, timer, finalizer or goroutine that can still run leads to it";
    finding.subject = {nil ? std::nullopt : std::optional(first.first),
                       std::string(nil ? "goroutine" : words_of(first.object)), "", ""};
    finding.mark.fault = nil ? "nil channel" : words_of(first.object);
    std::optional<go::ChannelSummary> channel;
    if (!nil) {
        if (!waits.empty()) finding.subject.type = waits.front().what.substr(0, waits.front().what.find(','));
        if (first.object == go::WaitObject::channel && waits.size() == 1)
            if (auto read = go::read_channel(process.memory, *process.go, first.first)) channel = std::move(*read);
        finding.explanation = "it lies in " + locator.describe(first.first);
    }
    finding.evidence.push_back({fmt::format("wait reason of goroutine {}", all[first.goroutine].goid), std::nullopt,
                                std::string(all[first.goroutine].wait_reason), "core", "g.waitreason"});
    if (channel && channel->capacity != 0)
        finding.evidence.push_back(
            {fmt::format("it holds {} of {}", channel->queued, channel->capacity), first.first, "", "core", "hchan"});
    for (std::size_t i = 0; i < group.size() && i < most_examples && !nil; ++i) {
        const BlockedForever& b = leaks.left[group[i]];
        finding.evidence.push_back(
            {fmt::format("goroutine {} waits for {}", all[b.goroutine].goid,
                         b.first == first.first ? std::string("it") : fmt::format("another {}", words_of(b.object))),
             b.first, "", "core", "g.waiting"});
        for (const Address other : cases)
            if (i == 0 && other != first.first && cases.size() <= most_examples)
                finding.evidence.push_back({fmt::format("goroutine {} waits for it, too", all[b.goroutine].goid), other,
                                            "", "core", "g.waiting"});
    }
    if (group.size() > most_examples && !nil)
        finding.evidence.push_back(
            {fmt::format("{} wait alike", count_of(group.size() - most_examples, "more goroutine")), std::nullopt, "",
             "core", "g.waiting"});
    if (leaks.nobody_runs)
        finding.evidence.push_back({fmt::format("all {} goroutines of the program wait for each other", leaks.asked),
                                    std::nullopt, "", "core", "wait reasons, timers and finalizers"});
    else
        finding.evidence.push_back(
            {fmt::format("{} of {} blocked goroutines are within reach of one that can run; these are not", leaks.alive,
                         leaks.asked),
             std::nullopt, "", "core", "marking from package variables, timers, finalizers and runnable stacks"});
    if (only_main && remark)
        finding.innocent.push_back("main may have nothing to do but to wait for the end of the process");
    if (parked)
        finding.innocent.push_back("it may wait for ever on purpose: `<-ctx.Done()` of a context without an end");
    if (!nil) finding.innocent.push_back("an object that only C memory or a uintptr still knows");
    if (doubt) finding.innocent.push_back("parts of the heap could not be read: " + process.heap->gaps().front().what);
    if (frame != nullptr)
        add_snapshot(process, finding, stack, static_cast<std::size_t>(frame - stack.frames.data()),
                     all[first.goroutine].goid);
    add_delve_check(process, finding, fmt::format("goroutine {} bt", finding.goroutines.front()));
    if (!nil) finding.verify.push_back(incident_check(process, fmt::format("heap --roots {:#x}", first.first.value)));
    finding.remedy = remedy_of(first, frame, channel);
    return finding;
}

/// "goroutine 9 waits for goroutine 8 to release a lock, in main.add (main.go:43)".
report::Evidence waits_behind(const Process& process, const LeakStories& stories, std::size_t waiter) {
    const auto& left = process.leaks->left;
    const auto goid = [&](std::size_t i) { return process.goroutines->all[left[i].goroutine].goid; };
    const go::GoStack stack = process.stacks.load(left[waiter].goroutine);
    return {fmt::format("goroutine {} waits for goroutine {} to {}, in {}", goid(waiter), goid(stories.before(waiter)),
                        stories.owed(waiter), waiting_place(stack, asking_frame(stack))),
            left[waiter].first, "", "core", "pending defers and code"};
}

void tell_behind(const Process& process, const LeakStories& stories, const Group& group, report::Finding& finding) {
    const auto& left = process.leaks->left;
    for (std::size_t waiter : group.behind)
        finding.goroutines.push_back(process.goroutines->all[left[waiter].goroutine].goid);
    std::vector<std::size_t> all;
    for (std::size_t member : group.members)  // of a circle
        if (stories.before(member) != LeakStories::nobody) all.push_back(member);
    all.insert(all.end(), group.behind.begin(), group.behind.end());
    for (std::size_t i = 0; i < std::min(all.size(), most_examples); ++i)
        finding.evidence.push_back(waits_behind(process, stories, all[i]));
    if (all.size() > most_examples)
        finding.evidence.push_back(
            {fmt::format("{} wait behind them", count_of(all.size() - most_examples, "more goroutine")), std::nullopt,
             "", "core", "pending defers and code"});
}

}  // namespace

Detection detect_leaked_goroutines(const Process& process) {
    Detection detection;
    if (process.crash && process.crash->deadlock()) return detection;
    const Leaks& leaks = *process.leaks;
    detection.checked = leaks.asked;
    if (!leaks.complete) {
        detection.unchecked = leaks.left.size();
        detection.reason = "too many goroutines wait for each other to follow them all";
        return detection;
    }
    detection.findings = tell_leaks(process, {}).findings;
    return detection;
}

LeaksTold tell_leaks(const Process& process, const std::unordered_set<std::int64_t>& explained) {
    LeaksTold told;
    const auto& left = process.leaks->left;
    const auto goid = [&](std::size_t i) { return process.goroutines->all[left[i].goroutine].goid; };
    const auto by_goroutine = [&](std::size_t i) { return left[i].goroutine; };
    const LeakStories stories(process, left);
    // A circle is told by whoever of it somebody explains.
    std::unordered_map<std::size_t, std::int64_t> explained_stories;
    for (std::size_t i = 0; i < left.size(); ++i)
        if (explained.contains(goid(i))) explained_stories.try_emplace(stories.of(i), goid(i));
    std::map<std::tuple<std::string_view, std::uint32_t, std::string_view>, Group> groups;
    std::vector<Group*> of_leak(left.size(), nullptr);
    for (std::size_t i = 0; i < left.size(); ++i) {
        if (stories.of(i) != i || explained_stories.contains(i)) continue;
        const auto* frame = asking_frame(process.stacks.shape(left[i].goroutine));
        of_leak[i] =
            &groups[{frame != nullptr ? frame->function : std::string_view(), frame != nullptr ? frame->line : 0,
                     process.goroutines->all[left[i].goroutine].wait_reason}];
        of_leak[i]->members.push_back(i);
    }
    for (std::size_t i = 0; i < left.size(); ++i) {
        if (const auto by = explained_stories.find(stories.of(i)); by != explained_stories.end()) {
            if (!explained.contains(goid(i)) && stories.before(i) != LeakStories::nobody)
                told.behind.push_back({by->second, goid(i), waits_behind(process, stories, i)});
        } else if (stories.of(i) != i) {
            of_leak[stories.of(i)]->behind.push_back(i);
        }
    }
    for (auto& [where, group] : groups) {
        std::ranges::sort(group.members, {}, by_goroutine);
        std::ranges::sort(group.behind, {}, by_goroutine);
        told.findings.push_back(tell(process, *process.locator, group.members));
        tell_behind(process, stories, group, told.findings.back());
    }
    return told;
}

}  // namespace incident::detect
