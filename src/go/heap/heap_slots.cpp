// HeapSlots: numbering and the page table. See its header.
#include "go/heap/heap_slots.h"

#include <algorithm>

#include "go/heap/spans_state.h"

namespace incident::go {

namespace {

constexpr std::uint64_t arena_spread_limit = 1ull << 22;  // arenas between the lowest and the highest: 256 TB
constexpr std::uint64_t slot_limit = 0xffffff00;

}  // namespace

Result<HeapSlots> HeapSlots::build(const Memory& memory, const Spans& spans) {
    HeapSlots slots(memory, spans);
    std::uint64_t next = 0;
    auto all = spans.all();
    for (std::uint32_t i = 0; i < all.size(); ++i) {
        const Span& s = all[i];
        if (s.state != SpanState::in_use || s.elem_count == 0) continue;
        std::uint64_t words = s.elem_size / 8, blocks = (std::uint64_t{s.elem_count} + 63) / 64;
        if (words > UINT32_MAX) ++slots.too_large_;
        if (words == 0 || words > UINT32_MAX) continue;
        if ((next += blocks * 64) > slot_limit)
            return fail(ErrorKind::unsupported, "the heap has more slots than this analyser can number");
        SlotSpan entry;
        entry.begin = s.range.begin;
        entry.data = memory.data_at(s.range.begin, s.range.size());
        entry.first = static_cast<SlotId>(next - blocks * 64);
        entry.words = static_cast<std::uint32_t>(words);
        entry.count = s.elem_count;
        entry.pointers = s.pointers;
        if (s.pointers == PointerInfo::span_bitmap)
            entry.bits = memory.data_at(Spans::heap_bits(s), s.range.size() / 64);
        slots.span_of_block_.insert(slots.span_of_block_.end(), blocks,
                                    static_cast<std::uint32_t>(slots.slot_spans_.size()));
        slots.slot_spans_.push_back(entry);
        slots.in_use_.push_back(i);
    }
    slots.limit_ = static_cast<SlotId>(next);
    TRY(slots.index_pages());
    slots.note_allocated();
    return slots;
}

Result<void> HeapSlots::index_pages() {
    std::uint64_t low = UINT64_MAX, high = 0;
    for (std::uint32_t i : in_use_) {
        low = std::min(low, spans_.all()[i].range.begin.value >> 26);
        high = std::max(high, (spans_.all()[i].range.end.value - 1) >> 26);
    }
    if (in_use_.empty()) return {};
    if (high - low >= arena_spread_limit) return fail(ErrorKind::unsupported, "the heap's arenas lie too far apart");
    first_arena_ = low;
    arena_count_ = high - low + 1;
    arenas_.resize(arena_count_);
    std::vector<Page*> writable(arena_count_);
    for (std::uint32_t at = 0; at < in_use_.size(); ++at) {
        const Span& s = spans_.all()[in_use_[at]];
        const SlotSpan& entry = slot_spans_[at];
        const std::uint16_t shape = shape_of(s);
        for (Address a = s.range.begin; a < s.range.end; a += page_bytes) {
            std::uint64_t arena = (a.value >> 26) - first_arena_;
            if (!spans_.in_arena(a)) {  // a damaged span over a gap between arenas
                a = a.align_down(arena_bytes) + (arena_bytes - page_bytes);
                continue;
            }
            if (writable[arena] == nullptr) {
                pages_.push_back(std::make_unique<Page[]>(pages_per_arena));
                arenas_[arena] = writable[arena] = pages_.back().get();
            }
            Page& page = writable[arena][a.value >> 13 & 0x1fff];
            page = {shape == slow_shape ? at : entry.first, 0, shape};
            if (shape == slow_shape) continue;
            if (!s.large()) page.page = static_cast<std::uint16_t>((a - s.range.begin) >> 13);
            if (s.pointers == PointerInfo::none) page.page |= page_noscan;
        }
    }
    return {};
}

std::uint16_t HeapSlots::shape_of(const Span& span) {
    if (span.large() ? span.elem_count != 1 : span.divide == 0 || span.range.size() >> 13 > page_mask)
        return slow_shape;
    const Shape shape{
        span.large() ? 0 : span.divide, span.elem_count,
        span.large() || span.elem_size > UINT32_MAX ? 0 : static_cast<std::uint32_t>(span.elem_size / 8 * 8),
        span.pointers == PointerInfo::header};
    auto known = std::ranges::find(shapes_, shape);
    if (known == shapes_.end()) {
        if (shapes_.size() >= most_shapes) return slow_shape;
        known = shapes_.insert(shapes_.end(), shape);
    }
    return static_cast<std::uint16_t>(known - shapes_.begin());
}

HeapSlots::Found HeapSlots::find_slowly(Address a, std::uint32_t span_index) const noexcept {
    const SlotSpan& entry = slot_spans_[span_index];
    std::uint64_t offset = a.value - entry.begin.value;
    std::uint64_t index = offset / (std::uint64_t{entry.words} * 8);
    if (index >= entry.count) return {};
    return {entry.first + static_cast<SlotId>(index), entry.pointers == PointerInfo::none};
}

void HeapSlots::note_allocated() {
    allocated_ = SlotBits(limit_);
    auto words = allocated_.words();
    for (std::uint32_t at = 0; at < in_use_.size(); ++at) {
        const Span& s = spans_.all()[in_use_[at]];
        const SlotSpan& entry = slot_spans_[at];
        for (std::uint32_t i = 0; i < entry.count; i += 64) {
            std::uint64_t word = 0;
            if (s.alloc_bytes != nullptr)
                std::memcpy(&word, s.alloc_bytes + i / 8, 8);
            else
                word = ~std::uint64_t{0};
            if (s.free_index > i)
                word |= s.free_index >= i + 64 ? ~std::uint64_t{0} : (std::uint64_t{1} << (s.free_index - i)) - 1;
            if (entry.count - i < 64) word &= (std::uint64_t{1} << (entry.count - i)) - 1;
            words[(entry.first + i) / 64] = word;
        }
        if (s.alloc_bytes == nullptr) unknown_ += s.elem_count - std::min(s.free_index, s.elem_count);
    }
}

}  // namespace incident::go
