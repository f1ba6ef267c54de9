// Spans: address → object base, size class, slot state; free page; stack span. For all Go versions, from mheap_.allspans.
// Surprising: arenas[..].spans[page] is stale for freed pages, so the index is built from allspans and states only.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "core/memory.h"
#include "go/binary/runtime.h"

namespace incident::go {

enum class SpanState : std::uint8_t { dead, in_use, manual };
enum class SlotState : std::uint8_t { allocated, free, unknown };

struct Span {                       ///< one mspan, flat
    Address mspan;
    AddressRange range;             ///< pages
    Address limit;                  ///< end of the last object
    std::uint32_t elem_size = 0;
    std::uint32_t elem_count = 0;
    std::uint32_t free_index = 0;
    std::uint32_t alloc_count = 0;  ///< as the runtime counts
    std::uint8_t span_class = 0;
    SpanState state = SpanState::dead;
    Address alloc_bits, gcmark_bits;
    Address large_type;             ///< 1.22+, null otherwise
    Address specials;
    bool inline_mark_bits = false;  ///< green tea: mark bits in the span itself
    bool noscan() const { return span_class & 1; }
    unsigned size_class() const { return span_class >> 1; }
};

struct ObjectRef {
    const Span* span = nullptr;
    std::uint32_t index = 0;
    Address base;
    std::uint64_t size = 0;         ///< slot size in bytes
    SlotState state = SlotState::unknown;
};

class Spans {
public:
    static Result<Spans> read(const Memory& memory, const Runtime& runtime, unsigned jobs);

    std::span<const Span> all() const;              ///< sorted by address; in_use and manual only
    const Span* find(Address a) const noexcept;     ///< O(1) per arena page [any thread]
    std::optional<ObjectRef> find_object(Address a) const;
    SlotState slot_state(const Span& span, std::uint32_t index) const;
    /// A page inside an arena that belongs to no span: given back or never used.
    bool is_free_page(Address a) const;
    bool in_arena(Address a) const;
    std::span<const AddressRange> arenas() const;
    const std::vector<report::Gap>& gaps() const;

private:
    struct State;
    std::shared_ptr<const State> state_;
};

}  // namespace incident::go
