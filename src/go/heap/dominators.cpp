// Dominators by Lengauer and Tarjan ("A fast algorithm for finding dominators in a flowgraph", 1979), the simple one:
// path compression without balancing. Everything is iterative: heaps hold lists of 10^7 elements. Semi-NCA, which is
// known to be faster on most graphs, climbs such a list anew for every edge from elsewhere into it: more than a quarter
// of an hour on 15 million objects, where this takes seconds.
#include "go/heap/dominators.h"

#include <algorithm>
#include <numeric>
#include <utility>

namespace incident::go {

namespace {

using Node = Dominators::Node;
constexpr Node unnumbered = 0;

/// Nodes in depth-first preorder, with their parents. A node is numbered when it leaves the stack; the last one that
/// pushed it is then its parent, which makes this a depth-first search though all successors are pushed at once.
class Preorder {
public:
    Preorder(const HeapGraph& graph, std::vector<Node>& number, std::vector<std::uint32_t>& names)
        : graph_(graph), number_(number), names_(names) {}

    std::vector<Node> parent;

    Node begin(std::uint32_t name, Node of) {
        names_.push_back(name);
        parent.push_back(of);
        return static_cast<Node>(names_.size() - 1);
    }
    void push(Node from, SlotId slot) {
        if (number_[slot] == unnumbered && graph_.live(slot)) stack_.emplace_back(from, slot);
    }
    void drain() {
        while (!stack_.empty()) {
            auto [from, slot] = stack_.back();
            stack_.pop_back();
            if (number_[slot] != unnumbered) continue;
            Node node = number_[slot] = begin(slot, from);
            graph_.for_each_edge(slot, [&](std::uint64_t, SlotId to) {
                __builtin_prefetch(&number_[to]);
                push(node, to);
            });
            if (!stack_.empty()) graph_.slots().prefetch(stack_.back().second);
        }
    }

private:
    const HeapGraph& graph_;
    std::vector<Node>& number_;
    std::vector<std::uint32_t>& names_;
    std::vector<std::pair<Node, SlotId>> stack_;
};

}  // namespace

std::vector<std::uint32_t> immediate_dominators(std::span<const std::uint32_t> parent,
                                                std::span<const std::uint64_t> begin,
                                                std::span<const std::uint32_t> preds) {
    constexpr std::uint32_t none = 0;  // the root is in nobody's bucket
    auto count = static_cast<std::uint32_t>(parent.size());
    std::vector<std::uint32_t> idom(count, none), semi(count), label(count), path;
    // Vertices whose semidominator this is: the first; the next ones stand in idom, which they do not have yet.
    std::vector<std::uint32_t> bucket(count, none);
    // `ancestor` is the parent once a vertex is linked; compression shortens it. A vertex is linked when it is above
    // `linked`, since vertices are worked on from the last to the first.
    std::vector<std::uint32_t> ancestor(parent.begin(), parent.end());
    std::iota(semi.begin(), semi.end(), 0u);
    std::iota(label.begin(), label.end(), 0u);
    auto evaluate = [&](std::uint32_t v, std::uint32_t linked) {
        if (v < linked) return v;
        // Climb to the root of v's tree of linked vertices, then compress from the top down.
        path.clear();
        for (; ancestor[v] >= linked; v = ancestor[v]) path.push_back(v);
        while (!path.empty()) {
            std::uint32_t below = path.back(), above = ancestor[below];
            path.pop_back();
            if (semi[label[above]] < semi[label[below]]) label[below] = label[above];
            ancestor[below] = ancestor[above];
            v = below;
        }
        return label[v];
    };
    for (std::uint32_t v = count; v-- > 1;) {
        std::uint32_t best = parent[v];
        for (std::uint64_t i = begin[v]; i < begin[v + std::size_t{1}]; ++i)
            best = std::min(best, semi[evaluate(preds[i], v + 1)]);
        semi[v] = best;
        idom[v] = std::exchange(bucket[best], v);
        // Whatever has parent[v] for semidominator lies below v, and so does its way up there.
        for (std::uint32_t below = std::exchange(bucket[parent[v]], none); below != none;) {
            const std::uint32_t next = idom[below], best_above = evaluate(below, v);
            idom[below] = semi[best_above] < semi[below] ? best_above : parent[v];
            below = next;
        }
    }
    for (std::uint32_t v = 1; v < count; ++v)
        if (idom[v] != semi[v]) idom[v] = idom[idom[v]];
    return idom;
}

Dominators Dominators::compute(const HeapGraph& graph) {
    Dominators out;
    const HeapSlots& slots = graph.slots();
    const auto& roots = graph.roots().all;
    out.limit_ = slots.limit();
    out.number_.assign(slots.limit(), unnumbered);
    out.slots_.reserve(graph.totals().live_objects + 1024);
    Preorder order(graph, out.number_, out.slots_);
    order.parent.reserve(graph.totals().live_objects + 1024);
    order.begin(out.limit_, 0);

    // One group after the other; edges from a group to what others reached first are found below.
    std::vector<std::pair<std::size_t, std::size_t>> members;
    std::vector<Node> group_nodes;
    for (std::size_t i = 0; i < roots.size();) {
        std::size_t end = i + 1;
        if (roots[i].goroutine != no_owner)
            while (end < roots.size() && roots[end].goroutine == roots[i].goroutine) ++end;
        out.groups_.push_back({static_cast<std::uint32_t>(i), roots[i].goroutine});
        members.emplace_back(i, end);
        Node node = order.begin(out.limit_ + static_cast<std::uint32_t>(out.groups_.size()), everything);
        group_nodes.push_back(node);
        for (std::size_t at = i; at < end; ++at) order.push(node, roots[at].target);
        order.drain();
        i = end;
    }

    std::size_t count = out.slots_.size();
    std::vector<std::uint64_t> begin(count + 1, 0);
    auto for_each_edge = [&](auto&& fn) {
        for (std::size_t g = 0; g < members.size(); ++g) {
            fn(everything, group_nodes[g]);
            for (std::size_t i = members[g].first; i < members[g].second; ++i)
                if (Node to = out.number_[roots[i].target]; to != unnumbered) fn(group_nodes[g], to);
        }
        for (Node node = 1; node < count; ++node) {
            if (!out.is_object(node)) continue;
            if (node + std::size_t{8} < count && out.is_object(node + 8)) slots.prefetch(out.slots_[node + 8]);
            graph.for_each_edge(out.slots_[node], [&](std::uint64_t, SlotId to) {
                if (Node target = out.number_[to]; target != unnumbered) fn(node, target);
            });
        }
    };
    // The edge from a parent to its child in the tree says nothing new: the algorithm starts from it.
    for_each_edge([&](Node from, Node to) { begin[to] += order.parent[to] != from ? 1 : 0; });
    std::inclusive_scan(begin.begin(), begin.end(), begin.begin());
    std::vector<Node> preds(begin[count]);
    for_each_edge([&](Node from, Node to) {
        if (order.parent[to] != from) preds[--begin[to]] = from;
    });
    out.idom_ = immediate_dominators(order.parent, begin, preds);
    order.parent = {};
    preds = {};
    begin = {};

    out.objects_.assign(count, 0);
    out.bytes_.assign(count, 0);
    for (Node node = static_cast<Node>(count); node-- > 1;) {
        if (out.is_object(node)) {
            ++out.objects_[node];
            out.bytes_[node] += slots.size(out.slots_[node]);
        }
        out.objects_[out.idom_[node]] += out.objects_[node];
        out.bytes_[out.idom_[node]] += out.bytes_[node];
    }
    return out;
}

Dominators::Node Dominators::node(SlotId slot) const { return slot < number_.size() ? number_[slot] : everything; }

std::vector<Dominators::Node> Dominators::top(Node parent, std::size_t count) const {
    std::vector<Node> found;
    // A heap of the best `count`, smallest on top: there may be 10^6 children.
    auto more = [&](Node a, Node b) { return bytes_[a] != bytes_[b] ? bytes_[a] > bytes_[b] : a < b; };
    for (Node node = 1; node < idom_.size(); ++node) {
        if (idom_[node] != parent || bytes_[node] == 0) continue;
        if (found.size() == count && (count == 0 || !more(node, found.front()))) continue;
        found.push_back(node);
        std::ranges::push_heap(found, more);
        if (found.size() > count) {
            std::ranges::pop_heap(found, more);
            found.pop_back();
        }
    }
    std::ranges::sort(found, more);
    return found;
}

}  // namespace incident::go
