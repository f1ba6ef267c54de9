// What a wait-for graph says at a glance: the longest chains of waiting, and who blocks most. Derived from the edges
// alone, so that goroutines and threads, Go locks and pthread locks count alike.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "report/report.h"

namespace incident::report {

/// The graph with its actors numbered: what the summary and the drawings of it work on.
struct WaitNodes {
    explicit WaitNodes(const WaitGraph& graph);

    static constexpr std::uint32_t none = UINT32_MAX;
    std::uint32_t find(const Actor& who) const;  ///< none: not in the graph
    std::size_t size() const { return actors.size(); }
    std::span<const std::uint32_t> out(std::uint32_t node) const { return list(out_begin, out_edges, node); }
    std::span<const std::uint32_t> in(std::uint32_t node) const { return list(in_begin, in_edges, node); }

    std::vector<Actor> actors;            ///< sorted
    std::vector<std::uint32_t> from, to;  ///< nodes, by edge
    std::vector<bool> circular;           ///< by node: it waits for itself, over others
    std::vector<bool> in_cycle;           ///< circular, and nobody else can ever serve it
    std::vector<bool> ends;               ///< whoever waits for it waits for no one beyond
    std::vector<std::uint32_t> order;     ///< nodes: those for whom a node waits come before it, but in cycles

private:
    std::vector<std::uint32_t> out_begin, out_edges, in_begin, in_edges;
    static std::span<const std::uint32_t> list(const std::vector<std::uint32_t>& begin,
                                               const std::vector<std::uint32_t>& edges, std::uint32_t node) {
        return {edges.data() + begin[node], edges.data() + begin[node + 1]};
    }
    void find_circles();
    void find_ends(const WaitGraph& graph);
};

constexpr std::size_t most_blockers = 20;  ///< that a graph lists

/// Fills `chains` and `blockers`.
void summarize(WaitGraph& graph, std::span<const Lock> locks);

}  // namespace incident::report
