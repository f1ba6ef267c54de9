// Heaps: the passes in order, and the questions.
#include "native/malloc.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/parallel.h"
#include "native/allocators.h"
#include "native/malloc_state.h"

namespace incident::native {

namespace {

Chunk make_chunk(const Memory& memory, const Region& region, Address at, ChunkState state) {
    Chunk chunk{at, {}, 0, state, region.arena};
    if (state == ChunkState::unknown) {
        std::uint64_t field = 0;
        if (const std::byte* header = memory.data_at(at + 8, 8)) std::memcpy(&field, header, 8);
        chunk.size = region.map.next_after(at) - at;
        chunk.user = {at, at + chunk.size};
        if ((field & ~flag_bits) == chunk.size) chunk.user.begin = at + 16;  // a sound chunk in front of the damage
        return chunk;
    }
    std::uint64_t field = 0;
    if (const std::byte* header = memory.data_at(at + 8, 8)) std::memcpy(&field, header, 8);
    const std::uint64_t room = region.map.range().end.value - at.value;
    chunk.size = std::min(field & ~flag_bits, room);
    if (state == ChunkState::top && (chunk.size < 16 || chunk.size % 16 != 0)) chunk.size = room;  // damaged
    Address end = at + chunk.size;
    // In use, the first 8 bytes of the next header belong to the program (malloc/malloc.c, "boundary tag").
    if (state == ChunkState::in_use || state == ChunkState::free_tcache || state == ChunkState::free_fastbin) end += 8;
    chunk.user = {at + 16, end};
    return chunk;
}

/// prev_size of a mmapped chunk is how far memalign moved it from its mapping's start.
Address mapping_begin(const Memory& memory, const Chunk& chunk) {
    std::uint64_t lead = 0;
    if (const std::byte* header = memory.data_at(chunk.address, 8)) std::memcpy(&lead, header, 8);
    return chunk.address - lead;
}

void count_arenas(Heaps::State& state) {
    for (Region& region : state.regions) {
        Arena& arena = state.arenas[region.arena];
        for (std::size_t i = 0; i < chunk_states; ++i) {
            arena.counts[i].chunks += region.counts[i].chunks;
            arena.counts[i].bytes += region.counts[i].bytes;
        }
        arena.heaps.push_back(region.map.range());
    }
}

}  // namespace

std::string_view to_string(ChunkState state) {
    switch (state) {
        case ChunkState::unknown: return "unknown";
        case ChunkState::in_use: return "in use";
        case ChunkState::free_tcache: return "free (thread cache)";
        case ChunkState::free_fastbin: return "free (fastbin)";
        case ChunkState::free_unsorted: return "free (unsorted bin)";
        case ChunkState::free_small: return "free (small bin)";
        case ChunkState::free_large: return "free (large bin)";
        case ChunkState::free_unlisted: return "free (in no list)";
        case ChunkState::top: return "top";
        case ChunkState::fence: return "end mark";
        case ChunkState::mmapped: return "in use (mapping of its own)";
    }
    return "unknown";
}

std::string_view to_string(Corruption::Kind kind) {
    switch (kind) {
        case Corruption::Kind::size: return "bad chunk size";
        case Corruption::Kind::prev_size: return "sizes of a free chunk differ";
        case Corruption::Kind::list_link: return "bad list pointer";
        case Corruption::Kind::listed_twice: return "chunk freed twice";
        case Corruption::Kind::listed_in_use: return "free chunk marked in use";
        case Corruption::Kind::list_size: return "chunk in a list of another size";
        case Corruption::Kind::list_cycle: return "endless list";
        case Corruption::Kind::count: return "list length differs from its counter";
        case Corruption::Kind::arena: return "bad arena";
    }
    return "unknown";
}

ChunkCount Arena::free_as_glibc_counts() const {
    ChunkCount sum;
    for (ChunkState state : {ChunkState::free_fastbin, ChunkState::free_unsorted, ChunkState::free_small,
                             ChunkState::free_large, ChunkState::top}) {
        sum.chunks += count(state).chunks;
        sum.bytes += count(state).bytes;
    }
    return sum;
}

void Heaps::State::gap(std::string what, std::string why, std::string weakens, bool damage) {
    if (gaps.size() < 64) gaps.push_back({std::move(what), std::move(why), std::move(weakens), damage});
}

Region* Heaps::State::region_of(Address a) noexcept {
    auto after = std::ranges::upper_bound(regions, a, {}, [](const Region& r) { return r.map.range().begin; });
    if (after == regions.begin()) return nullptr;
    Region& region = *(after - 1);
    return region.map.range().contains(a) ? &region : nullptr;
}

void Heaps::State::index_ranges() {
    std::vector<std::pair<AddressRange, std::uint32_t>> all;
    all.reserve(regions.size() + mmapped.size());
    for (std::size_t i = 0; i < regions.size(); ++i)
        all.emplace_back(regions[i].map.range(), static_cast<std::uint32_t>(i));
    for (std::size_t i = 0; i < mmapped.size(); ++i)
        all.emplace_back(AddressRange{mmapped[i].address, mmapped[i].user.end},
                         static_cast<std::uint32_t>(regions.size() + i));
    std::ranges::sort(all);
    for (const auto& [range, owner] : all) {
        ranges.push_back(range);
        range_owner.push_back(owner);
    }
}

Result<Heaps> Heaps::read(const CoreFile& core, const Memory& memory, const Images& images, unsigned jobs,
                          MallocStop stop) {
    auto state = std::make_shared<State>(memory);
    state->foreign = find_foreign_allocators(core, images);
    std::vector<Mapping> mappings = writable_mappings(core, memory);
    find_arenas(*state, mappings, images);
    for (Arena& arena : state->arenas)
        arena.in_motion = !stop.died_inside && (arena.locked || (stop.alone_inside && arena.main));
    plan_regions(*state, mappings);
    parallel_chunks(jobs, state->regions.size(), 1, [&](std::size_t begin, std::size_t end, unsigned) {
        for (std::size_t i = begin; i < end; ++i) {
            const Arena& arena = state->arenas[state->regions[i].arena];
            walk_region(memory, state->regions[i], arena.main, arena.locked);
        }
    });
    find_scattered_regions(*state, core, mappings);
    for (Region& region : state->regions)
        for (Corruption& corruption : region.corruptions) state->add(std::move(corruption));
    find_mmapped(*state, core, mappings);
    read_lists(*state, core);
    count_arenas(*state);
    state->index_ranges();
    std::ranges::stable_sort(state->corruptions, {}, &Corruption::at);
    return Heaps(std::move(state));
}

std::span<const Arena> Heaps::arenas() const { return state_->arenas; }
std::span<const ThreadCache> Heaps::caches() const { return state_->caches; }
std::span<const ForeignAllocator> Heaps::foreign() const { return state_->foreign; }
std::span<const Corruption> Heaps::corruptions() const { return state_->corruptions; }
std::uint64_t Heaps::corruptions_dropped() const { return state_->corruptions_dropped; }
const std::vector<report::Gap>& Heaps::gaps() const { return state_->gaps; }
std::optional<bool> Heaps::safe_linking() const { return state_->safe_linking; }
std::optional<std::uint64_t> Heaps::tcache_key() const { return state_->tcache_key; }
std::span<const AddressRange> Heaps::ranges() const { return state_->ranges; }

ChunkCount Heaps::mmapped() const {
    ChunkCount sum;
    for (const Chunk& chunk : state_->mmapped) {
        ++sum.chunks;
        sum.bytes += (chunk.user.end + 8).align_down(4096) - mapping_begin(*state_->memory, chunk);
    }
    return sum;
}

namespace {
std::size_t range_index(std::span<const AddressRange> ranges, Address a) noexcept {
    auto after = std::ranges::upper_bound(ranges, a, {}, &AddressRange::begin);
    if (after == ranges.begin() || !(after - 1)->contains(a)) return SIZE_MAX;
    return static_cast<std::size_t>(after - 1 - ranges.begin());
}
}  // namespace

bool Heaps::contains(Address a) const noexcept { return range_index(state_->ranges, a) != SIZE_MAX; }

std::optional<std::size_t> Heaps::cache_of(Address chunk) const noexcept {
    auto found = std::ranges::lower_bound(state_->cached, chunk, {}, &std::pair<Address, std::uint32_t>::first);
    if (found == state_->cached.end() || found->first != chunk) return std::nullopt;
    return found->second;
}

bool Heaps::freed_last(Address chunk) const noexcept { return std::ranges::binary_search(state_->freed_last, chunk); }

std::optional<Chunk> Heaps::find(Address a) const noexcept {
    std::size_t index = range_index(state_->ranges, a);
    if (index == SIZE_MAX) return std::nullopt;
    std::uint32_t owner = state_->range_owner[index];
    if (owner >= state_->regions.size()) return state_->mmapped[owner - state_->regions.size()];
    const Region& region = state_->regions[owner];
    Address begin = region.map.begin_of(a);
    if (begin.is_null()) return std::nullopt;
    if (a - begin < 8 && begin > region.map.range().begin) {
        // The first word of a header is the last of the chunk before, while that is in use.
        Address before = region.map.begin_of(begin - 1);
        auto state = before.is_null() ? std::nullopt : region.map.at(before);
        if (state == ChunkState::in_use) begin = before;
    }
    auto state = region.map.at(begin);
    if (!state || *state == ChunkState::fence) return std::nullopt;
    return make_chunk(*state_->memory, region, begin, *state);
}

void Heaps::for_each_chunk_in(std::size_t range, const std::function<void(const Chunk&)>& visit) const {
    if (range >= state_->ranges.size()) return;
    std::uint32_t owner = state_->range_owner[range];
    if (owner >= state_->regions.size()) return visit(state_->mmapped[owner - state_->regions.size()]);
    const Region& region = state_->regions[owner];
    for (Address at = region.map.range().begin; at < region.map.range().end;) {
        auto state = region.map.at(at);
        Address next = region.map.next_after(at);
        if (state && *state != ChunkState::fence) visit(make_chunk(*state_->memory, region, at, *state));
        at = next;
    }
}

void Heaps::for_each_chunk(const std::function<void(const Chunk&)>& visit) const {
    for (std::size_t i = 0; i < state_->ranges.size(); ++i) for_each_chunk_in(i, visit);
}

}  // namespace incident::native
