// Reading one mspan. Offsets come from the layout; what is read must fit together before anything believes it.
#include "go/heap/span_reader.h"

#include <algorithm>

#include <fmt/format.h>

#include "base/text.h"
#include "go/heap/spans_state.h"

namespace incident::go {

namespace {

constexpr std::uint64_t largest_small_object = 32768;  // internal/runtime/gc.MaxSmallSize
constexpr unsigned size_class_limit = 68;              // go1.16–1.27: size classes 0 … 67

/// One mspan's bytes; offsets were checked against `size` before.
class RawSpan {
public:
    RawSpan(const std::byte* bytes) : bytes_(bytes) {}
    template <class T>
    T get(Field<T> field) const {
        T value{};
        if (field.present()) std::memcpy(&value, bytes_ + field.offset, sizeof(T));
        return value;
    }

private:
    const std::byte* bytes_;
};

bool sound(const Span& s) {
    if (s.size_class() >= size_class_limit || s.elem_size == 0 || s.elem_count == 0) return false;
    if (s.free_index > s.elem_count || s.alloc_count > s.elem_count) return false;
    if (s.limit < s.range.begin || s.limit > s.range.end) return false;
    if (s.size_class() == 0) return s.elem_count == 1 && s.elem_size <= s.range.size();
    return s.elem_size >= 8 && s.elem_size <= largest_small_object && s.elem_size % 8 == 0 &&
           s.elem_count * s.elem_size <= s.range.size();
}

}  // namespace

Result<SliceHeader> load_slice(const Memory& memory, Address base, Place place, std::string_view name,
                               std::uint64_t limit) {
    if (!place.present()) return fail(ErrorKind::absent, fmt::format("no layout for {}", name), base);
    Address at = base + static_cast<std::uint64_t>(place.offset);
    auto slice = TRY(memory.load<SliceHeader>(at));
    if (slice.len > slice.cap || slice.len > limit || slice.data % 8 != 0)
        return fail(ErrorKind::corrupt,
                    fmt::format("{} has len {} cap {} data {}", name, slice.len, slice.cap, hex(slice.data)), at);
    return slice;
}

Result<SpanReader> SpanReader::create(const Memory& memory, const RuntimeLayout& layout, const Version& version,
                                      Address mheap) {
    const auto& f = layout.mspan;
    std::size_t needed = 0;
    auto require = [&](auto field) {
        needed = std::max(needed,
                          static_cast<std::size_t>(std::max(field.offset, 0)) + sizeof(typename decltype(field)::type));
        return field.present();
    };
    if (!(require(f.startAddr) && require(f.npages) && require(f.freeindex) && require(f.nelems) &&
          require(f.allocBits) && require(f.gcmarkBits) && require(f.sweepgen) && require(f.allocCount) &&
          require(f.spanclass) && require(f.state) && require(f.elemsize) && require(f.limit) && require(f.specials)))
        return fail(ErrorKind::absent, "the layout of runtime.mspan is incomplete");
    require(f.largeType);
    SpanReader reader(memory, layout, version);
    reader.span_bytes_ = needed;
    if (auto sweepgen = StructView(memory, mheap).get(layout.mheap.sweepgen)) reader.heap_sweepgen_ = *sweepgen;
    return reader;
}

SpanReader::Outcome SpanReader::read(MemoryCursor& cursor, Address mspan, Span& out) const {
    const std::byte* bytes = mspan.is_aligned(8) ? cursor.data_at(mspan, span_bytes_) : nullptr;
    if (bytes == nullptr) return Outcome::unreadable;
    const auto& f = layout_->mspan;
    RawSpan raw(bytes);
    auto state = raw.get(f.state);
    if (state == 0) return Outcome::dead;
    if (state > 2) return Outcome::damaged;
    out.mspan = mspan;
    out.state = state == 1 ? SpanState::in_use : SpanState::manual;
    Address begin{raw.get(f.startAddr)};
    std::uint64_t pages = raw.get(f.npages);
    if (!begin.is_aligned(page_bytes) || begin.is_null() || pages == 0 || pages > (1ull << 35)) return Outcome::damaged;
    out.range = {begin, begin + pages * page_bytes};
    if (out.range.end < begin) return Outcome::damaged;
    out.elem_size = raw.get(f.elemsize);
    out.sweepgen = raw.get(f.sweepgen);
    out.alloc_count = raw.get(f.allocCount);
    if (out.state == SpanState::manual) {
        if (out.elem_size > out.range.size()) return Outcome::damaged;
        out.limit = out.range.end;
        return Outcome::good;
    }
    out.limit = Address{raw.get(f.limit)};
    out.elem_count = raw.get(f.nelems);
    out.free_index = raw.get(f.freeindex);
    out.span_class = raw.get(f.spanclass);
    out.alloc_bits = Address{raw.get(f.allocBits)};
    out.gcmark_bits = Address{raw.get(f.gcmarkBits)};
    out.specials = Address{raw.get(f.specials)};
    out.large_type = Address{raw.get(f.largeType)};
    // Up to 1.23 whoever asked for a span's pages sets the limit, when it is in use already: until then it is that of
    // the record's span before. go1.19 src/runtime/mcentral.go, grow.
    if (out.alloc_count == 0 && out.free_index == 0 && (out.limit < begin || out.limit > out.range.end))
        out.limit = begin + out.elem_count * out.elem_size;
    if (!sound(out)) return Outcome::damaged;
    // Spans whose generation is behind hold the marks of a finished collection: h-2 waits, h-1 is being swept, h+1 was
    // cached before and is not swept yet (go1.16–1.27 src/runtime/mheap.go, mspan.sweepgen).
    std::uint32_t behind = heap_sweepgen_ - out.sweepgen;
    out.needs_sweep = heap_sweepgen_ != 0 && (behind == 2 || behind == 1 || behind == 0xffffffff);
    std::size_t bitmap = (out.elem_count + 63) / 64 * 8;  // newMarkBits rounds up to whole words
    out.alloc_bytes = cursor.data_at(out.alloc_bits, bitmap);
    out.mark_bytes = cursor.data_at(out.gcmark_bits, bitmap);
    if (out.large()) return Outcome::good;
    if (out.range.size() <= (1u << 17)) out.divide = static_cast<std::uint32_t>(0xffffffffu / out.elem_size + 1);
    return Outcome::good;
}

bool keeps_arena_bitmaps(const RuntimeLayout& layout, const Version& version) {
    return layout.heapArena.bitmap.present() || !version.at_least(22);
}

void describe_pointers(Span& s, const Memory& memory, HeapEra era) {
    if (s.state != SpanState::in_use) return;
    bool small = !s.large() && s.elem_size <= largest_in_span_bitmap;
    if (era.inline_marks && small && s.elem_size >= 16) {
        s.inline_mark_bits = true;
        s.mark_bytes = memory.data_at(s.range.end - inline_mark_block + inline_marks_offset,
                                      inline_mark_block - inline_marks_offset);
    }
    if (s.noscan()) return;
    if (era.arena_bitmaps)
        s.pointers = PointerInfo::arena_bitmap;
    else if (small)
        s.pointers = PointerInfo::span_bitmap;
    else
        s.pointers = s.large() ? PointerInfo::span_type : PointerInfo::header;
}

Result<std::vector<std::uint64_t>> read_arenas(const Memory& memory, const RuntimeLayout& layout, Address mheap,
                                               std::uint64_t offset) {
    std::vector<std::uint64_t> numbers;
    auto add = [&](Place place, std::string_view name) -> Result<void> {
        auto slice = TRY(load_slice(memory, mheap, place, name, arena_limit));
        for (std::uint64_t i = 0; i < slice.len; ++i) {
            auto index = TRY(memory.load<std::uint64_t>(Address{slice.data} + i * 8));
            numbers.push_back((index * arena_bytes + offset) / arena_bytes);
        }
        return {};
    };
    TRY(add(layout.mheap.allArenas, "mheap_.allArenas"));
    if (layout.mheap.userArenaArenas.present()) TRY(add(layout.mheap.userArenaArenas, "mheap_.userArenaArenas"));
    return numbers;
}

}  // namespace incident::go
