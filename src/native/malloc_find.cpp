// Finding glibc's arenas without symbols.
//
// An empty bin of malloc is a list head whose fd and bk point 16 bytes before themselves; a full one leads to a chunk
// whose bk or fd leads back. 127 such pairs in a row occur nowhere but in a struct malloc_state. The `next` field, at a
// fixed distance behind them, is a ring over all arenas; the distance by which it leads in front of the bins is the
// only offset that differs between releases.
#include <fmt/format.h>

#include <algorithm>

#include "native/malloc_state.h"

namespace incident::native {

namespace {

constexpr unsigned bin_count = 127;
constexpr unsigned min_sound_bins = 120;     // a few may be damaged
constexpr std::size_t max_arenas = 1 << 16;  // glibc's default is 8 per processor

/// bins[2i], bins[2i+1] at `pair`: is this a list head?
bool sound_bin(MemoryCursor& cursor, Address pair) {
    std::uint64_t fd, bk, back = 0;
    if (!cursor.load(pair, fd) || !cursor.load(pair + 8, bk)) return false;
    std::uint64_t self = pair.value - 16;
    if (fd == self || bk == self) return fd == bk;
    if (fd % 16 != 0 || bk % 16 != 0 || fd < 4096 || bk < 4096) return false;
    MemoryCursor heap(cursor.memory());  // keeps the caller's cursor where it was
    if (heap.load(Address{fd} + 24, back) && back == self) return true;
    return heap.load(Address{bk} + 16, back) && back == self;
}

unsigned count_sound_bins(MemoryCursor& cursor, Address bins) {
    unsigned sound = 0;
    for (unsigned i = 0; i < bin_count; ++i) sound += sound_bin(cursor, bins + i * 16) ? 1 : 0;
    return sound;
}

/// Walks the ring of arenas for an assumed layout. True when it closes.
bool walk_ring(MemoryCursor& cursor, Address main_bins, ArenaLayout layout, std::vector<Address>& others) {
    others.clear();
    Address main = main_bins - layout.bins;
    Address at;
    std::uint64_t word;
    if (!cursor.load(main + layout.next(), word)) return false;
    for (at = Address{word}; at != main; at = Address{word}) {
        if (!at.is_aligned(8) || others.size() == max_arenas) return false;
        if (count_sound_bins(cursor, at + layout.bins) < min_sound_bins) return false;
        others.push_back(at);
        if (!cursor.load(at + layout.next(), word)) return false;
        if (others.size() > 1 && Address{word} == others.front()) return false;
    }
    return true;
}

/// Bins at `bins` are sound: which layout makes the ring close? `others` are the thread arenas.
std::optional<ArenaLayout> find_layout(MemoryCursor& cursor, Address bins, std::vector<Address>& others,
                                       bool& ring_broken) {
    ring_broken = false;
    for (std::uint64_t offset : {112u, 24u, 104u})
        if (walk_ring(cursor, bins, {offset}, others)) return ArenaLayout{offset};
    for (std::uint64_t offset = 24; offset <= 256; offset += 8)  // a release that we have not seen
        if (walk_ring(cursor, bins, {offset}, others)) return ArenaLayout{offset};
    // The ring is damaged. What stands before the bins still tells: fastbins are null or heap pointers, `top` precedes.
    ring_broken = true;
    std::vector<Address> partial;
    std::optional<ArenaLayout> best;
    for (std::uint64_t offset : {112u, 24u, 104u}) {
        walk_ring(cursor, bins, {offset}, partial);
        if (!best || partial.size() > others.size()) {
            best = ArenaLayout{offset};
            others = partial;
        }
    }
    if (others.empty()) return std::nullopt;  // nothing confirms any layout
    return best;
}

/// Struct malloc_par lies near main_arena. Known by n_mmaps_max, which is 65536 unless somebody called mallopt, and by
/// the order of the words around it (malloc/malloc.c, struct malloc_par, 2.26 to 2.44).
std::optional<MallocParameters> find_parameters(MemoryCursor& cursor, Address main_arena,
                                                std::span<const Mapping> mappings) {
    const Mapping* mapping = find_mapping(mappings, main_arena);
    if (mapping == nullptr) return std::nullopt;
    AddressRange near = mapping->range.intersect({main_arena - 0x4000, main_arena + 0x4000});
    for (Address at = near.begin; at < near.end; at += 4) {
        std::uint32_t limit, count, most;
        if (!cursor.load(at, limit) || limit != 65536) continue;
        if (!cursor.load(at - 4, count) || !cursor.load(at + 4, most) || count > most || most > limit) continue;
        for (std::uint64_t distance : {12u, 16u}) {  // no_dyn_threshold, and a hole where that is needed
            Address mmapped_mem = at + distance;
            std::uint64_t bytes, max_bytes, base, bins, max_size, per_bin;
            if (!mmapped_mem.is_aligned(8) || !cursor.load(mmapped_mem, bytes) ||
                !cursor.load(mmapped_mem + 8, max_bytes) || !cursor.load(mmapped_mem + 16, base) ||
                !cursor.load(mmapped_mem + 24, bins) || !cursor.load(mmapped_mem + 32, max_size) ||
                !cursor.load(mmapped_mem + 40, per_bin))
                continue;
            // Multiples of a page up to 2.42; later, realloc and free leave 16 bytes behind each time.
            if (bytes > max_bytes || bytes % 16 != 0 || (count != 0 && bytes < count * 4096ull)) continue;
            if (base % 8 != 0 || (base != 0 && find_mapping(mappings, Address{base}) == nullptr)) continue;
            bool tcache = bins <= 128 && max_size < 1ull << 32 && per_bin < 65536;
            return MallocParameters{{base}, bytes, count, tcache ? per_bin : 0};
        }
    }
    return std::nullopt;
}

void add_arena(Heaps::State& state, MemoryCursor& cursor, Address base, ArenaLayout layout, bool main) {
    Arena arena;
    arena.address = base;
    arena.main = main;
    std::uint32_t mutex = 0;
    std::uint64_t top = 0, system_mem = 0;
    cursor.load(base, mutex);
    cursor.load(base + layout.top(), top);
    cursor.load(base + layout.system_mem(), system_mem);
    arena.locked = mutex != 0;
    arena.top = Address{top};
    arena.system_mem = system_mem;
    state.arenas.push_back(std::move(arena));
    state.layouts.push_back(layout);
}

/// Thread arenas by their heap_info alone, when the ring cannot be trusted: a 64 MB aligned block whose first word
/// leads to an arena right behind it.
void add_unringed(Heaps::State& state, MemoryCursor& cursor, ArenaLayout layout, std::span<const Mapping> mappings) {
    constexpr std::uint64_t heap_max = 64ull << 20;
    for (const Mapping& mapping : mappings) {
        if (!mapping.range.begin.is_aligned(heap_max)) continue;
        std::uint64_t arena;
        if (!cursor.load(mapping.range.begin, arena)) continue;
        if (arena - mapping.range.begin.value > 128 || arena <= mapping.range.begin.value) continue;
        bool known = std::ranges::any_of(state.arenas, [&](const Arena& a) { return a.address.value == arena; });
        if (!known && count_sound_bins(cursor, Address{arena} + layout.bins) >= min_sound_bins)
            add_arena(state, cursor, Address{arena}, layout, false);
    }
}

}  // namespace

void find_arenas(Heaps::State& state, std::span<const Mapping> mappings, const Images& images) {
    MemoryCursor cursor(*state.memory);
    std::vector<Address> candidates;  // first bins
    const auto search = [&](const Mapping& mapping) {
        if (mapping.range.size() < 2112) return;
        const std::byte* data = state.memory->data_at(mapping.range.begin, mapping.range.size());
        if (data == nullptr) return;
        std::uint64_t self = mapping.range.begin.value - 16;
        for (std::uint64_t offset = 0; offset + 16 <= mapping.range.size(); offset += 8) {
            std::uint64_t fd, bk;
            std::memcpy(&fd, data + offset, 8);
            if (fd != self + offset) continue;
            std::memcpy(&bk, data + offset + 8, 8);
            if (bk != fd) continue;
            // One empty bin. Which of the 127? Take the window with most sound bins. Among equals the ring decides:
            // when the damage is in the first bin, the unsorted one, the window behind it has as many.
            Address hit = mapping.range.begin + offset;
            Address first = hit, last = hit;
            for (unsigned k = 1; k < bin_count && sound_bin(cursor, hit - k * 16); ++k) first = hit - k * 16;
            for (unsigned k = 1; k < bin_count && sound_bin(cursor, hit + k * 16); ++k) last = hit + k * 16;
            if (first + (bin_count - 1) * 16 == last) {
                candidates.push_back(first);
            } else {
                unsigned most = min_sound_bins;
                std::vector<Address> equals;
                for (unsigned k = 0; k < bin_count; ++k) {
                    unsigned sound = count_sound_bins(cursor, hit - k * 16);
                    if (sound > most) equals.clear();
                    most = std::max(most, sound);
                    if (sound == most) equals.push_back(hit - k * 16);
                }
                if (equals.empty()) continue;
                candidates.insert(candidates.end(), equals.begin(), equals.end());
                first = equals.front();
            }
            offset = static_cast<std::uint64_t>(first - mapping.range.begin) + bin_count * 16;
        }
    };
    // It is a variable of libc or of the executable. Other files that the core holds may be gigabytes of somebody's
    // data; they are searched, as far as that is quick, because a library may not look like one here: no copy of its
    // headers.
    constexpr std::uint64_t quick = 64 << 20;
    const bool any_file = std::ranges::any_of(mappings, &Mapping::file);
    const auto of_module = [&](const Mapping& mapping) { return images.find_module(mapping.range.begin).has_value(); };
    for (const Mapping& mapping : mappings)
        if (!any_file || (mapping.file && of_module(mapping))) search(mapping);
    if (candidates.empty() && any_file)
        for (const Mapping& mapping : mappings)
            if (mapping.file && mapping.range.size() <= quick && !of_module(mapping)) search(mapping);
    // Too much overwritten for that? A debug file of libc, or a static executable's symbols, may still name it.
    for (const Image& image : images.all()) {
        if (!candidates.empty()) break;
        auto symbol = image.find_symbol("main_arena");
        if (!symbol) continue;
        for (std::uint64_t offset : {112u, 24u, 104u})
            if (count_sound_bins(cursor, symbol->address + offset) >= min_sound_bins / 2)
                candidates.push_back(symbol->address + offset);
    }
    std::ranges::sort(candidates);
    candidates.erase(std::unique(candidates.begin(), candidates.end()), candidates.end());

    struct Main {
        Address bins;
        ArenaLayout layout;
        std::vector<Address> others;
        bool ring_broken;
    };
    std::vector<Main> mains;
    for (Address bins : candidates) {
        Main main{bins, {}, {}, false};
        auto layout = find_layout(cursor, bins, main.others, main.ring_broken);
        if (!layout) continue;
        // Without NT_FILE every mapping was searched: a thread arena, right behind a heap_info that names it, is no
        // main one.
        std::uint64_t owner = 0;
        Address base = bins - layout->bins;
        if (!any_file && cursor.load(base.align_down(4096), owner) && owner == base.value) continue;
        main.layout = *layout;
        mains.push_back(std::move(main));
    }
    for (const Main& main : mains) {
        add_arena(state, cursor, main.bins - main.layout.bins, main.layout, true);
        state.parameters.push_back({});
        if (auto parameters = find_parameters(cursor, main.bins, mappings)) state.parameters.back() = *parameters;
    }
    for (const Main& main : mains) {
        for (Address other : main.others) add_arena(state, cursor, other, main.layout, false);
        if (main.ring_broken) {
            add_unringed(state, cursor, main.layout, mappings);
            Address next = main.bins - main.layout.bins + main.layout.next();
            std::uint64_t value = 0;
            cursor.load(next, value);
            state.add({Corruption::Kind::arena,
                       next,
                       value,
                       {},
                       {},
                       {},
                       0,
                       false,
                       "the ring of arenas does not lead back to the main arena"});
        }
    }
}

std::vector<Mapping> writable_mappings(const CoreFile& core, const Memory& memory) {
    constexpr std::uint8_t writable = 2;  // PF_W
    std::vector<AddressRange> files;
    for (const MappedFile& row : core.mapped_files()) files.push_back(row.range);
    std::ranges::sort(files);
    std::vector<Mapping> mappings;
    for (const LoadSegment& load : core.load_segments()) {
        if ((load.permissions & writable) == 0 || load.range.empty()) continue;
        Mapping mapping{{load.range.begin, load.range.begin}, load.range, false};
        while (const Segment* segment = memory.find(mapping.range.end)) {
            mapping.range.end = std::min(segment->range.end, load.range.end);
            if (mapping.range.end == load.range.end) break;
        }
        auto after = std::ranges::upper_bound(files, load.range.begin, {}, &AddressRange::begin);
        mapping.file = (after != files.begin() && (after - 1)->overlaps(load.range)) ||
                       (after != files.end() && after->overlaps(load.range));
        if (!mapping.range.empty()) mappings.push_back(mapping);
    }
    std::ranges::sort(mappings, {}, [](const Mapping& m) { return m.range.begin; });
    return mappings;
}

const Mapping* find_mapping(std::span<const Mapping> mappings, Address a) {
    auto after = std::ranges::upper_bound(mappings, a, {}, [](const Mapping& m) { return m.range.begin; });
    if (after == mappings.begin()) return nullptr;
    const Mapping& mapping = *(after - 1);
    return mapping.range.contains(a) ? &mapping : nullptr;
}

}  // namespace incident::native
