// Edges as arrays, and breadth-first search; see heap_edges.h.
#include "go/heap/heap_edges.h"

#include <algorithm>
#include <numeric>

#include "base/parallel.h"

namespace incident::go {

namespace {

constexpr std::size_t span_grain = 256;

/// Calls fn(slot) for each live object, by span, in parallel.
template <class Fn>
void for_each_live(const HeapGraph& graph, unsigned jobs, Fn&& fn) {
    auto spans = graph.slots().slot_spans();
    auto live = graph.live_bits().words();
    parallel_chunks(jobs, spans.size(), span_grain, [&](std::size_t begin, std::size_t end, unsigned) {
        for (std::size_t i = begin; i < end; ++i)
            for (std::uint32_t at = 0; at < spans[i].count; at += 64) {
                SlotId first = spans[i].first + at;
                for (std::uint64_t word = live[first / 64]; word != 0; word &= word - 1)
                    fn(first + static_cast<SlotId>(std::countr_zero(word)));
            }
    });
}

}  // namespace

ReverseEdges ReverseEdges::build(const HeapGraph& graph, unsigned jobs) {
    ReverseEdges edges;
    std::size_t limit = graph.slots().limit();
    edges.begin_.assign(limit + 1, 0);
    auto& begin = edges.begin_;
    for_each_live(graph, jobs, [&](SlotId slot) {
        graph.for_each_edge(slot, [&](std::uint64_t, SlotId to) {
            std::atomic_ref(begin[to]).fetch_add(1, std::memory_order_relaxed);
        });
    });
    // begin[i] becomes the end of i's part, and is counted down to its beginning while the part is filled.
    std::inclusive_scan(begin.begin(), begin.end(), begin.begin());
    edges.sources_.resize(begin[limit]);
    for_each_live(graph, jobs, [&](SlotId slot) {
        graph.for_each_edge(slot, [&](std::uint64_t, SlotId to) {
            std::uint64_t at = std::atomic_ref(begin[to]).fetch_sub(1, std::memory_order_relaxed) - 1;
            edges.sources_[at] = slot;
        });
    });
    parallel_chunks(jobs, limit, 1 << 16, [&](std::size_t first, std::size_t end, unsigned) {
        for (std::size_t i = first; i < end; ++i)
            std::sort(edges.sources_.begin() + static_cast<std::ptrdiff_t>(begin[i]),
                      edges.sources_.begin() + static_cast<std::ptrdiff_t>(begin[i + 1]));
    });
    return edges;
}

RootIndex::RootIndex(const Roots& roots) : roots_(roots), by_target_(roots.all.size()) {
    std::iota(by_target_.begin(), by_target_.end(), 0u);
    std::ranges::stable_sort(by_target_, {}, [&](std::uint32_t i) { return roots_.all[i].target; });
}

std::span<const std::uint32_t> RootIndex::of(SlotId slot) const {
    auto range = std::ranges::equal_range(by_target_, slot, {}, [&](std::uint32_t i) { return roots_.all[i].target; });
    return {range.begin(), range.end()};
}

std::optional<RootPath> shortest_path(const HeapGraph& graph, SlotId to) {
    if (to == no_slot || to >= graph.slots().limit() || !graph.live(to)) return std::nullopt;
    const auto& roots = graph.roots().all;
    // `from`: the slot before, or (marked by the bit in `rooted`) the root.
    std::vector<std::uint32_t> from(graph.slots().limit(), no_slot);
    SlotBits rooted(graph.slots().limit());
    std::vector<SlotId> level, next;
    bool found = false;
    auto search = [&] {
        while (!level.empty() && !found) {
            for (SlotId slot : level) {
                graph.for_each_edge(slot, [&](std::uint64_t, SlotId target) {
                    if (from[target] != no_slot) return;
                    from[target] = slot;
                    next.push_back(target);
                });
                if (from[to] != no_slot) found = true;
                if (found) return;
            }
            level.clear();
            level.swap(next);
        }
    };
    for (bool conservative : {false, true}) {
        for (std::uint32_t i = 0; i < roots.size(); ++i) {
            SlotId target = roots[i].target;
            if (roots[i].conservative != conservative || from[target] != no_slot) continue;
            if (!graph.live(target)) continue;
            from[target] = i;
            rooted.set(target);
            level.push_back(target);
            if (target == to) found = true;
        }
        if (!found) search();
        if (found) break;
        level.clear();
        next.clear();
    }
    if (!found) return std::nullopt;
    RootPath path;
    for (SlotId slot = to;; slot = from[slot]) {
        path.steps.push_back({slot, 0});
        if (rooted.test(slot)) {
            path.root = from[slot];
            break;
        }
    }
    std::ranges::reverse(path.steps);
    for (std::size_t i = 0; i + 1 < path.steps.size(); ++i) {
        bool known = false;
        graph.for_each_edge(path.steps[i].slot, [&](std::uint64_t at, SlotId target) {
            if (!known && target == path.steps[i + 1].slot) path.steps[i].offset = at;
            known = known || target == path.steps[i + 1].slot;
        });
    }
    return path;
}

}  // namespace incident::go
