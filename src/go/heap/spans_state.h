// What Spans holds: private to go/heap. The page index is per arena (64 MB, 8192 pages), so its size follows the arenas
// that exist and not the address space.
#pragma once

#include <array>
#include <memory>
#include <vector>

#include "go/heap/spans.h"

namespace incident::go {

inline constexpr std::uint64_t page_bytes = 8192;          // runtime.pageSize, all versions
inline constexpr std::uint64_t arena_bytes = 64ull << 20;  // heapArenaBytes on 64-bit unix
inline constexpr std::size_t pages_per_arena = arena_bytes / page_bytes;
inline constexpr std::uint32_t no_span = 0xffffffff;

struct Spans::State {
    std::vector<Span> spans;                                       // sorted by address, disjoint
    std::vector<std::uint64_t> arena_numbers;                      // sorted address >> 26
    using PageTable = std::array<std::uint32_t, pages_per_arena>;  // index into spans
    std::vector<std::unique_ptr<PageTable>> pages;  // parallel to arena_numbers; null: no span lies in it
    // Direct table over [first, first + direct.size()) when the arenas lie close together (they nearly always do); else
    // empty.
    std::uint64_t first_arena = 0;
    std::vector<std::uint32_t> direct;  // index into pages, no_span = no arena
    std::vector<AddressRange> arenas;
    SpanCheck check;
    HeapTotals totals;
    bool complete = true;
    std::size_t tables = 0, table_limit = 1024;  // a damaged list of arenas cannot make us fill memory with tables
    std::vector<report::Gap> gaps;

    std::uint32_t find_arena(Address a) const noexcept;
    void index_arenas(std::vector<std::uint64_t> numbers);
    PageTable* table_of(Address a);
    std::vector<Address> place(const std::vector<Span>& unsorted);
    void examine(const Memory& memory, const RuntimeLayout& layout, const Version& version, unsigned jobs);
};

}  // namespace incident::go
