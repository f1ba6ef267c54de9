// Linear in the edges, but for counting who hangs on whom: that walks backwards from each blocker, within a budget.
//
// Surprising: a wait-for graph need not be a tree. Somebody who waits for a lock with three readers waits for all of
// them, so the same waiter may hang on several blockers, and the totals of blockers do not add up.
#include "report/wait_summary.h"

#include <algorithm>
#include <unordered_map>

namespace incident::report {

namespace {

constexpr std::size_t most_chains = 8;
constexpr std::size_t budget = 4u << 20;  // edges walked backwards, for all blockers together

}  // namespace

WaitNodes::WaitNodes(const WaitGraph& graph) {
    actors.reserve(graph.edges.size() * 2);
    for (const auto& edge : graph.edges) {
        actors.push_back(edge.from);
        actors.push_back(edge.to);
    }
    std::ranges::sort(actors);
    actors.erase(std::unique(actors.begin(), actors.end()), actors.end());
    for (const auto& edge : graph.edges) {
        from.push_back(find(edge.from));
        to.push_back(find(edge.to));
    }
    auto index = [&](const std::vector<std::uint32_t>& node_of, std::vector<std::uint32_t>& begin,
                     std::vector<std::uint32_t>& edges) {
        begin.assign(actors.size() + 1, 0);
        for (auto node : node_of) ++begin[node + 1];
        for (std::size_t i = 1; i < begin.size(); ++i) begin[i] += begin[i - 1];
        edges.resize(node_of.size());
        auto place = begin;
        for (std::uint32_t e = 0; e < node_of.size(); ++e) edges[place[node_of[e]]++] = e;
    };
    index(from, out_begin, out_edges);
    index(to, in_begin, in_edges);
    find_circles();
    find_ends(graph);
}

std::uint32_t WaitNodes::find(const Actor& who) const {
    auto at = std::ranges::lower_bound(actors, who);
    return at != actors.end() && *at == who ? static_cast<std::uint32_t>(at - actors.begin()) : none;
}

/// Tarjan's strongly connected components, without recursion: a chain may be 10^5 long.
void WaitNodes::find_circles() {
    const auto n = static_cast<std::uint32_t>(actors.size());
    circular.assign(n, false);
    std::vector<std::uint32_t> number(n, none), low(n, 0), next(n, 0), stack, path;
    std::vector<bool> on_stack(n, false);
    std::uint32_t counter = 0;
    for (std::uint32_t root = 0; root < n; ++root) {
        if (number[root] != none) continue;
        path.push_back(root);
        while (!path.empty()) {
            const std::uint32_t node = path.back();
            if (number[node] == none) {
                number[node] = low[node] = counter++;
                stack.push_back(node);
                on_stack[node] = true;
            }
            const auto edges = out(node);
            if (next[node] < edges.size()) {
                const std::uint32_t child = to[edges[next[node]++]];
                if (number[child] == none)
                    path.push_back(child);
                else if (on_stack[child])
                    low[node] = std::min(low[node], number[child]);
                continue;
            }
            path.pop_back();
            if (!path.empty()) low[path.back()] = std::min(low[path.back()], low[node]);
            if (low[node] != number[node]) continue;
            const bool several = stack.back() != node;
            for (std::uint32_t member = none; member != node;) {
                member = stack.back();
                stack.pop_back();
                on_stack[member] = false;
                circular[member] = several;
                order.push_back(member);
            }
        }
    }
}

/// Who waits for nobody moves; so does who needs all of those who move, or one of them. When that is at its end, who
/// may be served by somebody unknown moves as well. Whoever never does hangs in a cycle, or behind one.
void WaitNodes::find_ends(const WaitGraph& graph) {
    const auto n = static_cast<std::uint32_t>(actors.size());
    const auto alternatives = [&](std::uint32_t node) { return graph.edges[out(node).front()].alternatives; };
    std::vector<std::uint32_t> missing(n), todo, unknown;
    std::vector<bool> moves(n, false);
    ends.assign(n, false);
    const auto start = [&](std::uint32_t node) { moves[node] = ends[node] = true, todo.push_back(node); };
    for (std::uint32_t node = 0; node < n; ++node) {
        missing[node] = static_cast<std::uint32_t>(out(node).size());
        if (missing[node] == 0)
            start(node);
        else if (alternatives(node) == Alternatives::unknown)
            unknown.push_back(node);
    }
    for (bool served : {false, true}) {
        if (served)
            for (const std::uint32_t node : unknown)
                if (!moves[node]) start(node);
        while (!todo.empty()) {
            const std::uint32_t node = todo.back();
            todo.pop_back();
            for (const std::uint32_t edge : in(node)) {
                const std::uint32_t waiter = from[edge];
                if (moves[waiter] || (--missing[waiter] != 0 && alternatives(waiter) == Alternatives::none)) continue;
                moves[waiter] = true;
                todo.push_back(waiter);
            }
        }
    }
    in_cycle.assign(n, false);
    for (std::uint32_t node = 0; node < n; ++node)
        if (circular[node] && !moves[node]) in_cycle[node] = ends[node] = true;
}

namespace {

void find_chains(const WaitNodes& nodes, WaitGraph& graph) {
    // Longest way from each node to somebody who waits for nobody, or into a cycle.
    std::vector<std::uint32_t> depth(nodes.size(), 0), via(nodes.size(), WaitNodes::none), end(nodes.size());
    for (std::uint32_t node : nodes.order) {
        end[node] = node;
        if (nodes.circular[node]) continue;
        for (std::uint32_t edge : nodes.out(node)) {
            const std::uint32_t to = nodes.to[edge];
            if (depth[to] + 1 <= depth[node]) continue;
            depth[node] = depth[to] + 1;
            via[node] = edge;
            end[node] = end[to];
        }
    }
    struct Best {
        std::uint32_t start = 0, depth = 0;
        std::uint64_t alike = 0;
    };
    std::unordered_map<std::uint32_t, Best> by_end;
    for (std::uint32_t node = 0; node < nodes.size(); ++node) {
        if (!nodes.in(node).empty() || depth[node] < 2) continue;
        Best& best = by_end[end[node]];
        if (depth[node] > best.depth)
            best = {node, depth[node], 0};
        else if (depth[node] == best.depth)
            ++best.alike;
    }
    std::vector<std::pair<std::uint32_t, Best>> ranked(by_end.begin(), by_end.end());
    std::ranges::sort(ranked, [](auto& a, auto& b) {
        return a.second.depth != b.second.depth ? a.second.depth > b.second.depth : a.second.start < b.second.start;
    });
    for (auto& [last, best] : ranked) {
        if (graph.chains.size() >= most_chains) break;
        WaitChain chain{{}, best.alike, nodes.in_cycle[last]};
        for (std::uint32_t node = best.start; via[node] != WaitNodes::none; node = nodes.to[via[node]])
            chain.edges.push_back(via[node]);
        graph.chains.push_back(std::move(chain));
    }
}

struct Weight {
    std::uint64_t direct = 0, objects = 0;
};

/// How many wait for what `node` has, each counted once.
Weight weigh(const WaitNodes& nodes, const WaitGraph& graph, std::uint32_t node) {
    std::vector<std::uint32_t> waiters;
    std::vector<Address> objects;
    for (std::uint32_t edge : nodes.in(node)) {
        waiters.push_back(nodes.from[edge]);
        if (graph.edges[edge].object) objects.push_back(*graph.edges[edge].object);
    }
    auto distinct = [](auto& list) {
        std::ranges::sort(list);
        return static_cast<std::uint64_t>(std::unique(list.begin(), list.end()) - list.begin());
    };
    return {distinct(waiters), distinct(objects)};
}

void find_blockers(const WaitNodes& nodes, std::span<const Lock> locks, WaitGraph& graph) {
    std::vector<Blocker> all;
    for (std::uint32_t node = 0; node < nodes.size(); ++node) {
        if (nodes.in(node).empty() || !nodes.ends[node]) continue;
        const Weight weight = weigh(nodes, graph, node);
        all.push_back({nodes.actors[node], weight.direct, std::nullopt, 0, weight.objects, nodes.in_cycle[node]});
    }
    std::ranges::stable_sort(all, std::greater{}, &Blocker::direct);
    std::vector<std::uint32_t> seen(nodes.size(), 0), todo;
    std::size_t walked = 0;
    std::uint32_t round = 0;
    for (Blocker& blocker : all) {
        if (walked >= budget) break;
        const std::uint32_t start = nodes.find(blocker.who);
        seen[start] = ++round;
        todo.assign(1, start);
        std::uint64_t total = 0;
        while (!todo.empty() && walked < budget) {
            const std::uint32_t node = todo.back();
            todo.pop_back();
            for (std::uint32_t edge : nodes.in(node)) {
                ++walked;
                const std::uint32_t waiter = nodes.from[edge];
                if (seen[waiter] == round) continue;
                seen[waiter] = round;
                ++total;
                todo.push_back(waiter);
            }
        }
        if (todo.empty()) blocker.total = total;
    }
    // Those who may give back what nobody is known to hold.
    std::unordered_map<std::int64_t, std::size_t> of_goroutine;
    for (std::size_t i = 0; i < all.size(); ++i)
        if (all[i].who.goroutine) of_goroutine[*all[i].who.goroutine] = i;
    for (const Lock& lock : locks) {
        if (lock.waiters.empty() || lock.holders.empty() || !lock.holders.front().may_release) continue;
        for (const LockHolder& holder : lock.holders) {
            if (!holder.who.goroutine) continue;
            auto [at, fresh] = of_goroutine.try_emplace(*holder.who.goroutine, all.size());
            if (fresh) all.push_back({holder.who, 0, 0, 0, 0, false});
            all[at->second].possibly += lock.waiters.size();
        }
    }
    std::ranges::stable_sort(all, [](const Blocker& a, const Blocker& b) {
        auto weight = [](const Blocker& x) { return std::max(x.total.value_or(x.direct), x.direct); };
        return weight(a) != weight(b) ? weight(a) > weight(b) : a.possibly > b.possibly;
    });
    if (all.size() > most_blockers) all.resize(most_blockers);
    graph.blockers = std::move(all);
}

}  // namespace

void summarize(WaitGraph& graph, std::span<const Lock> locks) {
    graph.chains.clear();
    graph.blockers.clear();
    const WaitNodes nodes(graph);
    find_chains(nodes, graph);
    find_blockers(nodes, locks, graph);
}

}  // namespace incident::report
