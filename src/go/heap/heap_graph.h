// HeapGraph: every object of the Go heap, what its words point to, where the collector starts, and what it would reach:
// the same set as the collector's marks, object by object, when the process stood still. Built once, in parallel, from
// flat arrays; edges are not stored: they are read from the objects themselves, and as arrays only when asked
// (heap_edges.h, dominators.h).
//
// Surprising: "live" errs on the side of life. Frames that were stopped anywhere and registers are taken
// conservatively, so that an object may count as live which the next collection would free; the other way round only
// what a gap names.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "go/heap/heap_pointers.h"
#include "go/heap/heap_slots.h"
#include "go/heap/mark.h"
#include "go/heap/roots.h"

namespace incident::go {

struct GraphTotals {
    std::uint64_t allocated_objects = 0, allocated_bytes = 0;  ///< live and garbage
    std::uint64_t live_objects = 0, live_bytes = 0;
    std::uint64_t garbage_objects = 0, garbage_bytes = 0;  ///< allocated, unreachable, not yet freed
    std::uint64_t unknown_objects = 0;  ///< slots whose allocation bits cannot be read: counted as allocated
    std::uint64_t without_map = 0;      ///< live objects whose pointers are not all known: a gap says so
};

class Reach;

class HeapGraph {
public:
    /// Numbers and roots; then mark() it, once. See heap_build.h.
    static Result<std::shared_ptr<HeapGraph>> number(const HeapInput& input);
    /// Sets everything below that speaks of live objects, the totals and the rest of the gaps. `first` marks before
    /// everything else is marked, and may ask in between what is reached: such a question costs no marking of its own,
    /// the roots of the whole are added to what it has reached. May be empty.
    void mark(unsigned jobs, const std::function<void(Reach&)>& first);

    const HeapSlots& slots() const { return *slots_; }
    const HeapPointers& pointers() const { return *pointers_; }
    const Roots& roots() const { return roots_; }
    const GraphTotals& totals() const { return totals_; }
    const std::vector<report::Gap>& gaps() const { return gaps_; }
    const HeapInput& input() const { return input_; }

    std::optional<SlotId> slot_of(Address a) const { return slots_->slot_of(a); }
    bool live(SlotId slot) const { return live_.test(slot); }
    const SlotBits& live_bits() const { return live_; }
    /// Pointer words of live objects that lead to no allocated object, by holder: what the collector trips over. Words
    /// of the runtime's own records that lead to stacks (sudog.elem, g._defer) are among them.
    std::span<const Stray> strays() const { return strays_; }
    bool strays_complete() const { return strays_complete_; }
    /// Calls fn(offset in the object, SlotId it leads to) for each pointer to an allocated object.
    template <class Fn>
    void for_each_edge(SlotId slot, Fn&& fn) const {
        pointers_->for_each_pointer_word(slot, [&](std::uint64_t at, std::uint64_t value) {
            SlotId to = slots_->find(Address{value});
            if (to != no_slot && slots_->allocated(to)) fn(at, to);
        });
    }

private:
    explicit HeapGraph(const HeapInput& input) : input_(input) {}
    void sum();

    HeapInput input_;
    std::unique_ptr<HeapSlots> slots_;
    std::unique_ptr<HeapPointers> pointers_;
    Roots roots_;
    SlotBits live_;
    std::vector<Stray> strays_;
    bool strays_complete_ = true;
    GraphTotals totals_;
    std::vector<report::Gap> gaps_;
};

/// What a chosen part of the roots reaches: for the search of leaked goroutines, which adds roots and goes on until
/// nothing changes. Starts with nothing reached.
class Reach {
public:
    explicit Reach(const HeapGraph& graph) : Reach(graph, graph.input().jobs, false) {}
    const HeapGraph& graph() const { return graph_; }
    /// From now on it is reached but not looked into: the g's of all goroutines, sudogs, through which every goroutine
    /// would reach every other.
    void close(SlotId slot) {
        if (closed_.empty()) closed_ = SlotBits(graph_.slots().limit());
        closed_.set(slot);
    }

    bool contains(SlotId slot) const { return graph_.slots().allocated(slot) && !todo_.test(slot); }
    /// Each adds roots and everything that they lead to; true when something new was reached.
    bool add(std::span<const SlotId> slots);
    bool add(SlotId slot) { return add(std::span(&slot, 1)); }
    bool add_roots(const std::function<bool(const Root&)>& wanted);
    /// Package variables, specials, the finalizer queue, tiny blocks.
    bool add_shared();
    /// The goroutine's stack and what hangs beside it; and the words of its g, were that closed.
    bool add_goroutine(std::uint32_t goroutine);
    /// The words of an object that is closed, or was reached while it was.
    bool look_into(SlotId slot);

private:
    friend class HeapGraph;
    Reach(const HeapGraph& graph, unsigned jobs, bool strays);
    /// All roots, and what was closed. Returns todo: what is not reached, and free slots.
    SlotBits finish(MarkResult& sum);
    bool mark(std::span<const SlotId> slots, unsigned jobs);
    const HeapGraph& graph_;
    const bool strays_;
    SlotBits closed_;  // may be empty
    SlotBits todo_;
    MarkLanes together_;
    std::optional<MarkLanes> alone_;  // for small markings; made when the first comes
    MarkResult sum_;
    std::vector<SlotId> seeds_;
};

}  // namespace incident::go
