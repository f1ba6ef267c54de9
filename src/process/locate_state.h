// What the Locator holds: sorted tables of ranges, built once, private to process/.
#pragma once

#include <vector>

#include "go/heap/span_lookup.h"
#include "process/locate.h"

namespace incident {

struct Locator::State {
    explicit State(LocateContext given);

    struct StackRow {  ///< one goroutine's stack
        AddressRange range;
        std::uint32_t index;  ///< into goroutines->all
    };
    struct SystemRow {  ///< g0 and gsignal stacks
        AddressRange range;
        std::uint32_t index;  ///< into goroutines->machines
        bool signal;
    };
    struct ThreadRow {  ///< a mapping that holds a thread's own stack
        Address sp;     ///< below it all is dead; of a thread in a signal handler, where that interrupted it
        bool sp_known;  ///< false: only that the stack is here (its g0 is); sp is then the mapping's end
        std::int32_t tid;
        AddressRange mapping;
        bool shared = false;  ///< several threads stand in this mapping: a heap that stacks are carved from
    };
    struct MappingRow {
        AddressRange range;
        std::uint8_t permissions = 0;
        bool vdso = false;
        bool brk = false;
        bool file = false;
    };
    struct SectionRow {
        AddressRange range;
        const Image* image;
        const Section* section;
    };
    struct GRow {  ///< the runtime.g objects themselves
        Address g;
        std::uint32_t index;  ///< goroutines->all, or machines when `system`
        bool system;
    };

    struct Reference {  ///< a word of an image's .data that points into the image's writable sections
        Address value, holder;
    };

    LocateContext context;
    std::optional<go::SpanLookup> lookup;  ///< when there is no index of spans
    std::vector<StackRow> stacks;
    std::vector<Address> stack_sp;       ///< parallel to goroutines->all; null: unknown
    std::vector<bool> frames_off_stack;  ///< parallel: walked frames include other stacks (C, g0)
    std::vector<SystemRow> systems;
    std::vector<ThreadRow> threads;  ///< sorted by sp
    std::vector<MappingRow> mappings;
    std::vector<AddressRange> tables;      ///< the Go runtime's own; see runtime_tables.h
    std::vector<const MappedFile*> files;  ///< sorted
    std::vector<SectionRow> sections;
    std::vector<GRow> gs;
    std::vector<Reference> references;  ///< sorted by value

    void index_goroutines();
    void index_threads();
    void index_mappings();
    std::optional<Address> own_sp(const ThreadState& thread) const;
    void index_images();
    void index_references(const Image& image);
    const Reference* reference_to(Address a) const;

    Address find_live_sp(std::size_t index) const;
    const MappingRow* mapping_at(Address a) const;
    const MappedFile* file_at(Address a) const;
    const SectionRow* section_at(Address a) const;
    const GRow* g_at(Address base) const;
    bool place_stack(Placement& p) const;
    bool place_system_stack(Placement& p) const;
    bool place_chunk(Placement& p) const;
    bool place_native_stack(Placement& p, const MappingRow& mapping) const;
    std::span<const AddressRange> arenas() const {
        if (context.spans != nullptr) return context.spans->arenas();
        return lookup ? lookup->arenas() : std::span<const AddressRange>{};
    }
    bool in_arena(Address a) const {
        return context.spans != nullptr ? context.spans->in_arena(a) : lookup && lookup->in_arena(a);
    }
    /// Span of a heap address; null: a free page, or `*known` = false.
    const go::Span* heap_span(Placement& p, bool* known) const;
    void place_heap(Placement& p) const;
    std::optional<go::PhysicalFrame> frame_at(std::uint32_t goroutine, Address a) const;
};

namespace detail {
/// The row of a sorted, disjoint table whose `range` holds `a`; nullptr when none does.
template <class Rows>
auto find_row(const Rows& rows, Address a) -> decltype(rows.data()) {
    auto after = std::ranges::upper_bound(rows, a, {}, [](const auto& row) { return row.range.begin; });
    if (after == rows.begin()) return nullptr;
    const auto& row = *(after - 1);
    return row.range.contains(a) ? &row : nullptr;
}
inline const AddressRange* find_range(const std::vector<AddressRange>& ranges, Address a) {
    auto after = std::ranges::upper_bound(ranges, a, {}, &AddressRange::end);
    return after != ranges.end() && after->contains(a) ? &*after : nullptr;
}
}  // namespace detail

}  // namespace incident
