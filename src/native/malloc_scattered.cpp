// Blocks of a main arena that brk could not serve: memory from mmap, which nobody lists. The arena only counts them
// (system_mem), and the kernel joins them with their neighbours: chunks that are mappings of their own, stacks, memory
// of others. Layout facts: glibc 2.26-2.44 malloc/malloc.c, sysmalloc.
#include <fmt/format.h>

#include <algorithm>

#include "core/holes.h"
#include "native/malloc_state.h"

namespace incident::native {

namespace {

constexpr std::uint64_t page = 4096;
constexpr std::size_t max_probe = 1 << 27;  // chunks looked at, of one arena

/// Each is a chain from the begin of a page to two end marks at the end of another.
class ScatteredBlocks {
public:
    ScatteredBlocks(Heaps::State& state, std::uint32_t arena) : state_(state), cursor_(*state.memory), arena_(arena) {
        for (const Region& region : state.regions)
            if (region.arena == arena)
                for (const ChunkCount& count : region.counts) found_ += count.bytes;
    }

    std::uint64_t missing() const {
        const std::uint64_t all = state_.arenas[arena_].system_mem;
        return all > found_ ? all - found_ : 0;
    }
    /// Where a mapping begins, or another block of malloc's ends: that finds all but what was joined with others.
    void look_at_begins(std::span<const AddressRange> pieces) {
        for (const AddressRange& piece : pieces)
            for (Address at = piece.begin; missing() > 0;) {
                const Address end = take(at, piece.end);
                if (end.is_null()) break;
                at = end;
            }
    }
    void look_at_pages(std::span<const AddressRange> pieces, const CoreFile& core) {
        if (missing() < page) return;
        const Holes holes(core);
        for (const AddressRange& piece : pieces)
            for (Address at = piece.begin; at < piece.end && missing() >= page && budget_ > 0;) {
                const Address data = holes.next_data(at).align_down(page);
                if (data > at) {  // no header is zero
                    at = data;
                    continue;
                }
                const Address end = take(at, piece.end);
                at = end.is_null() ? at + page : end;
            }
    }

private:
    /// The end of the block that begins at `at`; null: none does.
    Address take(Address at, Address limit) {
        std::uint64_t field = 0;
        if (!at.is_aligned(page) || at >= limit || limit.value - at.value < page || budget_ == 0) return {};
        if (!cursor_.load(at + 8, field) || (field & flag_prev_inuse) == 0) return {};
        bool reached = false;
        Address marks;
        budget_ -= std::min(budget_, 1 + chain_length(cursor_, at, limit, true, budget_, &reached, &marks));
        if (!reached || marks.is_null()) return {};
        // Two, or three where what was left of the old top was too small to be a chunk.
        Address end = marks;
        for (int i = 0; i < 3 && !end.is_aligned(page) && cursor_.load(end + 8, field) && is_fence(field); ++i)
            end += 16;
        if (end == marks || !end.is_aligned(page)) return {};
        Region region({at, end}, arena_);
        walk_region(*state_.memory, region, true, state_.arenas[arena_].locked);
        for (const ChunkCount& count : region.counts) found_ += count.bytes;
        state_.regions.push_back(std::move(region));
        return end;
    }

    Heaps::State& state_;
    MemoryCursor cursor_;
    std::uint32_t arena_;
    std::uint64_t found_ = 0;
    std::size_t budget_ = max_probe;
};

}  // namespace

void find_scattered_regions(Heaps::State& state, const CoreFile& core, std::span<const Mapping> mappings) {
    const auto sort = [&] {
        std::ranges::sort(state.regions, {}, [](const Region& r) { return r.map.range().begin; });
    };
    for (std::uint32_t i = 0; i < state.arenas.size(); ++i) {
        if (!state.arenas[i].main) continue;
        ScatteredBlocks blocks(state, i);
        if (blocks.missing() > 0) blocks.look_at_begins(anonymous_pieces(state, mappings));
        sort();
        if (blocks.missing() >= page) blocks.look_at_pages(anonymous_pieces(state, mappings), core);
        sort();
        if (blocks.missing() <= page) continue;
        state.incomplete = true;
        state.gap(fmt::format("{} bytes of the main malloc arena", blocks.missing()), "they were not found in the core",
                  "C heap blocks there are neither counted nor found",
                  !state.arenas[i].in_motion);  // what brk just gave or took is not counted yet
    }
}

}  // namespace incident::native
