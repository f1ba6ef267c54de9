// Reading one mspan, and the list of arenas: what the index of all spans (Spans) and the look-up of a single one
// (SpanLookup) share. Others use those two.
#pragma once

#include <cstring>
#include <string_view>
#include <vector>

#include "go/heap/spans.h"

namespace incident::go {

inline constexpr std::uint64_t arena_limit = 1ull << 22;  // all of a 48-bit address space
inline constexpr std::uint64_t largest_in_span_bitmap =
    512;  // ptrSize*ptrBits: bigger objects have a malloc header (1.22+)
inline constexpr std::uint64_t inline_mark_block =
    128;  // runtime.spanInlineMarkBits: scans[63], owned, marks[63], class
inline constexpr std::uint64_t inline_marks_offset = 64;
// go1.27 src/runtime/malloc.go: arenaBaseOffset is 0xffff800000000000 on amd64, 0 elsewhere: arena numbers count from
// there.
inline constexpr std::uint64_t amd64_arena_offset = 0xffff800000000000;

struct SliceHeader {
    std::uint64_t data = 0, len = 0, cap = 0;
};
Result<SliceHeader> load_slice(const Memory& memory, Address base, Place place, std::string_view name,
                               std::uint64_t limit);

class SpanReader {
public:
    /// Fails when the layout lacks a field that every release has.
    static Result<SpanReader> create(const Memory& memory, const RuntimeLayout& layout, const Version& version,
                                     Address mheap);

    enum class Outcome : std::uint8_t { dead, good, unreadable, damaged };
    /// `out` is sound when good; its PointerInfo is left to describe_pointers().
    Outcome read(MemoryCursor& cursor, Address mspan, Span& out) const;

    const Memory& memory() const { return *memory_; }
    const RuntimeLayout& layout() const { return *layout_; }
    const Version& version() const { return *version_; }

private:
    SpanReader(const Memory& memory, const RuntimeLayout& layout, const Version& version)
        : memory_(&memory), layout_(&layout), version_(&version) {}
    const Memory* memory_;
    const RuntimeLayout* layout_;
    const Version* version_;
    std::uint32_t heap_sweepgen_ = 0;
    std::size_t span_bytes_ = 0;  // of an mspan, as far as we read it
};

/// How a runtime writes down which words are pointers, and what is marked.
struct HeapEra {
    bool arena_bitmaps = false;
    bool inline_marks = false;  ///< green tea
};

/// Up to Go 1.21, and 1.22 built with noallocheaders.
bool keeps_arena_bitmaps(const RuntimeLayout& layout, const Version& version);

/// Where the pointer maps and mark bits of this span's objects are.
void describe_pointers(Span& span, const Memory& memory, HeapEra era);

/// Arena numbers (address / 64 MB) from the runtime's own lists, at one machine's offset.
Result<std::vector<std::uint64_t>> read_arenas(const Memory& memory, const RuntimeLayout& layout, Address mheap,
                                               std::uint64_t offset);

}  // namespace incident::go
