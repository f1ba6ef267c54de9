// Which objects of the Go heap only wait to be taken: nothing leads to them but channels' buffers and sync.Pools, where
// programs keep what they will use again (the decoders of klauspost/compress/zstd). They still have the words of their
// last use, over memory that is long unmapped, and who takes one sets these first.
//
// Surprising: it takes another marking of the heap, so it is made when the first question comes: hardly ever.
#pragma once

#include <optional>

#include "go/heap/heap_graph.h"
#include "process/process.h"

namespace incident::detect {

class IdleObjects {
public:
    explicit IdleObjects(const Process& process) : process_(process) {}

    bool contains(go::SlotId slot);

private:
    void mark();

    const Process& process_;
    std::optional<go::Reach> others_;  ///< what anything else leads to
};

}  // namespace incident::detect
