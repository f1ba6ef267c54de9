// HeapSlots: a number for every slot of every in-use span, so that whatever is known per object lies in flat arrays and
// bitmaps. An address becomes a slot in O(1): page table, then one multiplication.
//
// Surprising: the numbers have holes. Each span begins at a multiple of 64, so that one word of a bitmap belongs to one
// span and number → span is a table look-up; a large object takes 64 numbers. Arrays are sized by limit(), and loops
// over all objects go by span (for_each_slot) or by the set bits of a bitmap.
#pragma once

#include <atomic>
#include <bit>
#include <cstdint>
#include <cstring>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "go/heap/spans.h"

namespace incident::go {

using SlotId = std::uint32_t;
inline constexpr SlotId no_slot = 0xffffffff;

/// One bit per SlotId. set_shared() may be called by several threads at once.
class SlotBits {
public:
    SlotBits() = default;
    explicit SlotBits(SlotId limit) : words_((std::size_t{limit} + 63) / 64) {}
    bool test(SlotId slot) const noexcept { return (words_[slot / 64] >> (slot % 64) & 1) != 0; }
    /// True when the bit was clear.
    bool set(SlotId slot) noexcept {
        std::uint64_t bit = std::uint64_t{1} << (slot % 64), before = words_[slot / 64];
        words_[slot / 64] = before | bit;
        return (before & bit) == 0;
    }
    bool set_shared(SlotId slot) noexcept {
        std::atomic_ref<std::uint64_t> word(words_[slot / 64]);
        std::uint64_t bit = std::uint64_t{1} << (slot % 64);
        if ((word.load(std::memory_order_relaxed) & bit) != 0) return false;
        return (word.fetch_or(bit, std::memory_order_relaxed) & bit) == 0;
    }
    void clear(SlotId slot) noexcept { words_[slot / 64] &= ~(std::uint64_t{1} << (slot % 64)); }
    std::uint64_t count() const noexcept {
        std::uint64_t sum = 0;
        for (std::uint64_t word : words_) sum += static_cast<unsigned>(std::popcount(word));
        return sum;
    }
    /// Calls fn(SlotId) for each set bit, ascending.
    template <class Fn>
    void for_each(Fn&& fn) const {
        for (std::size_t i = 0; i < words_.size(); ++i)
            for (std::uint64_t word = words_[i]; word != 0; word &= word - 1)
                fn(static_cast<SlotId>(i * 64 + static_cast<unsigned>(std::countr_zero(word))));
    }
    std::span<std::uint64_t> words() noexcept { return words_; }
    std::span<const std::uint64_t> words() const noexcept { return words_; }
    bool empty() const noexcept { return words_.empty(); }
    bool operator==(const SlotBits&) const = default;

private:
    std::vector<std::uint64_t> words_;
};

/// What scanning needs of one span.
struct SlotSpan {
    Address begin;
    const std::byte* data = nullptr;  ///< of the whole span, in place; null: not all there, or not contiguous
    const std::byte* bits = nullptr;  ///< span_bitmap: the pointer bits of the span's first word; null: not readable
    SlotId first = 0;
    std::uint32_t words = 0;  ///< of one slot, 8 bytes each
    std::uint32_t count = 0;  ///< slots
    PointerInfo pointers = PointerInfo::none;
};

class HeapSlots {
public:
    /// Fails with unsupported when the heap has more slots than SlotId has numbers.
    static Result<HeapSlots> build(const Memory& memory, const Spans& spans);

    /// All numbers are below it; not all below it are slots.
    SlotId limit() const noexcept { return limit_; }
    /// The slot that holds `a`, interior addresses too; no_slot: no object's memory. [any thread]
    SlotId find(Address a) const noexcept { return find_kind(a).slot; }
    struct Found {
        SlotId slot = no_slot;
        bool noscan = false;
        bool operator==(const Found&) const = default;
    };
    Found find_kind(Address a) const noexcept { return find_place(a); }
    /// A slot and where in it. `shape`: what slots of one size and kind have in common, for what is known of all of
    /// them; no_shape: ask slot_span().
    struct Place : Found {
        std::uint16_t shape = no_shape;
        std::uint32_t offset = 0;  ///< bytes from the slot's base; with a shape
    };
    Place find_place(Address a) const noexcept {
        std::uint64_t arena = (a.value >> 26) - first_arena_;
        if (arena >= arena_count_) return {};
        const Page* pages = arenas_[arena];
        if (pages == nullptr) return {};
        const Page page = pages[a.value >> 13 & 0x1fff];
        const Shape& shape = shapes_[page.shape];
        std::uint64_t offset = (static_cast<std::uint64_t>(page.page & page_mask) << 13) + (a.value & 0x1fff);
        auto index = static_cast<std::uint32_t>((offset * shape.divide) >> 32);
        if (index < shape.count)
            return {{page.first + index, (page.page & page_noscan) != 0},
                    shape.size != 0 ? page.shape : no_shape,
                    static_cast<std::uint32_t>(offset) - index * shape.size};
        return page.shape == slow_shape ? Place{find_slowly(a, page.first)} : Place{};
    }
    static constexpr std::uint16_t no_shape = 0;
    std::uint32_t shape_size(std::uint16_t shape) const noexcept { return shapes_[shape].size; }  ///< bytes of a slot
    bool shape_has_header(std::uint16_t shape) const noexcept { return shapes_[shape].header; }
    std::optional<SlotId> slot_of(Address a) const noexcept {
        SlotId slot = find(a);
        return slot == no_slot ? std::nullopt : std::optional(slot);
    }
    /// Every address outside [low, high) is no slot: the quick test before find().
    AddressRange hull() const noexcept { return {{first_arena_ << 26}, {(first_arena_ + arena_count_) << 26}}; }

    bool is_slot(SlotId slot) const noexcept {
        return slot < limit_ && slot - slot_span(slot).first < slot_span(slot).count;
    }
    std::uint32_t span_index(SlotId slot) const noexcept { return span_of_block_[slot / 64]; }
    const SlotSpan& slot_span(SlotId slot) const noexcept { return slot_spans_[span_index(slot)]; }
    std::span<const SlotSpan> slot_spans() const noexcept { return slot_spans_; }  ///< parallel to in_use()
    const Span& span(SlotId slot) const noexcept { return spans_.all()[in_use_[span_index(slot)]]; }
    const Span& span_at(std::uint32_t span_index) const noexcept { return spans_.all()[in_use_[span_index]]; }
    std::uint32_t index(SlotId slot) const noexcept { return slot - slot_span(slot).first; }
    Address base(SlotId slot) const noexcept {
        const SlotSpan& s = slot_span(slot);
        return s.begin + std::uint64_t{slot - s.first} * s.words * 8;
    }
    std::uint64_t size(SlotId slot) const noexcept { return std::uint64_t{slot_span(slot).words} * 8; }
    bool noscan(SlotId slot) const noexcept { return slot_span(slot).pointers == PointerInfo::none; }
    /// Also true where the bits that would say cannot be read: see unknown().
    bool allocated(SlotId slot) const noexcept { return allocated_.test(slot); }
    SlotState state(SlotId slot) const noexcept { return Spans::slot_state(span(slot), index(slot)); }
    const SlotBits& allocated_bits() const noexcept { return allocated_; }
    std::uint64_t unknown() const noexcept { return unknown_; }      ///< slots whose state cannot be read
    std::uint64_t too_large() const noexcept { return too_large_; }  ///< objects of 32 GB and more: left out
    const Spans& spans() const noexcept { return spans_; }
    const Memory& memory() const noexcept { return *memory_; }

    /// Bytes of an object in place; null when they are not all there or not contiguous.
    const std::byte* data(SlotId slot) const noexcept { return data(slot, slot_span(slot)); }
    const std::byte* data(SlotId slot, const SlotSpan& s) const noexcept {
        if (s.data != nullptr) return s.data + std::uint64_t{slot - s.first} * s.words * 8;
        return memory_->data_at(base(slot), size(slot));
    }
    /// The first lines of an object and its pointer bits, some steps before it is read.
    void prefetch(SlotId slot) const noexcept { prefetch(slot, slot_span(slot)); }
    static void prefetch(SlotId slot, const SlotSpan& s) noexcept {
        if (s.data == nullptr) return;
        std::uint64_t at = std::uint64_t{slot - s.first} * s.words * 8;
        __builtin_prefetch(s.data + at);
        if (s.words > 8) __builtin_prefetch(s.data + at + 64);
        if (s.words > 16) __builtin_prefetch(s.data + at + 128);
        if (s.bits != nullptr) __builtin_prefetch(s.bits + at / 64);
    }

    /// Calls fn(SlotId, its span) for the slots of a block, 64 numbers from `first` on, that `bits` names, ascending;
    /// while it looks at one, those behind it are on their way into the cache.
    template <class Fn>
    void for_each_of_block(SlotId first, std::uint64_t bits, Fn&& fn) const {
        constexpr int ahead = 16;
        const SlotSpan& span = slot_span(first);
        const auto lowest = [&](std::uint64_t of) { return first + static_cast<unsigned>(std::countr_zero(of)); };
        std::uint64_t coming = bits;
        for (int i = 0; i < ahead && coming != 0; ++i, coming &= coming - 1) prefetch(lowest(coming), span);
        for (; bits != 0; bits &= bits - 1) {
            fn(lowest(bits), span);
            if (coming == 0) continue;
            prefetch(lowest(coming), span);
            coming &= coming - 1;
        }
    }
    /// Calls fn(SlotId) for every slot, free ones too.
    template <class Fn>
    void for_each_slot(Fn&& fn) const {
        for (const SlotSpan& s : slot_spans_)
            for (std::uint32_t i = 0; i < s.count; ++i) fn(s.first + i);
    }

private:
    static constexpr std::uint16_t page_mask = 0x7fff, page_noscan = 0x8000;
    struct Page {                 // 8 bytes per 8 KiB: a heap of 1 GB has them in the second-level cache
        SlotId first = 0;         // of its span; slow: index of the span
        std::uint16_t page = 0;   // within the span (0 where the shape's divide is 0), and page_noscan
        std::uint16_t shape = 0;  // index into shapes_
    };
    struct Shape {                 // what spans of one size class have in common
        std::uint32_t divide = 0;  // as in Span; 0: the index is 0
        std::uint32_t count = 0;   // slots of the span; 0: none, or ask slowly
        std::uint32_t size = 0;    // bytes of a slot; 0: a large object, whose pages do not say which they are
        bool header = false;       // PointerInfo::header
        bool operator==(const Shape&) const = default;
    };
    static constexpr std::uint16_t slow_shape = 1;       // the other fields cannot say
    static constexpr std::size_t most_shapes = 1 << 12;  // sound heaps have 69
    explicit HeapSlots(const Memory& memory, const Spans& spans) : memory_(&memory), spans_(spans) {}
    Found find_slowly(Address a, std::uint32_t span_index) const noexcept;
    std::uint16_t shape_of(const Span& span);
    Result<void> index_pages();
    void note_allocated();

    const Memory* memory_;
    Spans spans_;  // shares its state
    SlotId limit_ = 0;
    std::uint64_t unknown_ = 0, too_large_ = 0;
    std::uint64_t first_arena_ = 0, arena_count_ = 0;
    std::vector<const Page*> arenas_;
    std::vector<std::unique_ptr<Page[]>> pages_;
    std::vector<Shape> shapes_ = {{}, {}};
    std::vector<SlotSpan> slot_spans_;
    std::vector<std::uint32_t> in_use_;         // index into spans_.all()
    std::vector<std::uint32_t> span_of_block_;  // per 64 numbers
    SlotBits allocated_;
};

}  // namespace incident::go
