// Edges from waiters to those they wait for, and the cycles among them.
//
// Waiting for a lock is waiting for all its holders; waiting on a channel is waiting for any of those who will serve
// it. So a goroutine on a channel counts as stuck only when everybody who could serve it is stuck himself.
#include <fmt/format.h>

#include <algorithm>
#include <numeric>

#include "process/pthread_waits.h"
#include "process/wait_graph_state.h"

namespace incident {

using go::HoldKind;
using go::WaitMode;
using go::WaitObject;

namespace {

constexpr std::size_t max_edges_per_lock = 64;  // waiters × holders would be quadratic
constexpr std::size_t max_cycles = 4096;

std::string basis_of(const LockHolderRow& holder) {
    if (holder.basis == HoldBasis::pending_defer) return fmt::format("pending defer of {}", holder.deferred);
    if (holder.basis == HoldBasis::releasing) return fmt::format("it is in {}", holder.function);
    return fmt::format("{} will release it", holder.function);
}

}  // namespace

void LockFinder::connect() {
    for (std::size_t l = 0; l < picture.locks.size(); ++l) {
        const GoLock& lock = picture.locks[l];
        std::string what(to_string(lock.state.type));
        for (auto& waiter : lock.waiters) {
            std::size_t made = 0;
            for (auto& holder : lock.holders) {
                // A reader behind a writer, and a writer behind another, wait for what that writer waits for.
                if (holder.goroutine == waiter.goroutine || made >= max_edges_per_lock) continue;
                if (holder.waits_for_it && waiter.mode != WaitMode::none && lock.state.type == WaitObject::mutex)
                    continue;
                if (holder.waits_for_it && !holder.certain()) continue;  // it has rather yet to take it
                picture.edges.push_back({.from = waiter.goroutine,
                                         .to = holder.goroutine,
                                         .lock = l,
                                         .object = lock.state.address,
                                         .what = what,
                                         .basis = basis_of(holder),
                                         .certain = holder.certain()});
                ++made;
            }
        }
    }
    // Who stands in the same queue can serve the others only when he has been served himself: of a pool's clients, each
    // of whom will give back what he gets, none is waited for while somebody else has something to give back.
    const auto stands_in = [&](std::uint32_t goroutine, const go::WaitsFor& wait) {
        const auto& own = waits[goroutine];
        return own.size() == 1 && own[0].address == wait.address && own[0].mode == wait.mode;
    };
    struct Servers {
        std::vector<std::uint32_t> all;
        bool cut = false;  ///< more than have edges; of a queue's own members one tells as much as all
    };
    std::map<std::pair<Address, HoldKind>, Servers> servers;
    for (std::uint32_t i = 0; i < waits.size(); ++i) {
        if (waits[i].size() != 1 || waits[i][0].object != WaitObject::channel) continue;
        const auto& wait = waits[i][0];
        if (wait.mode != WaitMode::receive && wait.mode != WaitMode::send) continue;
        const std::pair key(wait.address, wait.mode == WaitMode::send ? HoldKind::receive : HoldKind::send);
        auto found = served.find(key);
        if (found == served.end() || served_by_callbacks.contains(wait.address)) continue;
        auto [list, fresh] = servers.try_emplace(key);
        if (fresh) {
            auto& all = list->second.all = found->second;
            std::ranges::sort(all);
            all.erase(std::unique(all.begin(), all.end()), all.end());
            const auto queued =
                std::ranges::stable_partition(all, [&](std::uint32_t to) { return !stands_in(to, wait); });
            if (queued.begin() != all.begin()) {
                all.erase(queued.begin(), all.end());
                list->second.cut = all.size() > max_edges_per_lock;
            }
        }
        std::size_t made = 0;
        for (std::uint32_t to : list->second.all)
            if (to != i && made++ < max_edges_per_lock)
                picture.edges.push_back(
                    {.from = i,
                     .to = to,
                     .object = wait.address,
                     .what = wait.what,
                     .basis = wait.mode == WaitMode::send ? "will receive from it" : "will send to it",
                     .certain = true,
                     .others = list->second.cut});
    }
}

void LockFinder::find_cycles() {
    const WaitNodes nodes(process);
    add_pthread_edges(process, nodes, picture.edges);
    // Channels that somebody of unknown mind may serve: goroutines with a select on them, or a channel operation on an
    // address that is not known yet.
    std::unordered_set<Address> in_selects;
    for (auto& list : waits)
        if (list.size() > 1)
            for (auto& w : list) in_selects.insert(w.address);
    bool unknown_channels = false;
    for (auto& u : unknown)
        unknown_channels |=
            (u.kind == HoldKind::receive || u.kind == HoldKind::send) && !u.standard && waits[u.goroutine].empty();
    for (BlockEdge& edge : picture.edges)
        if (edge.is_channel()) edge.others |= unknown_channels || in_selects.contains(edge.object);
    picture.cycles = incident::find_cycles(nodes.count(), picture.edges);
}

std::vector<std::vector<std::size_t>> find_cycles(std::size_t n, const std::vector<BlockEdge>& edges) {
    std::vector<std::vector<std::size_t>> cycles, out(n);
    for (std::size_t e = 0; e < edges.size(); ++e) out[edges[e].from].push_back(e);
    std::vector<bool> stuck(n);
    for (std::size_t i = 0; i < n; ++i) stuck[i] = !out[i].empty() && !edges[out[i][0]].others;
    // Who waits for somebody that is not stuck is not stuck either; each time a node turns out free, those before it
    // are looked at again: chains are as long as there are goroutines.
    std::vector<std::vector<std::size_t>> before(n);
    for (const BlockEdge& edge : edges) before[edge.to].push_back(edge.from);
    std::vector<std::size_t> todo(n);
    std::iota(todo.begin(), todo.end(), std::size_t{0});
    while (!todo.empty()) {
        const std::size_t i = todo.back();
        todo.pop_back();
        if (!stuck[i]) continue;
        const bool channel = edges[out[i][0]].is_channel();
        auto blocked = [&](std::size_t e) { return stuck[edges[e].to]; };
        stuck[i] = channel ? std::ranges::all_of(out[i], blocked) : std::ranges::any_of(out[i], blocked);
        if (!stuck[i]) todo.insert(todo.end(), before[i].begin(), before[i].end());
    }
    // Depth first over the stuck: each node is left once, so every search ends; one cycle per back edge.
    std::vector<std::uint8_t> colour(n);
    for (std::size_t root = 0; root < n && cycles.size() < max_cycles; ++root) {
        if (!stuck[root] || colour[root] != 0) continue;
        std::vector<std::pair<std::size_t, std::size_t>> path{{root, 0}};
        std::vector<std::size_t> via;
        colour[root] = 1;
        while (!path.empty()) {
            auto& [node, next] = path.back();
            if (next >= out[node].size()) {
                colour[node] = 2;
                path.pop_back();
                if (!via.empty()) via.pop_back();
                continue;
            }
            const std::size_t edge = out[node][next++];
            const std::size_t to = edges[edge].to;
            if (!stuck[to] || colour[to] == 2) continue;
            if (colour[to] == 1) {
                auto at = std::ranges::find_if(path, [&](auto& step) { return step.first == to; });
                std::vector<std::size_t> cycle(via.begin() + (at - path.begin()), via.end());
                cycle.push_back(edge);
                if (cycle.size() > 1 && cycles.size() < max_cycles) cycles.push_back(std::move(cycle));
                continue;
            }
            colour[to] = 1;
            via.push_back(edge);
            path.emplace_back(to, 0);
        }
    }
    return cycles;
}

void LockFinder::sort() {
    std::vector<std::size_t> order(picture.locks.size());
    for (std::size_t i = 0; i < order.size(); ++i) order[i] = i;
    std::ranges::sort(order, {}, [&](std::size_t i) { return picture.locks[i].state.address; });
    std::vector<std::size_t> place(order.size());
    std::vector<GoLock> sorted;
    sorted.reserve(order.size());
    for (std::size_t i = 0; i < order.size(); ++i) {
        place[order[i]] = i;
        sorted.push_back(std::move(picture.locks[order[i]]));
    }
    picture.locks = std::move(sorted);
    for (auto& edge : picture.edges)
        if (edge.lock != SIZE_MAX) edge.lock = place[edge.lock];
}

}  // namespace incident
