// The search for goroutines that nobody can wake; see leaks.h.
#include "process/leaks.h"

#include <algorithm>
#include <unordered_map>

#include "base/go_names.h"
#include "go/heap/heap_graph.h"
#include "go/sync/releasers.h"
#include "process/process.h"

namespace incident {

namespace {

constexpr std::size_t check_budget = 50'000'000;  // looks at a blocked goroutine's objects, all rounds together

bool is_blocking(go::WaitObject object) {
    using enum go::WaitObject;
    return object == channel || object == nil_channel || object == mutex || object == rwmutex || object == wait_group ||
           object == cond || object == coroutine;
}

struct Blocked : BlockedForever {
    std::vector<go::SlotId> objects;  ///< any of them reached: it may go on
    bool outside = false;             ///< one lies outside the heap: as good as reached while anybody runs
};

class Search {
public:
    Search(const Process& process, go::Reach& reach)
        : process_(process), reach_(reach), slots_(reach.graph().slots()) {}
    Leaks run();

private:
    std::optional<Blocked> blocked(std::uint32_t i);
    /// A running timer's channel, a closed one, whose waiters are being woken one by one, or none that can be read.
    /// Asked once for each channel: reading one walks its queues, and 10^5 goroutines may stand in one.
    bool wakes_by_itself(Address channel) {
        auto [at, fresh] = awake_.try_emplace(channel.value, true);
        if (fresh) {
            auto read = go::read_channel(process_.memory, *process_.go, channel);
            at->second = !read || read->timer_runs || read->closed;
        }
        return at->second;
    }
    /// The g's and sudogs of all goroutines.
    void close_all(go::Reach& reach) const;
    std::vector<go::SlotId> of_running_timers() const;
    bool callbacks_may_wake() const;
    /// Joins those whose objects are reached, and what they reach, until nothing changes.
    void spread(Leaks& leaks, std::vector<Blocked>& left);

    const Process& process_;
    go::Reach& reach_;
    const go::HeapSlots& slots_;
    std::unordered_map<std::uint64_t, bool> awake_;  // by channel
    std::size_t checks_ = 0;
};

void Search::close_all(go::Reach& reach) const {
    const auto close = [&](Address at) {
        if (auto slot = slots_.find(at); slot != go::no_slot) reach.close(slot);
    };
    for (const auto& g : process_.goroutines->all) {
        close(g.g);
        for (const auto& sudog : go::waiting_sudogs(process_.memory, *process_.go, g)) close(sudog.at);
    }
    for (const auto& waiter : process_.waits->semaphores()) close(waiter.sudog);
}

/// A timer that fires is in no list any more: its function runs on a system stack, which has it in hand. go1.16–1.22
/// src/runtime/time.go, runOneTimer; since 1.23 unlockAndRun.
std::vector<go::SlotId> Search::of_running_timers() const {
    constexpr std::uint64_t most_bytes = 16384;
    std::vector<go::SlotId> slots;
    for (const go::Machine_m& machine : process_.goroutines->machines) {
        const auto threads = process_.core.threads();
        const auto thread = std::ranges::find(threads, machine.tid, &ThreadState::tid);
        if (thread == threads.end()) continue;
        const auto handler = go::interrupted_context(process_.core, process_.memory, *process_.go, machine, *thread);
        const Registers& registers = handler ? handler->registers : thread->registers;
        const auto sp = registers.sp();
        if (!sp || !machine.g0_stack.contains(*sp)) continue;
        std::vector<Address> words;
        bool fires = false;
        for (unsigned row = 0; row < max_registers; ++row)
            if (auto value = registers.get(row)) words.emplace_back(*value);
        const Address end = std::min(machine.g0_stack.end, *sp + most_bytes);
        for (Address at = sp->align_down(8); at < end; at += 8) {
            auto word = process_.memory.load_address(at);
            if (!word) break;
            words.push_back(*word);
            const auto func = process_.go->find_func(*word);
            fires = fires ||
                    (func && (func->name == "runtime.(*timer).unlockAndRun" || func->name == "runtime.runOneTimer"));
        }
        for (Address word : words)
            if (auto slot = slots_.find(word); fires && slot != go::no_slot && slots_.allocated(slot))
                slots.push_back(slot);
    }
    return slots;
}

void Search::spread(Leaks& leaks, std::vector<Blocked>& left) {
    // To and fro, so that a chain is one pass in whichever order it was made.
    for (bool changed = true; changed && leaks.complete;) {
        changed = false;
        for (auto& b : left) {
            checks_ += b.objects.size() + 1;
            if (!std::ranges::any_of(b.objects, [&](go::SlotId slot) { return reach_.contains(slot); })) continue;
            reach_.add_goroutine(b.goroutine);
            b.goroutine = go::no_owner;
            changed = true;
        }
        std::erase_if(left, [](const Blocked& b) { return b.goroutine == go::no_owner; });
        std::ranges::reverse(left);
        leaks.complete = checks_ <= check_budget;
    }
}

/// nullopt: it may run on, for all we know.
std::optional<Blocked> Search::blocked(std::uint32_t i) {
    const auto& g = process_.goroutines->all[i];
    if (g.system || (g.status != go::Status::waiting && g.status != go::Status::leaked)) return std::nullopt;
    const auto waits = process_.waits->of(process_.memory, *process_.go, g, process_.stacks.load_physical(i));
    if (waits.empty()) return std::nullopt;
    // Set by who has taken it out of the queue and is about to make it runnable; nil in every goroutine that parks in a
    // channel. go1.16–1.27 src/runtime/chan.go, send, recv, closechan
    const auto param = go::StructView(process_.memory, g.g).get(process_.go->layout().g.param);
    const bool woken = param && !param->is_null();
    Blocked result{{i, waits.front().address, waits.front().object}, {}};
    for (const auto& wait : waits) {
        if (!is_blocking(wait.object)) return std::nullopt;
        if (wait.object == go::WaitObject::nil_channel) continue;
        if (wait.object == go::WaitObject::channel && (woken || wakes_by_itself(wait.address))) return std::nullopt;
        const go::SlotId slot = slots_.find(wait.address);
        result.outside |= slot == go::no_slot || !slots_.allocated(slot);  // a package variable …
        result.objects.push_back(slot);
    }
    result.nil = result.objects.empty();
    return result;
}

/// Does a timer, finalizer or call from C run code of the program, or a timer send to it? Up to Go 1.22 no channel says
/// that it is a timer's. The alarm of a test only ends the process.
bool Search::callbacks_may_wake() const {
    const auto callbacks =
        go::read_callbacks(process_.memory, *process_.go, process_.spans ? &*process_.spans : nullptr);
    if (!callbacks.timers_read || !callbacks.finalizers_read || callbacks.exported + callbacks.channel_timers != 0)
        return true;
    return std::ranges::any_of(callbacks.all, [&](const go::Callback& callback) {
        const auto func = process_.go->find_func(callback.entry);
        if (!func) return true;
        if (callback.kind == go::CallbackKind::timer) return func->name != "testing.(*M).startAlarm.func1";
        return !is_standard_library(func->name);
    });
}

Leaks Search::run() {
    Leaks leaks;
    std::vector<Blocked> left, outside;
    std::vector<std::uint32_t> may_run;
    const auto& all = process_.goroutines->all;
    for (std::uint32_t i = 0; i < all.size(); ++i) {
        if (auto b = blocked(i))
            (b->outside ? outside : left).push_back(std::move(*b));
        else
            may_run.push_back(i);
    }
    const bool somebody = std::ranges::any_of(may_run, [&](std::uint32_t i) {
        return !all[i].system && all[i].status != go::Status::dead && all[i].wait_reason != "select (no cases)";
    });
    if (!somebody && !(left.empty() && outside.empty()) && process_.goroutines->gaps.empty() && !callbacks_may_wake() &&
        of_running_timers().empty()) {
        leaks.nobody_runs = true;
        leaks.asked = left.size() + outside.size();
        leaks.left.assign(left.begin(), left.end());
        leaks.left.insert(leaks.left.end(), outside.begin(), outside.end());
        std::ranges::sort(leaks.left, {}, &BlockedForever::goroutine);
        return leaks;
    }
    close_all(reach_);
    reach_.add_shared();
    for (std::uint32_t i : may_run) reach_.add_goroutine(i);
    for (const Blocked& b : outside) reach_.add_goroutine(b.goroutine);
    leaks.asked = left.size();
    spread(leaks, left);
    // Words of a system stack may be old: what they lead to is asked for beside the marking, which goes on to be that
    // of the whole heap.
    if (const auto fired = left.empty() ? std::vector<go::SlotId>() : of_running_timers(); !fired.empty()) {
        go::Reach beside(reach_.graph());
        close_all(beside);
        beside.add(fired);
        for (auto& b : left)
            if (std::ranges::any_of(b.objects, [&](go::SlotId slot) { return beside.contains(slot); })) {
                reach_.add_goroutine(b.goroutine);
                b.goroutine = go::no_owner;
            }
        std::erase_if(left, [](const Blocked& b) { return b.goroutine == go::no_owner; });
        spread(leaks, left);
    }
    leaks.alive = leaks.asked - left.size();
    leaks.left.assign(left.begin(), left.end());
    std::ranges::sort(leaks.left, {}, &BlockedForever::goroutine);
    return leaks;
}

}  // namespace

Leaks find_leaks(const Process& process, go::Reach& reach) { return Search(process, reach).run(); }

}  // namespace incident
