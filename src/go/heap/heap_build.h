// Builds what is known of the Go heap: numbers, roots and marks (HeapGraph), and what every object is (HeapTypes).
//
// Surprising: marking and spreading types are two walks over the same objects, and most of the second asks nothing of
// the first. With several workers they run side by side, so that one fills the gaps of the other: near its end each has
// a stretch that only one worker can go, the longest list, and the roots' types are read by one thread alone. Marking
// is the shorter walk: half of the workers mark, so that the end of the other does not come last and alone. Whoever
// builds can do something else meanwhile, too.
#pragma once

#include <functional>
#include <memory>
#include <thread>

#include "go/heap/heap_types.h"

namespace incident::go {

struct GoHeap {
    std::shared_ptr<const HeapGraph> graph;
    std::shared_ptr<const HeapTypes> types;  ///< null: not asked for
};

class HeapBuild {
public:
    /// Numbers and roots; with several workers marking begins, on threads of its own. `types`: they are asked for, too.
    /// `first`: see HeapGraph::mark; it may run there, and must not use libdw. What `input` refers to is not to change
    /// before finish(). Fails when there is no heap to be found, or it has more slots than there are numbers.
    static Result<HeapBuild> start(const HeapInput& input, bool types, std::function<void(Reach&)> first = {});
    /// Types use libdw: one thread at a time.
    GoHeap finish();

private:
    HeapBuild(std::shared_ptr<HeapGraph> graph, bool types, std::function<void(Reach&)> first);
    void marked();

    std::shared_ptr<HeapGraph> graph_;
    bool types_;
    std::function<void(Reach&)> first_;
    std::optional<std::jthread> marking_;
};

}  // namespace incident::go
