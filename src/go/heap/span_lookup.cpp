// SpanLookup; see its header. Layout facts: go1.16–1.27 src/runtime/mheap.go, spanOf, arenaIndex (arenaL1Bits is 0 on
// unix).
#include "go/heap/span_lookup.h"

#include <algorithm>

#include "go/heap/spans_state.h"

namespace incident::go {

Result<SpanLookup> SpanLookup::create(const Memory& memory, const Runtime& runtime) {
    if (!runtime.globals().mheap) return fail(ErrorKind::absent, "runtime.mheap_ was not found");
    Address mheap = *runtime.globals().mheap;
    const RuntimeLayout& layout = runtime.layout();
    if (!layout.mheap.arenas.present() || !layout.heapArena.spans.present())
        return fail(ErrorKind::absent, "the layout of heap arenas is incomplete");
    auto reader = TRY(SpanReader::create(memory, layout, runtime.version(), mheap));
    Address table = TRY(memory.load_address(mheap + static_cast<std::uint64_t>(layout.mheap.arenas.offset)));
    SpanLookup lookup(reader, table);
    for (std::uint64_t offset : {amd64_arena_offset, std::uint64_t{0}}) {
        auto numbers = TRY(read_arenas(memory, layout, mheap, offset));
        std::ranges::sort(numbers);
        bool mapped = !numbers.empty() && memory.is_mapped(Address{numbers.front() * arena_bytes});
        if (!mapped) continue;
        lookup.offset_ = offset;
        for (std::uint64_t number : numbers) {
            AddressRange arena{{number * arena_bytes}, {(number + 1) * arena_bytes}};
            if (!lookup.arenas_.empty() && lookup.arenas_.back().end == arena.begin)
                lookup.arenas_.back().end = arena.end;
            else
                lookup.arenas_.push_back(arena);
        }
        return lookup;
    }
    return fail(ErrorKind::corrupt, "the listed heap arenas are not mapped", mheap);
}

bool SpanLookup::in_arena(Address a) const noexcept {
    auto after = std::ranges::upper_bound(arenas_, a, {}, &AddressRange::end);
    return after != arenas_.end() && after->contains(a);
}

Result<std::optional<Span>> SpanLookup::find(Address a) const {
    if (!in_arena(a)) return fail(ErrorKind::absent, "outside the heap arenas", a);
    const Memory& memory = reader_.memory();
    const auto& fields = reader_.layout().heapArena;
    std::uint64_t index = (a.value - offset_) / arena_bytes, page = a.value % arena_bytes / page_bytes;
    Address arena = TRY(memory.load_address(table_ + index * 8));
    if (arena.is_null()) return fail(ErrorKind::corrupt, "a listed heap arena has no metadata", a);
    Address mspan = TRY(memory.load_address(arena + static_cast<std::uint64_t>(fields.spans.offset) + page * 8));
    if (mspan.is_null()) return std::optional<Span>{};
    MemoryCursor cursor(memory);
    Span span;
    switch (reader_.read(cursor, mspan, span)) {
        case SpanReader::Outcome::unreadable: return std::unexpected(memory.explain(mspan));
        case SpanReader::Outcome::damaged: return fail(ErrorKind::corrupt, "mspan contradicts itself", mspan);
        case SpanReader::Outcome::dead: return std::optional<Span>{};
        case SpanReader::Outcome::good: break;
    }
    if (!span.range.contains(a)) return std::optional<Span>{};
    HeapEra era{.arena_bitmaps = keeps_arena_bitmaps(reader_.layout(), reader_.version())};
    if (fields.pageUseSpanInlineMarkBits.present()) {  // one bit per page, set on the first page of the span
        std::uint64_t first = span.range.begin.value % arena_bytes / page_bytes;
        auto byte = memory.load<std::uint8_t>(
            arena + static_cast<std::uint64_t>(fields.pageUseSpanInlineMarkBits.offset) + first / 8);
        era.inline_marks = byte && (*byte >> (first % 8) & 1) != 0;
    }
    describe_pointers(span, memory, era);
    return span;
}

}  // namespace incident::go
