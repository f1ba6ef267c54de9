// go.goroutine.leaked: goroutines blocked forever on channels, selects or objects of package sync that no goroutine
// which can still run will ever reach.
//
// Proof rule: the search of process/leaks.h.
// Innocent look-alikes, left out: select{} (parked on purpose; infos: `<-ctx.Done()` of a context without an end),
// goroutine 1 (main may wait for the end; an info), waits of the network, of sleep, of the runtime; what lies outside
// the heap; a program whose goroutines are all asleep, which the runtime has said already. Not ruled out: an object
// known only to C or as a uintptr.
#include "detect/go_goroutine_leaked.h"
#include "detect/telling.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <unordered_map>

#include "base/go_names.h"
#include "go/heap/heap_graph.h"
#include "process/locate.h"
#include "process/snapshot.h"
#include "process/wait_graph.h"

namespace incident::detect {

namespace {

constexpr std::size_t most_examples = 8;

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

std::string_view remedy_of(const BlockedForever& b) {
    if (b.nil)
        return "make() the channel where its owner is built; a context that is never cancelled has a nil Done() too";
    if (b.kind == "wait group") return "look why the goroutines that were counted never come to Done";
    if (b.kind == "condition") return "whoever makes the condition true has to call Signal or Broadcast";
    if (b.kind == "lock") return "look at who took the lock: `incident locks CORE`";
    return "give every send and receive a way out: a context, a done channel, or a buffer of one";
}

/// A receive from a channel that is nil by the code itself, or that a call has just returned: `<-ctx.Done()` of a
/// context that nobody cancels parks like select{}. A channel from a variable should have been made.
bool parks_on_purpose(const Process& process, const go::GoStack& stack) {
    if (!process.disassembler || !process.go->version().at_least(17)) return false;  // arguments in registers
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

/// Who waits for a lock or WaitGroup that another goroutine without a way out would have to release is part of that
/// one's story. Null: a story of its own.
const BlockedForever* stuck_behind(const Process& process, const Leaks& leaks, const BlockedForever& b) {
    if (b.nil || !process.locks) return nullptr;
    const GoLock* lock = process.locks->find(b.first);
    if (lock == nullptr) return nullptr;
    for (const LockHolderRow& holder : lock->holders) {
        if (!holder.surely && holder.basis != HoldBasis::pending_defer) continue;
        auto other = std::ranges::find(leaks.left, holder.goroutine, &BlockedForever::goroutine);
        if (other != leaks.left.end() && other->goroutine != b.goroutine) return &*other;
    }
    return nullptr;
}

report::Finding tell(const Process& process, const Locator& locator, const std::vector<const BlockedForever*>& group,
                     const Leaks& leaks) {
    const auto& all = process.goroutines->all;
    const BlockedForever& first = *group.front();
    const go::GoStack stack = process.stacks.load(first.goroutine);
    const auto* frame = asking_frame(stack);
    const bool nil = first.nil;
    const bool only_main = group.size() == 1 && all[first.goroutine].goid == 1;
    report::Finding finding;
    finding.kind = "go.goroutine.leaked";
    finding.count = group.size();
    for (const BlockedForever* b : group) finding.goroutines.push_back(all[b->goroutine].goid);
    std::ranges::sort(finding.goroutines);
    const bool doubt = !process.heap->gaps().empty();
    // What is not known to be out of reach is no accusation; that nobody wakes who waits for nil needs no search.
    const bool parked = nil && parks_on_purpose(process, stack);
    finding.severity = only_main || parked || (doubt && !nil) ? report::Severity::info : report::Severity::warning;
    finding.strength = doubt ? report::Strength::possible : report::Strength::likely;
    const std::string who = group.size() == 1 ? fmt::format("Goroutine {} is", all[first.goroutine].goid)
                                              : fmt::format("{} goroutines are", group.size());
    finding.title = nil ? fmt::format("{} blocked forever on a nil channel", who)
                        : fmt::format("{} blocked forever on a {} that nobody else can reach", who, first.kind);
    finding.where = waiting_place(stack, frame);
    const auto origin = go::origin_of(*process.go, *process.goroutines, all[first.goroutine]);
    if (!origin.created_by.empty()) finding.where += fmt::format(", created by {}", origin.created_by);
    finding.why = nil ? "nobody can ever send to a nil channel, or receive from it"
                      : "no package variable, timer, finalizer or goroutine that can still run leads to it";
    finding.subject = {nil ? std::nullopt : std::optional(first.first), nil ? "goroutine" : std::string(first.kind), "",
                       ""};
    finding.mark.fault = nil ? "nil channel" : first.kind;
    if (!nil) {
        auto waits = process.waits->of(process.memory, *process.go, all[first.goroutine], stack);
        if (!waits.empty()) finding.subject.type = waits.front().what.substr(0, waits.front().what.find(','));
        finding.explanation = "it lies in " + locator.describe(first.first);
    }
    finding.evidence.push_back({fmt::format("wait reason of goroutine {}", all[first.goroutine].goid), std::nullopt,
                                std::string(all[first.goroutine].wait_reason), "core", "g.waitreason"});
    for (std::size_t i = 0; i < group.size() && i < most_examples && !nil; ++i)
        finding.evidence.push_back({fmt::format("goroutine {} waits for it", all[group[i]->goroutine].goid),
                                    group[i]->first, "", "core", "g.waiting"});
    finding.evidence.push_back(
        {fmt::format("{} of {} blocked goroutines are within reach of one that can run; these are not", leaks.alive,
                     leaks.asked),
         std::nullopt, "", "core", "marking from package variables, timers, finalizers and runnable stacks"});
    if (only_main) finding.innocent.push_back("main may have nothing to do but to wait for the end of the process");
    if (parked)
        finding.innocent.push_back("it may wait for ever on purpose: `<-ctx.Done()` of a context without an end");
    if (!nil) finding.innocent.push_back("an object that only C memory or a uintptr still knows");
    if (doubt) finding.innocent.push_back("parts of the heap could not be read: " + process.heap->gaps().front().what);
    if (frame != nullptr)
        add_snapshot(process, finding, stack, static_cast<std::size_t>(frame - stack.frames.data()),
                     all[first.goroutine].goid);
    add_delve_check(process, finding, fmt::format("goroutine {} bt", finding.goroutines.front()));
    if (!nil) finding.verify.push_back(incident_check(process, fmt::format("heap --roots {:#x}", first.first.value)));
    finding.remedy = remedy_of(first);
    return finding;
}

}  // namespace

Detection detect_leaked_goroutines(const Process& process) {
    Detection detection;
    if (process.crash && process.crash->message &&
        process.crash->message->find("all goroutines are asleep") != std::string::npos)
        return detection;
    const Leaks& leaks = *process.leaks;
    detection.checked = leaks.asked;
    if (!leaks.complete) {
        detection.unchecked = leaks.left.size();
        detection.reason = "too many goroutines wait for each other to follow them all";
        return detection;
    }
    // Equal places are one story, however many stand there.
    std::map<std::tuple<std::string_view, std::uint32_t, std::string_view>, std::vector<const BlockedForever*>> groups;
    std::vector<std::pair<const BlockedForever*, const BlockedForever*>> behind;
    for (const BlockedForever& b : leaks.left) {
        if (const BlockedForever* before = stuck_behind(process, leaks, b);
            before != nullptr && stuck_behind(process, leaks, *before) == nullptr) {
            behind.emplace_back(&b, before);
            continue;
        }
        const auto* frame = asking_frame(process.stacks.shape(b.goroutine));
        groups[{frame != nullptr ? frame->function : std::string_view(), frame != nullptr ? frame->line : 0,
                process.goroutines->all[b.goroutine].wait_reason}]
            .push_back(&b);
    }
    const Locator& locator = *process.locator;
    for (auto& [where, group] : groups) {
        std::ranges::sort(group, {}, [](const BlockedForever* b) { return b->goroutine; });
        detection.findings.push_back(tell(process, locator, group, leaks));
        auto& finding = detection.findings.back();
        for (auto& [waiter, before] : behind) {
            if (std::ranges::find(group, before) == group.end()) continue;
            const auto& all = process.goroutines->all;
            const go::GoStack stack = process.stacks.load(waiter->goroutine);
            finding.goroutines.push_back(all[waiter->goroutine].goid);
            finding.evidence.push_back(
                {fmt::format("goroutine {} waits for {} to release a {}, in {}", all[waiter->goroutine].goid,
                             group.size() == 1 ? fmt::format("goroutine {}", all[before->goroutine].goid) : "them",
                             waiter->kind, waiting_place(stack, asking_frame(stack))),
                 waiter->first, "", "core", "pending defers and code"});
        }
    }
    return detection;
}

}  // namespace incident::detect
