// ChunkMap: which chunk covers an address of one walked heap. Four bits per 16 bytes of heap say what begins there, and
// one number per 4 KB says which chunk covers the page's first byte: 1/32 of the heap, and finding looks at 17 words at
// most.
#pragma once

#include <algorithm>
#include <bit>
#include <cstdint>
#include <optional>
#include <vector>

#include "base/address.h"
#include "native/malloc.h"

namespace incident::native {

class ChunkMap {
public:
    static constexpr std::uint64_t unit = 16;  ///< bytes: MALLOC_ALIGNMENT of all 64-bit glibc
    static constexpr std::uint64_t units_per_page = 256;

    /// `range.begin` is 16-aligned.
    explicit ChunkMap(AddressRange range)
        : range_(range),
          codes_((range.size() / unit + 16) / 16 + 1),
          page_chunk_(range.size() / (unit * units_per_page) + 1, 0) {}

    AddressRange range() const { return range_; }
    /// The walk ended early: what follows is not part of the heap.
    void truncate(Address end) { range_.end = std::min(range_.end, end); }

    /// Chunks are appended in address order; [begin, end) within the range.
    void append(Address begin, Address end, ChunkState state) {
        std::uint64_t first = unit_of(begin), last = unit_of(end);
        put(first, state);
        while (next_page_ * units_per_page < last && next_page_ < page_chunk_.size()) page_chunk_[next_page_++] = first;
    }
    void prefetch(Address chunk) const { __builtin_prefetch(&codes_[unit_of(chunk) / 16], 1); }
    void set(Address chunk, ChunkState state) { put(unit_of(chunk), state); }
    /// What begins exactly at `chunk`; nullopt: nothing does.
    std::optional<ChunkState> at(Address chunk) const noexcept {
        if (!range_.contains(chunk) || !chunk.is_aligned(unit)) return std::nullopt;
        unsigned code = code_at(unit_of(chunk));
        return code == 0 ? std::nullopt : std::optional(static_cast<ChunkState>(code - 1));
    }
    /// Beginning of what covers `a`, which lies in the range; null: nothing was appended there.
    Address begin_of(Address a) const noexcept {
        std::uint64_t at = unit_of(a);
        std::uint64_t page_first = at / units_per_page * units_per_page;
        for (std::uint64_t word = at / 16;; --word) {
            std::uint64_t codes = codes_[word];
            if (word == at / 16 && at % 16 != 15) codes &= (std::uint64_t{1} << (at % 16 + 1) * 4) - 1;
            if (codes != 0) return address_of(word * 16 + (63 - static_cast<unsigned>(std::countl_zero(codes))) / 4);
            if (word * 16 == page_first) break;
        }
        if (page_first / units_per_page >= next_page_) return {};
        return address_of(page_chunk_[page_first / units_per_page]);
    }
    /// Where the next thing begins after `chunk`; the range's end when nothing does.
    Address next_after(Address chunk) const noexcept {
        std::uint64_t at = unit_of(chunk) + 1;
        for (std::uint64_t word = at / 16; word < codes_.size(); ++word) {
            std::uint64_t codes = codes_[word];
            if (word == at / 16) codes &= ~std::uint64_t{0} << at % 16 * 4;
            if (codes != 0) return address_of(word * 16 + static_cast<unsigned>(std::countr_zero(codes)) / 4);
        }
        return range_.end;
    }

private:
    std::uint64_t unit_of(Address a) const noexcept { return (a.value - range_.begin.value) / unit; }
    Address address_of(std::uint64_t index) const noexcept { return range_.begin + index * unit; }
    unsigned code_at(std::uint64_t index) const noexcept { return codes_[index / 16] >> index % 16 * 4 & 15; }
    void put(std::uint64_t index, ChunkState state) {
        std::uint64_t& word = codes_[index / 16];
        std::uint64_t shift = index % 16 * 4;
        word = (word & ~(std::uint64_t{15} << shift)) | (static_cast<std::uint64_t>(state) + 1) << shift;
    }

    AddressRange range_;
    std::vector<std::uint64_t> codes_;       ///< 16 codes of 4 bits: state + 1, 0 = nothing begins here
    std::vector<std::uint64_t> page_chunk_;  ///< unit of the chunk that covers the page's first unit
    std::uint64_t next_page_ = 0;
};

}  // namespace incident::native
