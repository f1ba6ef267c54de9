// Edges of the heap graph as arrays, for questions that go against the pointers: who refers to this object, and how
// does a root reach it? Built only when asked: 4 bytes per slot number and 4 per pointer.
#pragma once

#include <optional>
#include <span>
#include <vector>

#include "go/heap/heap_graph.h"

namespace incident::go {

/// Who points to each live object. One entry per pointer word: an object that points twice stands there twice.
class ReverseEdges {
public:
    static ReverseEdges build(const HeapGraph& graph, unsigned jobs);
    /// Live objects that point to `slot`, ascending.
    std::span<const SlotId> to(SlotId slot) const {
        return std::span(sources_).subspan(begin_[slot], begin_[slot + std::size_t{1}] - begin_[slot]);
    }
    std::uint64_t count() const { return sources_.size(); }

private:
    std::vector<std::uint64_t> begin_;  // per slot number, and one more
    std::vector<SlotId> sources_;
};

/// Roots by what they lead to.
class RootIndex {
public:
    explicit RootIndex(const Roots& roots);
    /// Indices into Roots::all, ascending: package variables come first.
    std::span<const std::uint32_t> of(SlotId slot) const;

private:
    const Roots& roots_;
    std::vector<std::uint32_t> by_target_;
};

/// One way from a root to an object: the root leads to steps[0], its word at `offset` to steps[1], and so on.
struct RootPath {
    struct Step {
        SlotId slot = no_slot;
        std::uint64_t offset = 0;  ///< bytes from the slot's base; of the last step 0
    };
    std::uint32_t root = 0;  ///< index into Roots::all
    std::vector<Step> steps;
};

/// A shortest path; of several the one whose root comes first in Roots::all, and words that are surely pointers before
/// conservative ones however long the way. nullopt: nothing reaches it.
std::optional<RootPath> shortest_path(const HeapGraph& graph, SlotId to);

}  // namespace incident::go
