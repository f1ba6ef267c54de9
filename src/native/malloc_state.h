// What Heaps holds, and the stages that fill it; private to native/. Order: find_arenas → plan_regions → walk_region
// (in parallel) → find_mmapped → read_lists.
#pragma once

#include <mutex>

#include "native/chunk_map.h"
#include "native/malloc.h"

namespace incident::native {

/// Where the fields of struct malloc_state are, in bytes. Only `bins` differs between the releases: 104 up to 2.25, 112
/// with have_fastchunks (2.26), 24 without fastbins (2.43); the rest follows from it (malloc/malloc.c, struct
/// malloc_state).
struct ArenaLayout {
    std::uint64_t bins = 0;
    std::uint64_t top() const { return bins - 16; }
    bool has_fastbins() const { return bins >= 96; }
    std::uint64_t fastbins() const { return bins - 96; }        ///< 10 words
    std::uint64_t next() const { return bins + 254 * 8 + 16; }  ///< behind binmap
    std::uint64_t system_mem() const { return next() + 24; }
    std::uint64_t size() const { return next() + 40; }
};

/// The part of struct malloc_par that has counts.
struct MallocParameters {
    Address sbrk_base;
    std::uint64_t mmapped_mem = 0;   ///< bytes
    std::uint32_t mmaps = 0;         ///< chunks
    std::uint64_t tcache_count = 0;  ///< chunks per list, 0: unknown
};

/// One heap to walk: chunks lie back to back in `range`.
struct Region {
    Region(AddressRange range, std::uint32_t in_arena) : map(range), arena(in_arena) {}
    ChunkMap map;
    std::uint32_t arena;
    Address top;             ///< null: the arena's top is elsewhere
    bool sound_end = false;  ///< the chain of sizes ended at top or at end marks
    std::array<ChunkCount, chunk_states> counts{};
    std::vector<Corruption> corruptions;
    std::vector<Address> cache_candidates;  ///< chunks in use that have the size of a tcache struct
};

struct Heaps::State {
    explicit State(const Memory& target) : memory(&target) {}

    const Memory* memory;
    std::vector<Arena> arenas;
    std::vector<ArenaLayout> layouts;          ///< parallel to arenas
    std::vector<MallocParameters> parameters;  ///< one per main arena, as far as found
    std::vector<Region> regions;               ///< sorted
    std::vector<Chunk> mmapped;                ///< sorted
    std::vector<AddressRange> ranges;          ///< regions and mmapped chunks, sorted
    std::vector<std::uint32_t> range_owner;    ///< parallel: index into regions, or regions.size() + index into mmapped
    std::vector<ThreadCache> caches;
    std::vector<std::pair<Address, std::uint32_t>> cached;  ///< chunks in thread caches, whose; sorted
    std::vector<Address> freed_last;                        ///< first chunks of lists that grow at their front; sorted
    std::vector<ForeignAllocator> foreign;
    std::vector<Corruption> corruptions;
    std::uint64_t corruptions_dropped = 0;
    std::vector<report::Gap> gaps;
    bool incomplete = false;  ///< a part of some heap was not found, or is not in the core
    std::optional<bool> safe_linking;
    std::optional<std::uint64_t> tcache_key;

    void add(Corruption corruption) {
        corruption.transient |= corruption.arena < arenas.size() && arenas[corruption.arena].in_motion;
        if (corruptions.size() < max_corruptions)
            corruptions.push_back(std::move(corruption));
        else
            ++corruptions_dropped;
    }
    void gap(std::string what, std::string why, std::string weakens, bool damage);
    Region* region_of(Address a) noexcept;
    const Region* region_of(Address a) const noexcept {
        return const_cast<State*>(this)->region_of(a);  // NOLINT: same lookup, nothing is changed
    }
    void index_ranges();
};

/// Private anonymous or writable file mapping, as the kernel had it: one PT_LOAD, cut to what the core holds.
struct Mapping {
    AddressRange range;   ///< readable bytes from the start on
    AddressRange mapped;  ///< all of it
    bool file = false;    ///< overlaps a row of NT_FILE
};
/// Writable mappings, sorted.
std::vector<Mapping> writable_mappings(const CoreFile& core, const Memory& memory);
const Mapping* find_mapping(std::span<const Mapping> mappings, Address a);

/// Fills arenas, layouts and parameters.
void find_arenas(Heaps::State& state, std::span<const Mapping> mappings, const Images& images);
/// Fills regions, unwalked. They never overlap, so that all maps together are bounded by the core's size.
void plan_regions(Heaps::State& state, std::span<const Mapping> mappings);
/// More heaps of a main arena whose regions, walked, do not add up to its system_mem; walked already.
void find_scattered_regions(Heaps::State& state, const CoreFile& core, std::span<const Mapping> mappings);
/// Anonymous mappings without the heaps in them, sorted.
std::vector<AddressRange> anonymous_pieces(const Heaps::State& state, std::span<const Mapping> mappings);
void walk_region(const Memory& memory, Region& region, bool main, bool locked);
void find_mmapped(Heaps::State& state, const CoreFile& core, std::span<const Mapping> mappings);
void read_lists(Heaps::State& state, const CoreFile& core);

/// How many sound chunks follow each other from `at`, at most `limit`; `*reached` = ended at `stop`, or at end marks,
/// which are at `*end` then.
std::size_t chain_length(MemoryCursor& cursor, Address at, Address stop, bool main, std::size_t limit, bool* reached,
                         Address* end = nullptr);

/// Sizes of a chunk that may hold a struct tcache_perthread_struct of 576 (up to 2.29), 640 or 760 bytes (2.42): some
/// more when the rest of a split would have been too small to be a chunk, and when it is aligned to a cache line
/// (from 2.40 on).
constexpr bool may_be_cache(std::uint64_t chunk_size) { return chunk_size - 0x250 <= 0x120; }

inline constexpr std::uint64_t flag_prev_inuse = 1, flag_mmapped = 2, flag_non_main = 4, flag_bits = 7;
inline constexpr std::uint64_t min_chunk = 32;  ///< MINSIZE of 64-bit glibc

/// End marks: the second one, and the first after a chunk in use, have prev_inuse set.
constexpr bool is_fence(std::uint64_t field) { return (field & ~(flag_non_main | flag_prev_inuse)) == 16; }

}  // namespace incident::native
