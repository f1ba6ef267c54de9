// HeapPointers: which words of an object hold pointers, as the collector sees it, for every way in which Go 1.16 to
// 1.27 write that down (PointerInfo in spans.h). Exact: what it does not visit, the collector does not follow either.
//
// Surprising: up to Go 1.19 the bitmap of an object may end early ("dead"), with stale bits behind; 1.20 and 1.21 say
// so in a second bitmap, noMorePtrs. Since 1.22 the first word of a larger object is its type, and no pointer.
#pragma once

#include <bit>
#include <cstring>
#include <memory>
#include <vector>

#include "go/heap/heap_slots.h"
#include "go/heap/type_masks.h"

namespace incident::go {

class HeapPointers {
public:
    HeapPointers(const Memory& memory, const RuntimeLayout& layout, const Version& version,
                 std::span<const ModuleData> modules, Address mheap, const HeapSlots& slots);

    /// Calls fn(offset in bytes from the slot's base, value) for each pointer word of the object, null ones left out.
    /// False: some of its words are not known to be pointers or not, or could not be read. [any thread]
    template <class Fn>
    bool for_each_pointer_word(SlotId slot, Fn&& fn) const {
        return for_each_pointer_word(slot, 0, slots_.slot_span(slot).words, fn);
    }
    /// The same for the words [begin, end) of it: large objects are split between workers.
    template <class Fn>
    bool for_each_pointer_word(SlotId slot, std::uint64_t begin, std::uint64_t end, Fn&& fn) const {
        return for_each_pointer_word(slot, slots_.slot_span(slot), begin, end, fn);
    }
    template <class Fn>
    bool for_each_pointer_word(SlotId slot, const SlotSpan& span, std::uint64_t begin, std::uint64_t end,
                               Fn&& fn) const {
        const std::byte* data = slots_.data(slot, span);
        if (data == nullptr) return slow_words(slot, begin, end, fn);
        return for_each_mask(slot, span, data, begin, end, [&](std::uint64_t word, std::uint64_t mask) {
            for (; mask != 0; mask &= mask - 1) {
                std::uint64_t at = (word + static_cast<unsigned>(std::countr_zero(mask))) * 8, value;
                std::memcpy(&value, data + at, 8);
                if (value != 0) fn(at, value);
            }
        });
    }
    /// Calls visit(first word, mask): bit i of mask says that word first+i is a pointer. `data` may be null.
    template <class Visit>
    bool for_each_mask(SlotId slot, const std::byte* data, std::uint64_t begin, std::uint64_t end,
                       Visit&& visit) const {
        return for_each_mask(slot, slots_.slot_span(slot), data, begin, end, visit);
    }
    template <class Visit>
    bool for_each_mask(SlotId slot, const SlotSpan& s, const std::byte* data, std::uint64_t begin, std::uint64_t end,
                       Visit&& visit) const {
        switch (s.pointers) {
            case PointerInfo::none: return true;
            case PointerInfo::span_bitmap: {
                if (s.bits == nullptr) return false;
                std::uint64_t mask = load_bits(s.bits, std::uint64_t{slot - s.first} * s.words, s.words);
                visit(0, clip(mask, 0, begin, end));
                return true;
            }
            case PointerInfo::arena_bitmap:
                return arena_masks(slot, begin, std::min<std::uint64_t>(end, s.words), visit);
            case PointerInfo::header:
                return tile(*masks_->find(type_of(slot, data)), 1, begin, std::min<std::uint64_t>(end, s.words), visit);
            case PointerInfo::span_type: {
                Address type = slots_.span(slot).large_type;
                if (type.is_null()) return true;  // go1.22 src/runtime/mbitmap.go: being zeroed, no pointers yet
                return tile(*masks_->find(type), 0, begin, std::min<std::uint64_t>(end, s.words), visit);
            }
        }
        return false;
    }
    /// The *_type that the allocator noted for this object; null: this runtime, or this size of object, has none.
    Address type_of(SlotId slot) const noexcept { return type_of(slot, nullptr); }
    const TypeMasks& masks() const { return *masks_; }
    const HeapSlots& slots() const { return slots_; }

private:
    struct Arena {  // ≤1.21: bitmaps of one heapArena; null: not readable
        const std::byte* bitmap = nullptr;
        const std::byte* no_more = nullptr;
    };
    static constexpr std::uint64_t arena_words = (64ull << 20) / 8;

    Address type_of(SlotId slot, const std::byte* data) const noexcept;
    void read_arenas(const Memory& memory, const RuntimeLayout& layout, Address mheap);
    const Arena* arena(std::uint64_t word) const noexcept {
        std::uint64_t at = word / arena_words - first_arena_;
        return at < arenas_.size() ? &arenas_[at] : nullptr;
    }
    /// `count` (at most 64) bits from bit `at` on. Whole words, as the runtime reads them: nothing beyond the bitmap.
    static std::uint64_t load_bits(const std::byte* bits, std::uint64_t at, std::uint32_t count) noexcept {
        std::uint64_t word, next, shift = at % 64;
        std::memcpy(&word, bits + at / 64 * 8, 8);
        word >>= shift;
        if (shift + count > 64) {
            std::memcpy(&next, bits + at / 64 * 8 + 8, 8);
            word |= next << (64 - shift);
        }
        return count < 64 ? word & ((std::uint64_t{1} << count) - 1) : word;
    }
    static std::uint64_t clip(std::uint64_t mask, std::uint64_t word, std::uint64_t begin, std::uint64_t end) noexcept {
        if (begin > word) mask &= begin - word >= 64 ? 0 : ~std::uint64_t{0} << (begin - word);
        if (end < word + 64) mask &= end <= word ? 0 : (std::uint64_t{1} << (end - word)) - 1;
        return mask;
    }
    /// Repeats a type's mask over [start, end): the elements of an array.
    template <class Visit>
    static bool tile(const TypeMask& mask, std::uint64_t start, std::uint64_t begin, std::uint64_t end, Visit&& visit) {
        if (!mask.known) return false;
        if (mask.pointers == 0 || mask.words == 0) return true;
        std::uint64_t step = mask.pattern_words != 0 ? mask.pattern_words : mask.words;
        std::uint64_t span = mask.pattern_words != 0 ? 1 : mask.bits.size();
        std::uint64_t at = start + (begin > start ? (begin - start) / step * step : 0);
        for (; at < end; at += step)
            for (std::uint64_t i = 0; i < span && at + i * 64 < end; ++i)
                if (std::uint64_t bits = clip(mask.bits[i], at + i * 64, begin, end); bits != 0)
                    visit(at + i * 64, bits);
        return true;
    }
    /// Up to 64 words of a two-bit bitmap (pointer bits in the low half of each byte, scan bits in the high one).
    static std::uint64_t two_bits(const std::byte* bitmap, std::uint64_t at, std::uint32_t count, bool& dead) noexcept {
        std::uint64_t pointers = 0, scan = 0;
        for (std::uint32_t done = 0; done < count;) {
            auto byte = std::to_integer<std::uint64_t>(bitmap[(at + done) / 4]);
            std::uint32_t shift = (at + done) % 4;
            pointers |= (byte & 15) >> shift << done;
            scan |= (byte >> 4) >> shift << done;
            done += 4 - shift;
        }
        std::uint64_t valid = count < 64 ? (std::uint64_t{1} << count) - 1 : ~std::uint64_t{0};
        if (std::uint64_t ended = ~scan & valid; ended != 0) {
            dead = true;
            valid = (ended & -ended) - 1;
        }
        return pointers & valid;
    }
    template <class Visit>
    bool arena_masks(SlotId slot, std::uint64_t begin, std::uint64_t end, Visit&& visit) const {
        std::uint64_t base = slots_.base(slot).value / 8;
        for (std::uint64_t at = begin; at < end;) {
            const Arena* place = arena(base + at);
            if (place == nullptr || place->bitmap == nullptr) return false;
            std::uint64_t in_arena = (base + at) % arena_words;
            std::uint64_t count = std::min({end - at, arena_words - in_arena, std::uint64_t{64}});
            bool ended = false;
            std::uint64_t mask;
            if (one_bit_) {
                count = std::min(count, 64 - in_arena % 64);
                mask = load_bits(place->bitmap, in_arena, static_cast<std::uint32_t>(count));
                // The flag counts only where the object goes on behind this word of the bitmap.
                if (end - at > count && in_arena % 64 + count == 64 && place->no_more != nullptr)
                    ended = (std::to_integer<unsigned>(place->no_more[in_arena / 512]) >> (in_arena / 64 % 8) & 1) != 0;
            } else {
                mask = two_bits(place->bitmap, in_arena, static_cast<std::uint32_t>(count), ended);
            }
            if (mask != 0) visit(at, mask);
            if (ended) return true;
            at += count;
        }
        return true;
    }
    /// Objects whose bytes are cut or split over segments of the core: word by word.
    template <class Fn>
    bool slow_words(SlotId slot, std::uint64_t begin, std::uint64_t end, Fn&& fn) const {
        MemoryCursor cursor(slots_.memory());
        Address base = slots_.base(slot);
        bool all = true;
        bool known = for_each_mask(slot, nullptr, begin, end, [&](std::uint64_t word, std::uint64_t mask) {
            for (; mask != 0; mask &= mask - 1) {
                std::uint64_t at = (word + static_cast<unsigned>(std::countr_zero(mask))) * 8, value = 0;
                if (!cursor.load(base + at, value)) all = false;
                if (value != 0) fn(at, value);
            }
        });
        return known && all;
    }

    const HeapSlots& slots_;
    std::unique_ptr<TypeMasks> masks_;
    bool one_bit_ = false;
    std::uint64_t first_arena_ = 0;
    std::vector<Arena> arenas_;
};

}  // namespace incident::go
