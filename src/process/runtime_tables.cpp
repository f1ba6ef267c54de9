// See the header. Layout facts, all go1.16–1.27 src/runtime: mheap.go (arenas, heapArena, gcBitsArenas), mpagealloc.go
// (pageAlloc begins with summary and chunks), mpallocbits.go (pallocData), malloc.go (persistentChunks).
#include "process/runtime_tables.h"

#include <algorithm>

#include "base/bounded_walk.h"

namespace incident {

namespace {

constexpr std::uint64_t page = 4096;
constexpr std::uint64_t largest = 1ull << 40;     // of one table: the summaries are reservations
constexpr std::uint64_t most_words = 1ull << 36;  // of one slice
constexpr unsigned summary_levels = 5;
constexpr std::uint64_t slice_bytes = 24;
constexpr std::uint64_t palloc_tables = 1 << 13;            // pallocChunksL1Bits
constexpr std::uint64_t palloc_table_bytes = 128ull << 13;  // pallocData: two bits per page; pallocChunksL2Bits
constexpr std::uint64_t arena_bytes = 64 << 20, arena_numbers = 1 << 22;
constexpr std::uint64_t amd64_offset = 0xffff800000000000;  // arenaBaseOffset; 0 elsewhere
constexpr std::uint64_t chunk_bytes = 256 << 10;            // persistentChunkSize
constexpr std::uint64_t bits_bytes = 64 << 10;              // gcBitsChunkBytes
constexpr std::size_t longest_list = 1 << 20;

class Tables {
public:
    explicit Tables(const LocateContext& context) : memory_(context.memory) {}

    void add_page_allocator(Address pages) {
        for (unsigned level = 0; level < summary_levels; ++level) add_slice(pages + level * slice_bytes);
        MemoryCursor cursor(memory_);
        for (std::uint64_t i = 0; i < palloc_tables; ++i) {
            Address table;
            if (cursor.load(pages + summary_levels * slice_bytes + i * 8, table.value)) add(table, palloc_table_bytes);
        }
    }
    void add_slice(Address header) {
        const auto data = memory_.load_address(header);
        const auto capacity = memory_.load<std::uint64_t>(header + 16);
        if (data && capacity && *capacity < most_words) add(*data, *capacity * 8);
    }
    void add_arenas(Address table, std::uint64_t size, std::span<const AddressRange> arenas) {
        add(table, arena_numbers * 8);
        for (const AddressRange& range : arenas)
            for (Address at = range.begin; at < range.end; at += arena_bytes)
                for (const std::uint64_t offset : {amd64_offset, std::uint64_t{0}}) {
                    const std::uint64_t number = (at.value - offset) / arena_bytes;
                    if (number >= arena_numbers) continue;
                    if (const auto arena = memory_.load_address(table + number * 8)) add(*arena, size);
                }
    }
    /// What the runtime allocates for itself piece by piece, in lists that begin in variables.
    void add_lists(const Image& image) {
        if (const auto chunks = image.find_symbol("runtime.persistentChunks"))
            add_list(chunks->address, 0, chunk_bytes);
        if (const auto bits = image.find_symbol("runtime.gcBitsArenas"))
            for (const std::uint64_t list : {8, 16, 24, 32})  // free, next, current, previous, behind the lock
                add_list(bits->address + list, 8, bits_bytes);
    }
    /// The page of a piece of one of them. Spans are sorted by what they hold, their mspans nearly so.
    void add_piece(Address at) {
        if (!at.is_null() && at.align_down(page) != last_) add(last_ = at.align_down(page), page);
    }
    std::vector<AddressRange> joined() {
        std::ranges::sort(tables_);
        std::vector<AddressRange> out;
        for (const AddressRange& range : tables_) {
            if (!out.empty() && range.begin <= out.back().end)
                out.back().end = std::max(out.back().end, range.end);
            else
                out.push_back(range);
        }
        return out;
    }

private:
    void add(Address begin, std::uint64_t bytes) {
        if (begin.is_null() || bytes == 0 || bytes > largest || begin.value > ~largest) return;
        tables_.push_back({begin.align_down(page), (begin + bytes + (page - 1)).align_down(page)});
    }
    void add_list(Address head, std::uint64_t next, std::uint64_t bytes) {
        walk_chain(memory_.load_address(head).value_or(Address{}), longest_list,
                   [&](Address at) -> std::optional<Address> {
                       const auto link = memory_.load_address(at + next);
                       if (!link) return std::nullopt;
                       add(at, bytes);
                       return *link;
                   });
    }
    const Memory& memory_;
    std::vector<AddressRange> tables_;
    Address last_;
};

}  // namespace

std::vector<AddressRange> find_runtime_tables(const LocateContext& context, std::span<const AddressRange> arenas) {
    Tables tables(context);
    if (context.runtime != nullptr && context.runtime->globals().mheap) {
        const Address mheap = *context.runtime->globals().mheap;
        const auto& layout = context.runtime->layout();
        const auto field = [&](auto place) { return mheap + static_cast<std::uint64_t>(place.offset); };
        if (layout.mheap.pages.present()) tables.add_page_allocator(field(layout.mheap.pages));
        if (layout.mheap.allspans.present()) tables.add_slice(field(layout.mheap.allspans));
        if (layout.mheap.arenas.present())
            if (const auto table = context.memory.load_address(field(layout.mheap.arenas)))
                tables.add_arenas(*table, layout.heapArena.size, arenas);
        for (const go::ModuleData& module : context.runtime->modules())
            if (module.image != nullptr) tables.add_lists(*module.image);
    }
    if (context.spans != nullptr)
        for (const go::Span& span : context.spans->all())
            for (const Address piece : {span.mspan, span.alloc_bits, span.gcmark_bits}) tables.add_piece(piece);
    return tables.joined();
}

}  // namespace incident
