// Walking heaps: where they are, and the chain of chunks inside.
//
// Chunks lie back to back: the size of each leads to the next, whose lowest bit says whether the first is in use. After
// a size that cannot be one, the walk looks for the next place from which a long chain of sound chunks leads on, and
// says so. Ends (malloc/malloc.c, sysmalloc): the arena's top; or two end marks of 16 bytes where a heap could not
// grow. Behind the marks of a main arena foreign memory may follow, when somebody else called sbrk, and then chunks
// again.
#include <fmt/format.h>

#include <algorithm>

#include "native/malloc_state.h"

namespace incident::native {

namespace {

constexpr std::size_t convincing_chain = 256;  ///< chunks; what follows damage is believed at once
constexpr std::size_t plausible_chain = 16;  ///< believed, but for repeated words, which must wait for something better
                                             ///< within `search_window`
constexpr std::uint64_t search_window = 1 << 20;
constexpr std::size_t max_probe = 1 << 27;  ///< chunks looked at to find where a heap begins, or goes on
constexpr std::size_t max_heaps_per_arena = 1 << 16;
constexpr std::uint64_t page = 4096;

bool sound_size(std::uint64_t field, std::uint64_t room, bool main) {
    std::uint64_t size = field & ~flag_bits;
    return size >= min_chunk && size % 16 == 0 && size <= room && (field & flag_mmapped) == 0 &&
           !(main && (field & flag_non_main) != 0);
}

/// The end of what can be read contiguously from `begin`.
Address readable_end(const Memory& memory, Address begin, Address limit) {
    Address at = begin;
    while (at < limit) {
        const Segment* segment = memory.find(at);
        if (segment == nullptr) break;
        at = std::min(segment->range.end, limit);
    }
    return at;
}

class Walker {
public:
    Walker(const Memory& memory, Region& region, bool main, bool locked)
        : cursor_(memory), region_(region), main_(main), locked_(locked), end_(region.map.range().end) {}

    void run() {
        Address at = region_.map.range().begin;
        while (at < end_) {
            if (at == region_.top) {
                at = take_top(at);
                if (!at.is_null()) at = skip_foreign(at);
                if (at.is_null()) return;
                continue;
            }
            std::uint64_t field;
            if (end_.value - at.value < 16 || !cursor_.load(at + 8, field)) return;
            if (is_fence(field)) {
                append(at, at + 16, ChunkState::fence);
                at += 16;
                if (!main_) return finish_heap(at);
                if (!after_fence_) {
                    after_fence_ = true;
                    continue;
                }
                after_fence_ = false;
                region_.sound_end = true;
                at = skip_foreign(at);
                continue;
            }
            if (!main_ && (field & ~flag_bits) == 0 && end_.value - at.value < 32) {
                // Too little was left for both marks: the chunk of 32 bytes before is one of them.
                if (!previous_.is_null() && previous_ + min_chunk == at &&
                    region_.map.at(previous_) == ChunkState::in_use)
                    recount(previous_, min_chunk, ChunkState::in_use, ChunkState::fence);
                return finish_heap(at);
            }
            Address stop = stop_for(at);
            if (!sound_size(field, stop.value - at.value, main_)) {
                report(Corruption::Kind::size, at + 8, field, at, false,
                       fmt::format("a chunk's size field holds {:#x}, which no chunk can have here", field));
                std::size_t row = region_.corruptions.size() - 1;
                at = skip_damage(at);
                if (at < end_) region_.corruptions[row].resumed_at = at;
                continue;
            }
            after_fence_ = false;
            at = take_chunk(at, field & ~flag_bits, stop);
        }
    }

private:
    /// Top bounds the chain while the walk is before it.
    Address stop_for(Address at) const { return !region_.top.is_null() && at < region_.top ? region_.top : end_; }

    void append(Address begin, Address end, ChunkState state) {
        region_.map.append(begin, end, state);
        auto& count = region_.counts[static_cast<std::size_t>(state)];
        ++count.chunks;
        count.bytes += end.value - begin.value;
    }

    void recount(Address chunk, std::uint64_t size, ChunkState was, ChunkState is) {
        auto& from = region_.counts[static_cast<std::size_t>(was)];
        auto& into = region_.counts[static_cast<std::size_t>(is)];
        --from.chunks, from.bytes -= size;
        ++into.chunks, into.bytes += size;
        region_.map.set(chunk, is);
    }

    Address take_chunk(Address at, std::uint64_t size, Address stop) {
        Address next = at + size;
        std::uint64_t next_field = 0;
        ChunkState state = ChunkState::unknown;  // until the next chunk's flag says it
        if (next < end_ && cursor_.load(next + 8, next_field)) {
            state = ChunkState::in_use;
            bool next_sound = next == region_.top || is_fence(next_field) ||
                              sound_size(next_field, stop_for(next).value - next.value, main_);
            if (!next_sound && next < stop) {
                state = ChunkState::unknown;  // the bit that would tell is damaged; lists may still know
            } else if ((next_field & flag_prev_inuse) == 0) {
                state = ChunkState::free_unlisted;
                std::uint64_t copy = 0;
                if (cursor_.load(next, copy) && copy != size) {
                    report(Corruption::Kind::prev_size, next, copy, at, locked_,
                           fmt::format("a free chunk of {} bytes is followed by the size {:#x}", size, copy));
                }
            }
        }
        append(at, next, state);
        if (may_be_cache(size) && state == ChunkState::in_use && region_.cache_candidates.size() < 1 << 16)
            region_.cache_candidates.push_back(at);
        previous_ = at;
        return next;
    }

    /// The address behind top, or null when the walk ends here.
    Address take_top(Address at) {
        std::uint64_t field = 0;
        cursor_.load(at + 8, field);
        std::uint64_t size = field & ~flag_bits;
        std::uint64_t room = end_.value - at.value;
        region_.sound_end = true;
        if (size > room || size % 16 != 0 || size < 16 || (field & flag_mmapped) != 0) {
            report(Corruption::Kind::size, at + 8, field, at, locked_,
                   fmt::format("the top chunk's size field holds {:#x}, but its heap has {} bytes left", field, room));
            append(at, end_.align_down(16), ChunkState::top);
            return {};
        }
        append(at, at + size, ChunkState::top);
        previous_ = at;
        return main_ && size < room ? at + size : Address{};
    }

    /// End marks of a thread heap: 16 bytes, then a size of 0 (malloc/malloc.c, sysmalloc, heap_for_ptr).
    void finish_heap(Address at) {
        std::uint64_t field;
        region_.sound_end = true;
        if (end_.value - at.value >= 16 && cursor_.load(at + 8, field) && (field & ~flag_bits) == 0)
            append(at, at + 16, ChunkState::fence);
    }

    /// From damage to the next place that is a chunk; the bytes between become unknown.
    Address skip_damage(Address from) {
        Address resume = find_chain(from + 16);
        if (resume.is_null()) resume = end_;
        append(from, resume, ChunkState::unknown);
        previous_ = {};
        return resume;
    }

    /// Behind end marks or top: another piece of this heap may follow, at once or behind memory that is not malloc's.
    Address skip_foreign(Address from) {
        Address resume = from < end_ ? find_chain(from) : Address{};
        if (resume.is_null()) {
            region_.map.truncate(from);
            return end_ = from;
        }
        if (resume > from) append(from, resume, ChunkState::fence);
        previous_ = {};
        return resume;
    }

    /// User data that repeats one word looks like a chain from any of its places: between two headers stands a third.
    bool repeats(Address at, std::uint64_t field) {
        std::uint64_t inside = 0;
        return cursor_.load(at + 24, inside) && inside == field;
    }

    /// The next place from `at` on where a chain of sound chunks begins, or top; null: none.
    Address find_chain(Address at) {
        Address best{}, limit = end_;
        std::size_t best_length = 0;
        for (; at < limit && end_.value - at.value >= 16; at += 16) {
            if (at == region_.top) return at;
            std::uint64_t field;
            if (!cursor_.load(at + 8, field)) break;
            Address stop = stop_for(at);
            if (!sound_size(field, stop.value - at.value, main_)) continue;
            if (probes_left_ == 0) break;
            bool reached = false;
            std::size_t length = chain_length(cursor_, at, stop, main_, convincing_chain, &reached);
            probes_left_ -= std::min(probes_left_, length);
            if (reached || length >= convincing_chain || (length >= plausible_chain && !repeats(at, field))) return at;
            if (length >= plausible_chain && length > best_length) {
                if (best_length == 0) limit = std::min(end_, at + search_window);
                best_length = length;
                best = at;
            }
        }
        return best;
    }

    void report(Corruption::Kind kind, Address at, std::uint64_t value, Address chunk, bool transient,
                std::string what) {
        if (region_.corruptions.size() >= Heaps::max_corruptions) {  // keep the last row for the count that is dropped
            region_.corruptions.pop_back();
        }
        region_.corruptions.push_back({kind,
                                       at,
                                       value,
                                       chunk,
                                       kind == Corruption::Kind::size ? previous_ : Address{},
                                       {},
                                       region_.arena,
                                       transient,
                                       std::move(what)});
    }

    MemoryCursor cursor_;
    Region& region_;
    bool main_, locked_;
    Address end_;
    Address previous_{};
    bool after_fence_ = false;
    std::size_t probes_left_ = max_probe;  ///< of find_chain: bytes may be made to look like a heap everywhere
};

struct Plan {
    AddressRange range;
    std::uint32_t arena;
    bool exact = false;  ///< a heap_info says so; else only the mapping bounds it, and the kernel joins mappings
};

/// Struct heap_info at the start of each heap of a thread arena: {ar_ptr, prev, size, …} (malloc/arena.c).
void plan_thread_heaps(Heaps::State& state, std::uint32_t index, std::vector<Plan>& plans) {
    MemoryCursor cursor(*state.memory);
    Arena& arena = state.arenas[index];
    Address first = arena.address.align_down(4096);
    std::uint64_t header = arena.address.value - first.value;  // sizeof(heap_info): 32 or 48
    std::uint64_t owner = 0;
    if (header > 128 || !cursor.load(first, owner) || owner != arena.address.value) {
        state.add({Corruption::Kind::arena,
                   arena.address,
                   owner,
                   {},
                   {},
                   {},
                   index,
                   false,
                   "a thread arena without the heap that it lies in"});
        return;
    }
    // The newest heap holds top; heaps are aligned to their maximal size: 64 MB, or 4 huge pages where those are used.
    Address heap{};
    for (std::uint64_t alignment = 64ull << 20; alignment >= 1 << 20; alignment /= 2)
        if (cursor.load(arena.top.align_down(alignment), owner) && owner == arena.address.value) {
            heap = arena.top.align_down(alignment);
            break;
        }
    for (std::uint64_t alignment = 128ull << 20; heap.is_null() && alignment <= 8ull << 30; alignment *= 2)
        if (cursor.load(arena.top.align_down(alignment), owner) && owner == arena.address.value)
            heap = arena.top.align_down(alignment);
    if (heap.is_null()) {
        state.add({Corruption::Kind::arena,
                   arena.address + state.layouts[index].top(),
                   arena.top.value,
                   {},
                   {},
                   {},
                   index,
                   false,
                   "top of a thread arena lies in none of its heaps"});
        heap = first;
    }
    std::size_t walked = 0;
    for (bool found_first = false; !found_first && walked < max_heaps_per_arena; ++walked) {
        found_first = heap == first;
        std::uint64_t size = 0, previous = 0;
        if (!cursor.load(heap, owner) || owner != arena.address.value || !cursor.load(heap + 8, previous) ||
            !cursor.load(heap + 16, size) || size % 4096 != 0) {
            state.add(
                {Corruption::Kind::arena, heap, owner, {}, {}, {}, index, false, "a heap's header cannot be one"});
            if (found_first) break;
            heap = first;  // the chain is lost; the first heap is known all the same
            continue;
        }
        Address begin = found_first ? arena.address + state.layouts[index].size() : heap + header;
        begin = Address{(begin.value + 15) & ~std::uint64_t{15}};
        Address end = readable_end(*state.memory, begin, heap + size);
        if (end < heap + size && end >= begin) {
            state.incomplete = true;
            state.gap(fmt::format("{} bytes of a malloc heap at {:#x}", heap + size - end, heap.value),
                      "they are not in the core", "what lies there is neither counted nor found", true);
        }
        if (end > begin + 16) plans.push_back({{begin, end.align_down(16)}, index, true});
        heap = Address{previous};
    }
}

/// Of memory from mmap: the kernel may have joined other blocks with it.
Address end_of_top(MemoryCursor& cursor, Address top, Address limit) {
    std::uint64_t field = 0;
    if (!cursor.load(top + 8, field) || !sound_size(field, limit.value - top.value, true)) return limit;
    const Address end = top + (field & ~flag_bits);
    return end.is_aligned(page) ? end : limit;
}

void plan_main_heap(Heaps::State& state, std::uint32_t index, const MallocParameters& parameters,
                    std::span<const Mapping> mappings, std::vector<Plan>& plans) {
    Arena& arena = state.arenas[index];
    Address initial_top = arena.address + state.layouts[index].top();
    if (arena.top == initial_top || arena.top.is_null()) return;  // never used
    MemoryCursor cursor(*state.memory);
    const Mapping* of_top = find_mapping(mappings, arena.top);
    if (of_top == nullptr) {
        const bool missing = state.memory->is_mapped(arena.top);
        state.incomplete |= missing;
        if (missing)
            state.gap("the main malloc heap", "its end is not in the core",
                      "C heap blocks there are neither counted nor found", true);
        else
            state.add({Corruption::Kind::arena,
                       arena.address + state.layouts[index].top(),
                       arena.top.value,
                       {},
                       {},
                       {},
                       index,
                       false,
                       "top of the main arena points to nothing"});
    }
    auto plan = [&](Address begin, AddressRange mapping) {
        begin = Address{(begin.value + 15) & ~std::uint64_t{15}};
        if (begin < mapping.end && mapping.end.value - begin.value >= 32)
            plans.push_back({{begin, mapping.end.align_down(16)}, index, false});
    };
    // After fork, what brk adds is a mapping of its own that begins where the old one ends: the heap goes on in it.
    auto joined = [&](const Mapping* first) {
        AddressRange range = first->range;
        for (const Mapping* next = first + 1; next != mappings.data() + mappings.size(); ++next) {
            if (next->file || next->range.begin != range.end || (next - 1)->range != (next - 1)->mapped) break;
            range.end = next->range.end;
        }
        return range;
    };
    const Mapping* of_base = parameters.sbrk_base.is_null() ? nullptr : find_mapping(mappings, parameters.sbrk_base);
    if (of_base != nullptr) plan(parameters.sbrk_base, joined(of_base));
    if (of_top == nullptr || (of_base != nullptr && joined(of_base).contains(arena.top))) return;
    // Top is elsewhere: memory from mmap, or sbrk_base is unknown. The lowest page from which the chain leads to top,
    // not to the end marks of a block that came before.
    std::size_t budget = max_probe;
    for (Address at = of_top->range.begin; at <= arena.top && budget > 0; at += page) {
        std::uint64_t field;
        bool reached = at == arena.top;
        Address marks;
        if (!reached && (!cursor.load(at + 8, field) || (field & flag_prev_inuse) == 0)) continue;
        if (!reached)
            budget -= std::min(budget, 1 + chain_length(cursor, at, arena.top, true, budget, &reached, &marks));
        if (!reached || !marks.is_null()) continue;
        plan(at, {at, end_of_top(cursor, arena.top, of_top->range.end)});
        return;
    }
    plan(of_top->range.begin, of_top->range);  // damaged on the way: the walk will say where
}

}  // namespace

std::size_t chain_length(MemoryCursor& cursor, Address at, Address stop, bool main, std::size_t limit, bool* reached,
                         Address* end) {
    *reached = false;
    std::size_t length = 0;
    while (length < limit && at < stop) {
        std::uint64_t field;
        if (stop.value - at.value < 16 || !cursor.load(at + 8, field)) return length;
        if (is_fence(field)) {
            *reached = length > 0;
            if (end != nullptr) *end = at;
            return length;
        }
        if (!sound_size(field, stop.value - at.value, main)) return length;
        Address next = at + (field & ~flag_bits);
        std::uint64_t next_field, copy;
        if (next < stop && cursor.load(next + 8, next_field) && (next_field & flag_prev_inuse) == 0 &&
            cursor.load(next, copy) && copy != (field & ~flag_bits))
            return length;
        ++length;
        at = next;
    }
    *reached = at == stop && length > 0;
    return length;
}

void plan_regions(Heaps::State& state, std::span<const Mapping> mappings) {
    std::size_t main = 0;
    std::vector<Plan> plans;
    for (std::uint32_t i = 0; i < state.arenas.size(); ++i) {
        if (state.arenas[i].main)
            plan_main_heap(state, i, state.parameters[main++], mappings, plans);
        else
            plan_thread_heaps(state, i, plans);
    }
    std::ranges::sort(plans, {}, [](const Plan& p) { return p.range; });
    for (std::size_t i = 0; i + 1 < plans.size(); ++i)
        if (!plans[i].exact)
            plans[i].range.end = std::min(plans[i].range.end, plans[i + 1].range.begin.align_down(4096));
    // Other overlaps exist only where headers lie: the lowest keeps its bytes.
    Address covered{};
    for (Plan& plan : plans) {
        plan.range.begin = std::max(plan.range.begin, covered);
        if (plan.range.empty()) continue;
        covered = plan.range.end;
        Region& region = state.regions.emplace_back(plan.range, plan.arena);
        if (plan.range.contains(state.arenas[plan.arena].top)) region.top = state.arenas[plan.arena].top;
    }
}

void walk_region(const Memory& memory, Region& region, bool main, bool locked) {
    Walker(memory, region, main, locked).run();
}

std::vector<AddressRange> anonymous_pieces(const Heaps::State& state, std::span<const Mapping> mappings) {
    std::vector<AddressRange> pieces;
    auto region = state.regions.begin();
    for (const Mapping& mapping : mappings) {
        if (mapping.file) continue;
        Address at = mapping.range.begin;
        for (; region != state.regions.end() && region->map.range().begin < mapping.range.end; ++region) {
            AddressRange heap = region->map.range();
            if (heap.end <= at) continue;
            if (heap.begin.align_down(4096) > at) pieces.push_back({at, heap.begin.align_down(4096)});
            at = (heap.end + 4095).align_down(4096);
            if (heap.end > mapping.range.end) break;  // it goes on in the next mapping
        }
        if (at < mapping.range.end) pieces.push_back({at, mapping.range.end});
    }
    return pieces;
}

}  // namespace incident::native
