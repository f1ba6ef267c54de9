// HeapGraph: numbering, roots, marking, sums. See its header.
#include "go/heap/heap_graph.h"

#include <algorithm>
#include <unordered_set>
#include <utility>

#include <fmt/format.h>

#include "base/parallel.h"
#include "base/text.h"
#include "go/heap/mark.h"

namespace incident::go {

Result<std::shared_ptr<HeapGraph>> HeapGraph::number(const HeapInput& input) {
    if (!input.runtime.globals().mheap) return fail(ErrorKind::absent, "runtime.mheap_ was not found");
    auto graph = std::shared_ptr<HeapGraph>(new HeapGraph(input));
    graph->slots_ = std::make_unique<HeapSlots>(TRY(HeapSlots::build(input.memory, input.spans)));
    const HeapSlots& slots = *graph->slots_;
    graph->pointers_ = std::make_unique<HeapPointers>(input.memory, input.runtime.layout(), input.runtime.version(),
                                                      input.runtime.modules(), *input.runtime.globals().mheap, slots);
    graph->roots_ = find_roots(input, slots, *graph->pointers_);
    graph->gaps_ = graph->roots_.gaps;
    return graph;
}

void HeapGraph::mark(unsigned jobs, const std::function<void(Reach&)>& first) {
    Reach reach(*this, jobs, true);
    if (first) first(reach);
    MarkResult marked;
    live_ = reach.finish(marked);
    auto rest = live_.words();
    auto allocated = slots_->allocated_bits().words();
    for (std::size_t i = 0; i < rest.size(); ++i) rest[i] = allocated[i] & ~rest[i];
    for (SlotId slot : roots_.unmade) live_.set(slot);
    totals_.without_map = marked.without_map;
    // Of each free slot the first word that leads there, whichever worker found it.
    strays_ = std::move(marked.strays);
    strays_complete_ = marked.strays_complete;
    std::ranges::sort(strays_, {}, [](const Stray& s) { return std::pair(s.holder, s.offset); });
    std::unordered_set<SlotId> known;
    std::erase_if(strays_, [&](const Stray& stray) {
        const SlotId slot = slots_->find(stray.value);
        return slot != no_slot && !known.insert(slot).second;
    });
    strays_.shrink_to_fit();
    sum();
}

void HeapGraph::sum() {
    auto allocated = slots_->allocated_bits().words(), live = std::as_const(live_).words();
    for (const SlotSpan& s : slots_->slot_spans()) {
        std::uint64_t all = 0, reached = 0, bytes = std::uint64_t{s.words} * 8;
        for (std::size_t i = s.first / 64; i < (s.first + std::size_t{s.count} + 63) / 64; ++i) {
            all += static_cast<unsigned>(std::popcount(allocated[i]));
            reached += static_cast<unsigned>(std::popcount(live[i]));
        }
        totals_.allocated_objects += all;
        totals_.allocated_bytes += all * bytes;
        totals_.live_objects += reached;
        totals_.live_bytes += reached * bytes;
    }
    totals_.garbage_objects = totals_.allocated_objects - totals_.live_objects;
    totals_.garbage_bytes = totals_.allocated_bytes - totals_.live_bytes;
    totals_.unknown_objects = slots_->unknown();
    if (totals_.unknown_objects != 0)
        gaps_.push_back({fmt::format("whether {} are allocated", count_of(totals_.unknown_objects, "heap slot")),
                         "the bits of their spans are not in the core", "they count as allocated", true});
    if (slots_->too_large() != 0)
        gaps_.push_back({fmt::format("{} of 32 GB and more", count_of(slots_->too_large(), "heap object")), "not read",
                         "what only they keep alive is not reached", true});
    if (totals_.without_map != 0)
        gaps_.push_back({fmt::format("the pointers of {}", count_of(totals_.without_map, "live heap object")),
                         "its pointer map or its bytes could not be read",
                         "objects that only they keep alive are not reached", true});
}

Reach::Reach(const HeapGraph& graph, unsigned jobs, bool strays)
    : graph_(graph), strays_(strays), todo_(graph.slots().allocated_bits()), together_(jobs, graph.slots().limit()) {
    if (strays) std::ranges::fill(todo_.words(), ~std::uint64_t{0});
}

SlotBits Reach::finish(MarkResult& sum) {
    seeds_.clear();
    seeds_.reserve(graph_.roots().all.size());
    for (const Root& root : graph_.roots().all) seeds_.push_back(root.target);
    // What was closed and reached is reached again, and then looked into.
    std::exchange(closed_, {}).for_each([&](SlotId slot) {
        if (!graph_.slots().allocated(slot) || todo_.test(slot)) return;
        todo_.set(slot);
        seeds_.push_back(slot);
    });
    mark(seeds_, together_.workers());
    sum = std::move(sum_);
    return std::move(todo_);
}

bool Reach::add(std::span<const SlotId> slots) {
    // One round of a fixpoint is small: threads cost more than they bring, unless there is much to seed.
    return mark(slots, slots.size() > 1024 ? together_.workers() : 1);
}

bool Reach::mark(std::span<const SlotId> slots, unsigned jobs) {
    const bool alone = jobs < together_.workers();
    if (alone && !alone_) alone_.emplace(1, graph_.slots().limit());
    MarkResult marked = mark_from(graph_.pointers(), slots, todo_, alone ? *alone_ : together_,
                                  closed_.empty() ? nullptr : &closed_, strays_);
    sum_.without_map += marked.without_map;
    sum_.strays.insert(sum_.strays.end(), marked.strays.begin(), marked.strays.end());
    sum_.strays_complete &= marked.strays_complete;
    return marked.marked != 0;
}

bool Reach::add_roots(const std::function<bool(const Root&)>& wanted) {
    seeds_.clear();
    for (const Root& root : graph_.roots().all)
        if (wanted(root)) seeds_.push_back(root.target);
    return add(seeds_);
}

bool Reach::add_shared() {
    seeds_.clear();
    for (const Root& root : graph_.roots().shared()) seeds_.push_back(root.target);
    return mark(seeds_, together_.workers());  // few roots, and nearly the whole heap behind them
}

bool Reach::add_goroutine(std::uint32_t goroutine) {
    seeds_.clear();
    for (const Root& root : graph_.roots().of(goroutine)) seeds_.push_back(root.target);
    bool more = add(seeds_);
    const GoroutineList* list = graph_.input().goroutines;
    if (list == nullptr || goroutine >= list->all.size()) return more;
    SlotId g = graph_.slots().find(list->all[goroutine].g);
    if (g == no_slot) return more;
    return look_into(g) || more;
}

bool Reach::look_into(SlotId slot) {
    seeds_.clear();
    seeds_.push_back(slot);
    graph_.for_each_edge(slot, [&](std::uint64_t, SlotId to) { seeds_.push_back(to); });
    return add(seeds_);
}

}  // namespace incident::go
