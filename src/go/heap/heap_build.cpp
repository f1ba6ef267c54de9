#include "go/heap/heap_build.h"

#include "base/parallel.h"

namespace incident::go {

Result<HeapBuild> HeapBuild::start(const HeapInput& input, std::function<void(Reach&)> first) {
    return HeapBuild(TRY(HeapGraph::number(input)), std::move(first));
}

HeapBuild::HeapBuild(std::shared_ptr<HeapGraph> graph, std::function<void(Reach&)> first)
    : graph_(std::move(graph)), first_(std::move(first)) {
    if (graph_->input().jobs > 1) marking_ = start_thread([graph = graph_, first = first_] { graph->mark(first); });
}

void HeapBuild::marked() {
    if (marking_)
        marking_->join();
    else
        graph_->mark(first_);
}

GoHeap HeapBuild::finish(bool types) {
    GoHeap heap{graph_, nullptr};
    if (!types) {
        marked();
        return heap;
    }
    HeapTypesBuilder builder(*graph_);
    builder.spread();
    marked();
    heap.types = builder.finish();
    return heap;
}

}  // namespace incident::go
