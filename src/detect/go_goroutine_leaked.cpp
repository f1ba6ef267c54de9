// go.goroutine.leaked: goroutines blocked forever on channels, selects or objects of package sync that no goroutine
// which can still run will ever reach.
//
// Proof rule: the fixpoint of Go's own goroutineleak profile (go1.27 src/runtime/mgc.go, findMaybeRunnableGoroutines),
// from a core: what package variables, timers, finalizers and the stacks of all goroutines that are not blocked so
// reach; then a blocked goroutine whose channel or lock was reached counts as alive, and its stack joins; until nothing
// changes. A goroutine's g and its sudogs are never looked into: through them everybody would reach everybody.
//
// Surprising: "reached" errs on the side of life: frames that were stopped anywhere are taken word by word.
// Innocent look-alikes, left out: select{} (parked on purpose), goroutine 1 (main may wait for the end; an info), waits
// of the network, of sleep, of the runtime; what lies outside the heap; a program whose goroutines are all asleep,
// which the runtime has said already. Not ruled out: an object known only to C or as a uintptr.
#include "detect/go_goroutine_leaked.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <unordered_map>

#include "go/heap/heap_graph.h"
#include "process/locate.h"
#include "process/snapshot.h"

namespace incident::detect {

namespace {

constexpr std::size_t check_budget = 50'000'000;  // looks at a blocked goroutine's objects, all rounds together
constexpr std::size_t most_examples = 8;

struct Blocked {
    std::uint32_t goroutine = 0;
    std::vector<go::SlotId> objects;  ///< any of them reached: it may go on; none: nobody can ever wake it
    Address first;
    std::string_view kind;  ///< "channel", "lock" …
};

bool is_blocking(go::WaitObject object) {
    using enum go::WaitObject;
    return object == channel || object == nil_channel || object == mutex || object == rwmutex || object == wait_group ||
           object == cond;
}

std::string_view words_of(go::WaitObject object) {
    using enum go::WaitObject;
    if (object == channel || object == nil_channel) return "channel";
    return object == wait_group ? "wait group" : object == cond ? "condition" : "lock";
}

class Search {
public:
    explicit Search(const Process& process) : process_(process), graph_(*process.heap) {}

    bool run();
    std::vector<Blocked> left;  ///< the leaked
    std::size_t asked = 0, alive = 0;

private:
    std::optional<Blocked> blocked(std::uint32_t i);
    /// A timer's channel, or none that can be read. Asked once for each channel: reading one walks its queues, and 10^5
    /// goroutines may stand in one.
    bool may_be_timers(Address channel) {
        auto [at, fresh] = timers_.try_emplace(channel.value, true);
        if (fresh) {
            auto read = go::read_channel(process_.memory, *process_.go, channel);
            at->second = !read || read->timer;
        }
        return at->second;
    }
    void close(Address at) {
        if (auto slot = graph_.slots().find(at); slot != go::no_slot) closed_.set(slot);
    }

    const Process& process_;
    const go::HeapGraph& graph_;
    go::SlotBits closed_;
    std::unordered_map<std::uint64_t, bool> timers_;  // by channel
};

/// nullopt: it may run on, for all we know.
std::optional<Blocked> Search::blocked(std::uint32_t i) {
    const auto& g = process_.goroutines->all[i];
    if (g.system || (g.status != go::Status::waiting && g.status != go::Status::leaked)) return std::nullopt;
    const auto waits = process_.waits->of(process_.memory, *process_.go, g, process_.stacks[i]);
    if (waits.empty()) return std::nullopt;
    Blocked result{i, {}, waits.front().address, words_of(waits.front().object)};
    for (const auto& wait : waits) {
        if (!is_blocking(wait.object)) return std::nullopt;
        if (wait.object == go::WaitObject::nil_channel) continue;
        if (wait.object == go::WaitObject::channel) {
            if (may_be_timers(wait.address)) return std::nullopt;  // time will tell
        }
        const go::SlotId slot = graph_.slots().find(wait.address);
        if (slot == go::no_slot || !graph_.slots().allocated(slot)) return std::nullopt;  // a package variable …
        result.objects.push_back(slot);
    }
    return result;
}

/// False: given up.
bool Search::run() {
    const auto& all = process_.goroutines->all;
    closed_ = go::SlotBits(graph_.slots().limit());
    for (std::uint32_t i = 0; i < all.size(); ++i) {
        close(all[i].g);
        for (const auto& sudog : go::waiting_sudogs(process_.memory, *process_.go, all[i])) close(sudog.at);
    }
    for (const auto& waiter : process_.waits->semaphores()) close(waiter.sudog);
    go::Reach reach(graph_, &closed_);
    reach.add_shared();
    for (std::uint32_t i = 0; i < all.size(); ++i) {
        if (auto b = blocked(i))
            left.push_back(std::move(*b));
        else
            reach.add_goroutine(i);
    }
    asked = left.size();
    // To and fro, so that a chain is one pass in whichever order it was made.
    std::size_t checks = 0;
    for (bool changed = true; changed;) {
        changed = false;
        for (auto& b : left) {
            checks += b.objects.size() + 1;
            if (!std::ranges::any_of(b.objects, [&](go::SlotId slot) { return reach.contains(slot); })) continue;
            reach.add_goroutine(b.goroutine);
            b.goroutine = go::no_owner;
            changed = true;
        }
        std::erase_if(left, [](const Blocked& b) { return b.goroutine == go::no_owner; });
        std::ranges::reverse(left);
        if (checks > check_budget) return false;
    }
    alive = asked - left.size();
    return true;
}

const report::Frame* asking_frame(const go::GoStack& stack) {
    for (const auto& frame : stack.frames)
        if (!frame.function.starts_with("runtime.") && !frame.function.starts_with("sync.") &&
            !frame.function.starts_with("internal/"))
            return &frame;
    return nullptr;
}

std::string place(const report::Frame* frame) {
    if (frame == nullptr) return "an unknown function";
    return fmt::format("{} ({}:{})", frame->function, frame->file.substr(frame->file.rfind('/') + 1), frame->line);
}

report::Finding tell(const Process& process, const Locator& locator, const std::vector<const Blocked*>& group,
                     const Search& search) {
    const auto& all = process.goroutines->all;
    const Blocked& first = *group.front();
    const auto& stack = process.stacks[first.goroutine];
    const auto* frame = asking_frame(stack);
    const bool nil = first.objects.empty();
    const bool only_main = group.size() == 1 && all[first.goroutine].goid == 1;
    report::Finding finding;
    finding.kind = "go.goroutine.leaked";
    finding.count = group.size();
    for (const Blocked* b : group) finding.goroutines.push_back(all[b->goroutine].goid);
    std::ranges::sort(finding.goroutines);
    const bool doubt = !process.heap->gaps().empty();
    // What is not known to be out of reach is no accusation; that nobody wakes who waits for nil needs no search.
    finding.severity = only_main || (doubt && !nil) ? report::Severity::info : report::Severity::warning;
    finding.strength = doubt ? report::Strength::possible : report::Strength::likely;
    const std::string who = group.size() == 1 ? fmt::format("Goroutine {} is", all[first.goroutine].goid)
                                              : fmt::format("{} goroutines are", group.size());
    finding.title = nil ? fmt::format("{} blocked forever on a nil channel", who)
                        : fmt::format("{} blocked forever on a {} that nobody else can reach", who, first.kind);
    finding.where = place(frame);
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
        {fmt::format("{} of {} blocked goroutines are within reach of one that can run; these are not", search.alive,
                     search.asked),
         std::nullopt, "", "core", "marking from package variables, timers, finalizers and runnable stacks"});
    if (only_main) finding.innocent.push_back("main may have nothing to do but to wait for the end of the process");
    if (!nil) finding.innocent.push_back("an object that only C memory or a uintptr still knows");
    if (doubt) finding.innocent.push_back("parts of the heap could not be read: " + process.heap->gaps().front().what);
    if (process.disassembler)
        for (std::size_t f = 0; f < stack.frames.size(); ++f)
            if (&stack.frames[f] == frame) {
                auto snapshot = Snapshots(locator, &*process.disassembler).frame(stack, f);
                snapshot.goroutine = all[first.goroutine].goid;
                finding.snapshots.push_back(std::move(snapshot));
                break;
            }
    const auto executable = process.images->executable();
    const std::string exe = executable != nullptr && !executable->found_at().empty() ? executable->found_at() : "EXE";
    if (process.go->description().debug_info == "dwarf")
        finding.verify.push_back({"dlv", fmt::format("dlv core {} {}   then: goroutine {} bt", exe, process.core.path(),
                                                     finding.goroutines.front())});
    if (!nil)
        finding.verify.push_back({"incident", fmt::format("incident heap --roots {:#x} {} {}", first.first.value,
                                                          process.core.path(), exe)});
    finding.remedy = "give every send and receive a way out: a context, a done channel, or a buffer of one";
    return finding;
}

}  // namespace

Detection detect_leaked_goroutines(const Process& process) {
    Detection detection;
    if (!process.waits) {
        detection.reason = "what goroutines wait for could not be read";
        return detection;
    }
    if (process.crash && process.crash->message &&
        process.crash->message->find("all goroutines are asleep") != std::string::npos)
        return detection;
    Search search(process);
    const bool done = search.run();
    detection.checked = search.asked;
    if (!done) {
        detection.unchecked = search.left.size();
        detection.reason = "too many goroutines wait for each other to follow them all";
        return detection;
    }
    // Equal places are one story, however many stand there.
    std::map<std::tuple<std::string_view, std::uint32_t, std::string_view>, std::vector<const Blocked*>> groups;
    for (const Blocked& b : search.left) {
        const auto* frame = asking_frame(process.stacks[b.goroutine]);
        groups[{frame != nullptr ? frame->function : std::string_view(), frame != nullptr ? frame->line : 0,
                process.goroutines->all[b.goroutine].wait_reason}]
            .push_back(&b);
    }
    Locator locator(process.locate_context());
    for (auto& [where, group] : groups) {
        std::ranges::sort(group, {}, [](const Blocked* b) { return b->goroutine; });
        detection.findings.push_back(tell(process, locator, group, search));
    }
    return detection;
}

}  // namespace incident::detect
