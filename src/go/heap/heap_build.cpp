#include "go/heap/heap_build.h"

#include "base/parallel.h"

namespace incident::go {

Result<HeapBuild> HeapBuild::start(const HeapInput& input, bool types, std::function<void(Reach&)> first) {
    return HeapBuild(TRY(HeapGraph::number(input)), types, std::move(first));
}

HeapBuild::HeapBuild(std::shared_ptr<HeapGraph> graph, bool types, std::function<void(Reach&)> first)
    : graph_(std::move(graph)), types_(types), first_(std::move(first)) {
    const unsigned jobs = graph_->input().jobs, markers = types ? (jobs + 1) / 2 : jobs;
    if (jobs > 1) marking_ = start_thread([graph = graph_, markers, first = first_] { graph->mark(markers, first); });
}

void HeapBuild::marked() {
    if (marking_)
        marking_->join();
    else
        graph_->mark(graph_->input().jobs, first_);
}

GoHeap HeapBuild::finish() {
    GoHeap heap{graph_, nullptr};
    if (!types_) {
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
