// Which objects of the Go heap are kept by more than words that may be no pointers. Frames that were stopped anywhere
// and registers are full of leavings, and what only those lead to may be garbage: freed by hand, or under a type that
// another leaving claims for it (go-cmp: a []byte, beside it on the stack the descriptor of []string). Nobody is
// accused on its word alone.
//
// Surprising: it takes another marking of the heap, so it is made when the first question comes: hardly ever.
#pragma once

#include <optional>

#include "go/heap/heap_graph.h"
#include "process/process.h"

namespace incident::detect {

class SurelyKept {
public:
    explicit SurelyKept(const Process& process) : heap_(process.heap.get()) {}

    bool operator()(go::SlotId slot);
    /// Of whatever object holds the word; true when none does.
    bool holds(Address word);

    static constexpr std::string_view doubt =
        "nothing keeps the object that holds it but words that may be no pointers (a frame or registers of code that "
        "was "
        "stopped anywhere): it may be garbage by now";

private:
    const go::HeapGraph* heap_;
    std::optional<go::Reach> reach_;
};

}  // namespace incident::detect
