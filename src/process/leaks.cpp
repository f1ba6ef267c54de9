// The search for goroutines that nobody can wake; see leaks.h.
#include "process/leaks.h"

#include <algorithm>
#include <unordered_map>

#include "go/heap/heap_graph.h"
#include "process/process.h"

namespace incident {

namespace {

constexpr std::size_t check_budget = 50'000'000;  // looks at a blocked goroutine's objects, all rounds together

bool is_blocking(go::WaitObject object) {
    using enum go::WaitObject;
    return object == channel || object == nil_channel || object == mutex || object == rwmutex || object == wait_group ||
           object == cond;
}

struct Blocked : BlockedForever {
    std::vector<go::SlotId> objects;  ///< any of them reached: it may go on
};

class Search {
public:
    Search(const Process& process, go::Reach& reach)
        : process_(process), reach_(reach), slots_(reach.graph().slots()) {}
    Leaks run();

private:
    std::optional<Blocked> blocked(std::uint32_t i);
    /// A timer's channel, a closed one, whose waiters are being woken one by one, or none that can be read. Asked once
    /// for each channel: reading one walks its queues, and 10^5 goroutines may stand in one.
    bool wakes_by_itself(Address channel) {
        auto [at, fresh] = awake_.try_emplace(channel.value, true);
        if (fresh) {
            auto read = go::read_channel(process_.memory, *process_.go, channel);
            at->second = !read || read->timer || read->closed;
        }
        return at->second;
    }
    void close(Address at) {
        if (auto slot = slots_.find(at); slot != go::no_slot) reach_.close(slot);
    }

    const Process& process_;
    go::Reach& reach_;
    const go::HeapSlots& slots_;
    std::unordered_map<std::uint64_t, bool> awake_;  // by channel
};

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
        if (slot == go::no_slot || !slots_.allocated(slot)) return std::nullopt;  // a package variable …
        result.objects.push_back(slot);
    }
    return result;
}

Leaks Search::run() {
    Leaks leaks;
    std::vector<Blocked> left;
    const auto& all = process_.goroutines->all;
    for (const auto& g : all) {
        close(g.g);
        for (const auto& sudog : go::waiting_sudogs(process_.memory, *process_.go, g)) close(sudog.at);
    }
    for (const auto& waiter : process_.waits->semaphores()) close(waiter.sudog);
    reach_.add_shared();
    for (std::uint32_t i = 0; i < all.size(); ++i) {
        if (auto b = blocked(i))
            left.push_back(std::move(*b));
        else
            reach_.add_goroutine(i);
    }
    leaks.asked = left.size();
    // To and fro, so that a chain is one pass in whichever order it was made.
    std::size_t checks = 0;
    for (bool changed = true; changed && leaks.complete;) {
        changed = false;
        for (auto& b : left) {
            checks += b.objects.size() + 1;
            if (!std::ranges::any_of(b.objects, [&](go::SlotId slot) { return reach_.contains(slot); })) continue;
            reach_.add_goroutine(b.goroutine);
            b.goroutine = go::no_owner;
            changed = true;
        }
        std::erase_if(left, [](const Blocked& b) { return b.goroutine == go::no_owner; });
        std::ranges::reverse(left);
        leaks.complete = checks <= check_budget;
    }
    leaks.alive = leaks.asked - left.size();
    for (Blocked& b : left) {
        b.nil = b.objects.empty();
        leaks.left.push_back(b);
    }
    return leaks;
}

}  // namespace

Leaks find_leaks(const Process& process, go::Reach& reach) { return Search(process, reach).run(); }

}  // namespace incident
