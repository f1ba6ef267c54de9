// SpanLookup: the span of one address, without an index: for questions about a few hundred words, where reading every
// mspan of a big heap would cost more than the answer. It follows the runtime's own spanOf: mheap_.arenas →
// heapArena.spans[page].
//
// Surprising: the entries of freed pages are stale. What they lead to is believed only when the mspan is in use and
// covers the address; else the page is free. Gives the same answers as Spans.
#pragma once

#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "go/heap/span_reader.h"

namespace incident::go {

class SpanLookup {
public:
    static Result<SpanLookup> create(const Memory& memory, const Runtime& runtime);

    std::span<const AddressRange> arenas() const { return arenas_; }  ///< sorted, neighbours merged
    bool in_arena(Address a) const noexcept;
    /// The in-use or manual span that holds `a`; nullopt: the page is free. Fails when that cannot be known. [any
    /// thread]
    Result<std::optional<Span>> find(Address a) const;

private:
    SpanLookup(SpanReader reader, Address table) : reader_(reader), table_(table) {}
    SpanReader reader_;
    Address table_;  // mheap_.arenas[0]: pointers to heapArenas
    std::vector<AddressRange> arenas_;
    std::uint64_t offset_ = 0;  // arena numbers count from here
};

}  // namespace incident::go
