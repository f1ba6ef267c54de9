// Who waits for whom among those that are blocked forever; see leak_stories.h.
#include "detect/leak_stories.h"

#include <algorithm>
#include <unordered_map>

#include "process/wait_graph.h"

namespace incident::detect {

LeakStories::LeakStories(const Process& process, const std::vector<BlockedForever>& left)
    : process_(process), left_(left), before_(left.size(), nobody), story_(left.size(), nobody) {
    if (process.locks) {
        std::vector<std::size_t> of_goroutine(process.goroutines->all.size(), nobody);
        for (std::size_t i = 0; i < left.size(); ++i) of_goroutine[left[i].goroutine] = i;
        ask_locks(of_goroutine);
        ask_channels(of_goroutine);
    }
    follow();
}

void LeakStories::ask_locks(const std::vector<std::size_t>& of_goroutine) {
    std::unordered_map<const GoLock*, Holders> asked;
    for (std::size_t i = 0; i < left_.size(); ++i) {
        const GoLock* lock = left_[i].nil ? nullptr : process_.locks->find(left_[i].first);
        if (lock == nullptr) continue;
        auto [known, fresh] = asked.try_emplace(lock);
        if (fresh) known->second = holders_of(*lock, of_goroutine);
        before_[i] = known->second[known->second[0] == i ? 1 : 0];
    }
}

/// Only who waits on one channel alone has such edges.
void LeakStories::ask_channels(const std::vector<std::size_t>& of_goroutine) {
    for (const BlockEdge& edge : process_.locks->edges) {
        if (!edge.is_channel() || edge.from >= of_goroutine.size() || edge.to >= of_goroutine.size()) continue;
        const std::size_t from = of_goroutine[edge.from], to = of_goroutine[edge.to];
        if (from != nobody && to != nobody && before_[from] == nobody) before_[from] = to;
    }
}

LeakStories::Holders LeakStories::holders_of(const GoLock& lock, const std::vector<std::size_t>& of_goroutine) const {
    Holders found{nobody, nobody};
    for (const LockHolderRow& holder : lock.holders) {
        const std::size_t i = of_goroutine[holder.goroutine];
        if (i == nobody || i == found[0] || (!holder.surely && holder.basis != HoldBasis::pending_defer)) continue;
        if (found[0] != nobody) return {found[0], i};
        found[0] = i;
    }
    return found;
}

void LeakStories::follow() {
    constexpr std::size_t on_the_way = nobody - 1;
    std::vector<std::size_t> way;
    for (std::size_t i = 0; i < before_.size(); ++i) {
        way.clear();
        std::size_t at = i;
        for (; story_[at] == nobody && before_[at] != nobody; at = before_[at]) {
            story_[at] = on_the_way;
            way.push_back(at);
        }
        if (story_[at] == nobody || story_[at] == on_the_way) story_[at] = at;  // the last, or where a circle closes
        for (std::size_t passed : way) story_[passed] = story_[at];
    }
}

std::string_view LeakStories::owed(std::size_t waiter) const {
    const BlockedForever& b = left_[waiter];
    switch (b.object) {
        case go::WaitObject::wait_group: return "call Done";
        case go::WaitObject::channel:
            return process_.goroutines->all[b.goroutine].wait_reason.starts_with("chan send")
                       ? "receive from a channel"
                       : "send to a channel or close it";
        default: return "release a lock";
    }
}

std::optional<DeadlockRoot> root_of_deadlock(const Process& process) {
    if (!process.leaks || !process.leaks->nobody_runs) return std::nullopt;
    const auto& left = process.leaks->left;
    const LeakStories stories(process, left);
    std::vector<std::size_t> behind(left.size());
    for (std::size_t i = 0; i < left.size(); ++i) behind[stories.of(i)] += stories.of(i) != i;
    const auto most = std::ranges::max_element(behind);
    if (most == behind.end() || *most == 0) return std::nullopt;
    return DeadlockRoot{left[static_cast<std::size_t>(most - behind.begin())].goroutine, *most};
}

}  // namespace incident::detect
