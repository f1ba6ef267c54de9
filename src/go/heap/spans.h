// Spans: address → object base, size class, slot state; free page; stack span. For all Go versions, from
// mheap_.allspans.
//
// Surprising: heapArena.spans[page] is stale for freed pages, so the index is built from allspans and states only. A
// slot is allocated when its index lies below freeindex OR its allocBits bit is set: slots handed out since the last
// sweep have no bit. allocCount of a span equals the number of such slots at every moment but between two instructions
// of mallocgc, also while the span is cached in a P; reading checks it for every span (`check()`).
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "core/memory.h"
#include "go/binary/runtime.h"

namespace incident::go {

enum class SpanState : std::uint8_t { dead, in_use, manual };
enum class SlotState : std::uint8_t { allocated, free, unknown };

/// Where the collector finds the pointer map of the objects in a span.
enum class PointerInfo : std::uint8_t {
    none,          ///< noscan: no pointers
    arena_bitmap,  ///< ≤1.21, 1.22 with noallocheaders: heapArena.bitmap
    span_bitmap,   ///< 1.22+, elem_size ≤ 512: one bit per word at `heap_bits()`
    header,        ///< 1.22+, larger: the first word of each object is its *_type
    span_type,     ///< 1.22+, large objects: Span::large_type
};

struct Span {  ///< one mspan, flat
    Address mspan;
    AddressRange range;           ///< pages
    Address limit;                ///< end of the last object
    std::uint64_t elem_size = 0;  ///< bytes; manual spans: of the stacks carved from it, 0 = not for stacks
    std::uint32_t elem_count = 0;
    std::uint32_t free_index = 0;
    std::uint32_t alloc_count = 0;  ///< as the runtime counts
    std::uint32_t sweepgen = 0;
    std::uint8_t span_class = 0;
    SpanState state = SpanState::dead;
    PointerInfo pointers = PointerInfo::none;
    bool inline_mark_bits = false;  ///< green tea: mark bits in the last 128 bytes of the span itself
    bool needs_sweep = false;       ///< marking is over and the sweeper has not come yet: unmarked objects are garbage
    std::uint32_t divide = 0;       ///< ceil(2^32 / elem_size): index = offset*divide >> 32; 0: divide
    Address alloc_bits, gcmark_bits;
    Address large_type;  ///< 1.22+, null otherwise
    Address specials;
    const std::byte* alloc_bytes = nullptr;  ///< allocBits in place, elem_count bits; null: not readable
    const std::byte* mark_bytes = nullptr;   ///< gcmarkBits likewise

    bool noscan() const { return (span_class & 1) != 0; }
    unsigned size_class() const { return span_class >> 1; }
    bool large() const { return state == SpanState::in_use && size_class() == 0; }
    /// Slot that holds `a`, which must lie in `range`. May be >= elem_count in the tail of a span.
    std::uint32_t index_of(Address a) const noexcept {
        std::uint64_t offset = a.value - range.begin.value;
        if (divide != 0) return static_cast<std::uint32_t>((offset * divide) >> 32);
        return elem_size == 0 ? 0 : static_cast<std::uint32_t>(offset / elem_size);
    }
    Address slot(std::uint32_t index) const noexcept { return range.begin + index * elem_size; }
};

struct ObjectRef {
    const Span* span = nullptr;
    std::uint32_t index = 0;
    Address base;
    std::uint64_t size = 0;  ///< slot size in bytes
    SlotState state = SlotState::unknown;
};

/// Do the runtime's own counts agree with the bits? One line of the acceptance test, and evidence of a damaged heap.
struct SpanCheck {
    std::uint64_t spans = 0;             ///< in-use spans whose bits could be read
    std::uint64_t equal = 0;             ///< of these: allocated slots == allocCount
    std::uint64_t unreadable = 0;        ///< in-use spans without readable bits
    std::vector<std::uint32_t> unequal;  ///< indices into all(); at most 64
};

/// Sums over all spans; what runtime.MemStats calls them.
struct HeapTotals {
    std::uint64_t objects = 0;       ///< HeapObjects, but for what the tiny allocator packs together
    std::uint64_t object_bytes = 0;  ///< HeapAlloc once everything is swept
    std::uint64_t in_use_bytes = 0;  ///< HeapInuse: pages of in-use spans
    std::uint64_t stack_bytes = 0;   ///< StackInuse: spans that stacks are carved from
    std::uint64_t work_bytes = 0;    ///< the collector's work buffers
    std::uint64_t arena_bytes = 0;
};

class Spans {
public:
    static Result<Spans> read(const Memory& memory, const Runtime& runtime, unsigned jobs) {
        if (!runtime.globals().mheap) return fail(ErrorKind::absent, "runtime.mheap_ was not found");
        return read(memory, runtime.layout(), runtime.version(), *runtime.globals().mheap, jobs);
    }
    /// The same from its parts.
    static Result<Spans> read(const Memory& memory, const RuntimeLayout& layout, const Version& version, Address mheap,
                              unsigned jobs);

    std::span<const Span> all() const;           ///< sorted by address; in_use and manual only
    const Span* find(Address a) const noexcept;  ///< O(1) per arena page [any thread]
    std::optional<ObjectRef> find_object(Address a) const noexcept;
    static SlotState slot_state(const Span& span, std::uint32_t index) noexcept;
    /// Marked by the collection that ran last or is running; nullopt: not readable, or no meaning (swept: marks are
    /// cleared).
    static std::optional<bool> marked(const Span& span, std::uint32_t index) noexcept;
    /// First byte of the pointer bitmap of a span_bitmap span; null for others.
    static Address heap_bits(const Span& span) noexcept;
    /// A page inside an arena that belongs to no span: given back or never used. Never true unless complete().
    bool is_free_page(Address a) const noexcept;
    /// Every listed mspan was read and sound. If not, a page in no span may belong to one that we could not read.
    bool complete() const noexcept;
    bool in_arena(Address a) const noexcept;
    std::span<const AddressRange> arenas() const;  ///< sorted, neighbours merged
    const SpanCheck& check() const;
    const HeapTotals& totals() const;
    const std::vector<report::Gap>& gaps() const;

private:
    struct State;
    std::shared_ptr<const State> state_;
    explicit Spans(std::shared_ptr<const State> state) : state_(std::move(state)) {}
};

}  // namespace incident::go
