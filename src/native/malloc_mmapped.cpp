// Chunks that are mappings of their own: nobody lists them, malloc only counts them (mp_.n_mmaps).
//
// Each begins at a page with {prev_size 0, size|2}, and its size is the mapping's; from 2.43 on it is 16 less, because
// the last 8 bytes are the program's as in other chunks. memalign moves the header inside, prev_size says by how much,
// and the old header stays where it was. One mapping of the kernel may hold several chunks, because it joins
// neighbours. mp_.mmapped_mem is no check from 2.43 on: realloc and free leave 16 bytes behind in it each time.
#include <fmt/format.h>

#include <algorithm>

#include "core/holes.h"
#include "native/malloc_state.h"

namespace incident::native {

namespace {

constexpr std::uint64_t page = 4096;

struct Header {
    std::uint64_t lead = 0, size = 0;
};

std::optional<Header> mmapped_header(MemoryCursor& cursor, Address at, Address end) {
    Header header;
    std::uint64_t field;
    if (at >= end || end.value - at.value < 32 || !cursor.load(at + 8, field) || !cursor.load(at, header.lead))
        return std::nullopt;
    header.size = field & ~flag_bits;
    if ((field & flag_bits) != flag_mmapped || header.size < min_chunk || header.size > end.value - at.value)
        return std::nullopt;
    return header;
}

/// The chunk whose mapping begins at page `at`; size 0: none does. `*after` is the end of its mapping.
Chunk chunk_at_page(MemoryCursor& cursor, Address at, Address end, Address* after) {
    Chunk chunk{at, {}, 0, ChunkState::mmapped, no_arena};
    auto outer = mmapped_header(cursor, at, end);
    if (!outer || outer->lead != 0) return chunk;
    std::uint64_t tail = outer->size % page == 0 ? 0 : 16;
    std::uint64_t total = outer->size + tail;
    if (total % page != 0 || total > end.value - at.value) return chunk;
    chunk.size = outer->size;
    for (std::uint64_t alignment = 32; alignment < total; alignment *= 2) {  // moved by memalign
        std::uint64_t user = (at.value + 16 + alignment - 1) & ~(alignment - 1);
        if (user - 16 - at.value < min_chunk) user += alignment;
        std::uint64_t lead = user - 16 - at.value;
        if (lead >= total) break;
        auto inner = mmapped_header(cursor, at + lead, at + total);
        if (!inner || inner->lead != lead || inner->size + lead + tail > total ||
            (inner->size + lead + tail) % page != 0)
            continue;
        chunk.address = at + lead;
        chunk.size = inner->size;
        total = inner->size + lead + tail;  // pages behind were given back
        break;
    }
    *after = at + total;
    chunk.user = {chunk.address + 16, *after - (tail == 0 ? 0 : 8)};
    return chunk;
}

}  // namespace

void find_mmapped(Heaps::State& state, const CoreFile& core, std::span<const Mapping> mappings) {
    std::uint64_t expected = 0;
    for (const MallocParameters& parameters : state.parameters) expected += parameters.mmaps;
    MemoryCursor cursor(*state.memory);
    // First where mappings begin, and right behind a chunk; that finds all unless other mappings were joined in front.
    struct Rest {
        AddressRange range;
        Address run_end;
    };
    std::vector<Rest> rest;
    const std::vector<AddressRange> pieces = anonymous_pieces(state, mappings);
    Address at{}, run_end{};
    for (std::size_t i = 0; i < pieces.size(); ++i) {
        // A chunk may be several mappings: whoever asks for huge pages, locks or protects a part of it cuts it.
        for (std::size_t last = i; run_end <= pieces[i].begin; ++last)
            if (last + 1 == pieces.size() || pieces[last + 1].begin != pieces[last].end) run_end = pieces[last].end;
        at = std::max(at, pieces[i].begin);
        while (at.is_aligned(page) && at < pieces[i].end && state.mmapped.size() < expected) {
            Address after;
            Chunk chunk = chunk_at_page(cursor, at, run_end, &after);
            if (chunk.size == 0) break;
            state.mmapped.push_back(chunk);
            at = after;
        }
        if (at < pieces[i].end) rest.push_back({{at, pieces[i].end}, run_end});
    }
    Address behind{};
    std::optional<Holes> holes;
    for (const auto& [range, run] : rest) {
        for (at = std::max(behind, range.begin); at < range.end && state.mmapped.size() < expected;) {
            if (!holes) holes.emplace(core);
            const Address data = holes->next_data(at).align_down(page);
            if (data > at) {  // no header is zero
                at = data;
                continue;
            }
            Address after = at + page;
            Chunk chunk = chunk_at_page(cursor, at, run, &after);
            if (chunk.size != 0) state.mmapped.push_back(chunk);
            at = after;
        }
        behind = at;
    }
    std::ranges::sort(state.mmapped, {}, &Chunk::address);
    // realloc() lets the kernel cut or move a block and then writes its size: each thread may be in between with one.
    if (const bool damage = expected - state.mmapped.size() > core.threads().size(); state.mmapped.size() < expected)
        state.gap(fmt::format("{} of {} large C heap blocks that are mappings of their own",
                              expected - state.mmapped.size(), expected),
                  "their headers were not found in the core", "addresses in them are not known to be C heap", damage);
}

}  // namespace incident::native
