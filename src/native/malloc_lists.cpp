// The free lists: thread caches, fastbins, and the doubly linked bins. Following them proves that a chunk is free; where they
// contradict the chunks is the evidence of a double free or an overwritten chunk.
//
// Surprising: from 2.32 on the forward pointers of tcache and fastbin lists are stored xored with their own address >> 12
// (safe-linking). Which it is shows itself: only one reading leads to chunks of the list's size.
#include <fmt/format.h>

#include <algorithm>

#include "native/malloc_state.h"

namespace incident::native {

namespace {

constexpr unsigned fastbin_count = 10;
constexpr unsigned bin_count = 127;

/// struct tcache_perthread_struct: 16-bit (2.26 to 2.29: 8-bit) counts, then heads. From 2.42 on the counts are of free
/// places instead, and 12 bins for larger sizes follow the 64.
struct CacheLayout {
    unsigned bins, count_bytes;
    bool counts_places;
    std::uint64_t heads() const { return bins * count_bytes; }
    std::uint64_t size() const { return heads() + bins * 8; }
};
constexpr CacheLayout cache_layouts[] = {{64, 1, false}, {64, 2, false}, {76, 2, true}};
constexpr unsigned small_cache_bins = 64;
constexpr std::uint64_t cache_bin_size(unsigned bin) { return 32 + 16ull * bin; }

class Lists {
public:
    Lists(Heaps::State& state, const CoreFile& core) : state_(state), core_(core), cursor_(*state.memory) {}

    void read() {
        find_caches();
        find_mangling();
        for (std::size_t i = 0; i < state_.caches.size(); ++i) read_cache(state_.caches[i], *layout_);
        for (std::uint32_t i = 0; i < state_.arenas.size(); ++i) {
            if (state_.layouts[i].has_fastbins()) read_fastbins(i);
            read_bins(i);
        }
        if (key_votes_ > 0 && key_ != 0) state_.tcache_key = key_;
    }

private:
    std::optional<std::uint64_t> chunk_size(Address chunk) {
        std::uint64_t field;
        if (!cursor_.load(chunk + 8, field)) return std::nullopt;
        return field & ~flag_bits;
    }

    std::uint32_t cache_count(Address cache, const CacheLayout& layout, unsigned bin) {
        std::uint16_t count = 0;
        if (layout.count_bytes == 1) {
            std::uint8_t narrow = 0;
            cursor_.load(cache + bin, narrow);
            count = narrow;
        } else {
            cursor_.load(cache + bin * 2, count);
        }
        return count;
    }

    /// Does this look like a thread's cache? 0: no. Else 1 + the number of lists whose first entry fits.
    unsigned cache_score(Address cache, const CacheLayout* layout) {
        std::uint64_t size = 0;
        if (layout == nullptr || !cache.is_aligned(16) || !cursor_.load(cache - 8, size)) return 0;
        size &= ~flag_bits;
        if (size < layout->size() + 8 || size > layout->size() + 0x70) return 0;
        const Region* region = state_.region_of(cache);
        if (region == nullptr || region->map.at(cache - 16) != ChunkState::in_use) return 0;
        unsigned fits = 0, wrong = 0;
        for (unsigned bin = 0; bin < layout->bins; ++bin) {
            std::uint64_t head;
            if (!cursor_.load(cache + layout->heads() + bin * 8, head)) return 0;
            std::uint32_t count = cache_count(cache, *layout, bin);
            if (head == 0) {
                if (!layout->counts_places && count != 0) ++wrong;
                continue;
            }
            auto listed = head % 16 == 0 ? chunk_size(Address{head} - 16) : std::nullopt;
            bool fit = listed && (bin < small_cache_bins ? *listed == cache_bin_size(bin) : *listed > cache_bin_size(63));
            if (!layout->counts_places && count == 0) fit = false;
            ++(fit ? fits : wrong);
        }
        return wrong * 4 <= fits ? 1 + fits : 0;
    }

    /// libc's variable `tcache` lies at one distance below every thread pointer. The first thread whose cache has entries
    /// shows where.
    void find_caches() {
        constexpr std::uint64_t reach = 64 << 10;  // static TLS of all libraries
        struct Thread {
            std::int32_t tid;
            Address tcb;
        };
        std::vector<Thread> threads;
        for (const ThreadState& thread : core_.threads()) {
            int fs = thread.registers.machine().thread_pointer;
            auto tcb = fs < 0 ? std::nullopt : thread.registers.get(static_cast<unsigned>(fs));
            if (tcb && *tcb != 0 && Address{*tcb}.is_aligned(8)) threads.push_back({thread.tid, Address{*tcb}});
        }
        std::vector<Address> candidates;
        unsigned best = 0;
        for (const CacheLayout& layout : cache_layouts) {  // one libc, one layout: the one that explains most lists
            unsigned total = 0;
            for (const Region& region : state_.regions)
                for (Address chunk : region.cache_candidates) total += cache_score(chunk + 16, &layout);
            if (total > best) best = total, layout_ = &layout;
        }
        for (const Region& region : state_.regions)
            for (Address chunk : region.cache_candidates)
                if (cache_score(chunk + 16, layout_) > 0) candidates.push_back(chunk + 16);
        std::ranges::sort(candidates);
        std::optional<std::uint64_t> distance;
        for (const Thread& thread : threads) {
            if (distance || candidates.empty()) break;
            for (std::uint64_t d = 8; d <= reach; d += 8) {
                std::uint64_t word;
                if (!cursor_.load(thread.tcb - d, word)) break;
                if (!std::ranges::binary_search(candidates, Address{word}) || cache_score(Address{word}, layout_) < 2) continue;
                distance = d;
                break;
            }
        }
        std::vector<Address> owned;
        bool all_readable = true;
        for (const Thread& thread : threads) {
            std::uint64_t word = 0;
            if (!cursor_.load(thread.tcb - distance.value_or(8), word)) all_readable = false;
            if (!distance || cache_score(Address{word}, layout_) == 0) continue;
            state_.caches.push_back({Address{word}, thread.tid, 0, 0});
            owned.push_back(Address{word});
        }
        // Where TLS was not dumped, what a cache contains must convince. Only there: a chunk may hold the remains of the cache
        // of a thread that ended.
        if (all_readable && !threads.empty()) return;
        std::ranges::sort(owned);
        for (Address cache : candidates)
            if (!std::ranges::binary_search(owned, cache) && cache_score(cache, layout_) > 3)
                state_.caches.push_back({cache, std::nullopt, 0, 0});
    }

    /// The next entry after `place`, the address of the word that holds it.
    std::optional<Address> follow(Address place) {
        std::uint64_t word;
        if (!cursor_.load(place, word)) return std::nullopt;
        return Address{mangled_ ? word ^ place.value >> 12 : word};
    }

    /// Does the link at `place` lead, read this way, to a chunk of the same size, or to the end of the list? Both kinds
    /// of lists keep the link at the start of the user's bytes; tcache links lead there too, fastbin links to the header.
    bool leads_on(Address place, std::uint64_t link, std::uint64_t link_header) {
        if (link == 0) return true;
        Address chunk = Address{link} - link_header;
        const Region* region = state_.region_of(chunk);
        return region != nullptr && region->map.at(chunk) == ChunkState::in_use && chunk_size(chunk) == chunk_size(place - 16);
    }

    void find_mangling() {
        std::size_t plain = 0, mangled = 0;
        auto vote_link = [&](Address place, std::uint64_t link_header) {
            std::uint64_t word;
            if (!cursor_.load(place, word)) return;
            bool as_is = leads_on(place, word, link_header);
            bool decoded = leads_on(place, word ^ place.value >> 12, link_header);
            plain += as_is && !decoded ? 1 : 0;
            mangled += decoded && !as_is ? 1 : 0;
        };
        for (const ThreadCache& cache : state_.caches)
            for (unsigned bin = 0; bin < layout_->bins && plain + mangled < 1000; ++bin) {
                std::uint64_t head = 0;
                if (cursor_.load(cache.address + layout_->heads() + bin * 8, head) && head != 0) vote_link(Address{head}, 16);
            }
        for (std::uint32_t i = 0; i < state_.arenas.size() && plain + mangled < 1000; ++i) {
            if (!state_.layouts[i].has_fastbins()) continue;
            for (unsigned bin = 0; bin < fastbin_count; ++bin) {
                std::uint64_t head = 0;
                Address bins = state_.arenas[i].address + state_.layouts[i].fastbins();
                if (cursor_.load(bins + bin * 8, head) && head != 0) vote_link(Address{head} + 16, 0);
            }
        }
        mangled_ = mangled > plain;
        if (plain + mangled > 0) state_.safe_linking = mangled_;
    }

    void report(Corruption::Kind kind, Address at, Address chunk, std::uint32_t arena, bool transient, std::string what) {
        std::uint64_t value = 0;
        cursor_.load(at, value);
        state_.add({kind, at, value, chunk, {}, {}, arena, transient, std::move(what)});
    }

    /// Takes `chunk` into the list of `to`. False: it cannot belong there and the list must not be followed further.
    /// `link` is the word that led here.
    bool take(Address chunk, ChunkState to, Address link, std::optional<std::uint64_t> size, bool transient, const std::string& list) {
        Region* region = state_.region_of(chunk);
        auto now = region == nullptr ? std::nullopt : region->map.at(chunk);
        if (!now || *now == ChunkState::fence || *now == ChunkState::top) {
            const char* why = region == nullptr           ? "outside every heap"
                              : now == ChunkState::top    ? "to the top chunk"
                              : now == ChunkState::fence  ? "to the end of a heap"
                                                          : "to a place where no chunk begins";
            report(Corruption::Kind::list_link, link, chunk, region == nullptr ? no_arena : region->arena, transient,
                   fmt::format("{} leads {}", list, why));
            return false;
        }
        std::uint64_t actual = chunk_size(chunk).value_or(0);
        if (*now == ChunkState::unknown && (actual < min_chunk || actual > region->map.range().end.value - chunk.value)) return false;
        if (size && actual != *size) {
            report(Corruption::Kind::list_size, chunk + 8, chunk, region->arena, false,
                   fmt::format("a chunk of {} bytes is in {}, which is for {} bytes", actual, list, *size));
            return false;
        }
        bool cached = to == ChunkState::free_tcache || to == ChunkState::free_fastbin;
        if (*now != ChunkState::in_use && *now != ChunkState::free_unlisted && *now != ChunkState::unknown) {
            report(Corruption::Kind::listed_twice, link, chunk, region->arena, false,
                   fmt::format("{} leads to a chunk that is already listed as {}", list, to_string(*now)));
            return false;
        }
        if (cached && *now == ChunkState::free_unlisted)
            report(Corruption::Kind::listed_twice, link, chunk, region->arena, transient,
                   fmt::format("a chunk in {} is marked free for joining as well", list));
        if (!cached && *now == ChunkState::in_use)
            report(Corruption::Kind::listed_in_use, link, chunk, region->arena, transient,
                   fmt::format("a chunk in {} is marked as in use by the one behind it", list));
        if (*now != ChunkState::unknown) {
            auto& from = region->counts[static_cast<std::size_t>(*now)];
            --from.chunks;
            from.bytes -= actual;
            auto& into = region->counts[static_cast<std::size_t>(to)];
            ++into.chunks;
            into.bytes += actual;
        }
        region->map.set(chunk, to);
        return true;
    }

    bool locked(Address chunk) {
        const Region* region = state_.region_of(chunk);
        return region != nullptr && state_.arenas[region->arena].locked;
    }

    void read_cache(ThreadCache& cache, const CacheLayout& layout) {
        for (unsigned bin = 0; bin < layout.bins; ++bin) {
            Address link = cache.address + layout.heads() + bin * 8;
            std::uint64_t head = 0;
            if (!cursor_.load(link, head) || head == 0) continue;
            std::string list = fmt::format("list {} of the thread cache at {:#x}", bin, cache.address.value);
            auto size = bin < small_cache_bins ? std::optional(cache_bin_size(bin)) : std::nullopt;
            std::uint32_t length = 0, count = cache_count(cache.address, layout, bin);
            bool complete = false;
            for (Address entry{head};;) {
                if (!entry.is_aligned(16) || !take(entry - 16, ChunkState::free_tcache, link, size, false, list)) {
                    if (!entry.is_aligned(16))
                        report(Corruption::Kind::list_link, link, {}, no_arena, false,
                               fmt::format("{} leads to {:#x}, which is not aligned", list, entry.value));
                    break;
                }
                ++length;
                cache.bytes += chunk_size(entry - 16).value_or(0);
                std::uint64_t key;
                if (cursor_.load(entry + 8, key)) vote(key);
                auto next = follow(entry);
                if (!next) break;
                if (next->is_null()) {
                    complete = true;
                    break;
                }
                link = entry;
                entry = *next;
            }
            cache.chunks += length;
            // One less or more is what a thread stopped between two instructions of tcache_put leaves.
            if (complete && !layout.counts_places && length != count)
                report(Corruption::Kind::count, cache.address + bin * layout.count_bytes, {}, no_arena,
                       length + 1 == count || count + 1 == length,
                       fmt::format("{} has {} entries, its counter says {}", list, length, count));
        }
    }

    /// The key stands behind the link of all entries; Boyer and Moore's majority vote.
    void vote(std::uint64_t key) {
        if (key_votes_ == 0) key_ = key;
        if (key == key_) ++key_votes_;
        else --key_votes_;
    }

    void read_fastbins(std::uint32_t arena) {
        Address bins = state_.arenas[arena].address + state_.layouts[arena].fastbins();
        for (unsigned bin = 0; bin < fastbin_count; ++bin) {
            Address link = bins + bin * 8;
            std::uint64_t head = 0;
            if (!cursor_.load(link, head) || head == 0) continue;
            std::string list = fmt::format("fastbin {} of the arena at {:#x}", bin, state_.arenas[arena].address.value);
            for (Address chunk{head};;) {
                if (!chunk.is_aligned(16)) {
                    report(Corruption::Kind::list_link, link, {}, arena, false,
                           fmt::format("{} leads to {:#x}, which is not aligned", list, chunk.value));
                    break;
                }
                if (!take(chunk, ChunkState::free_fastbin, link, cache_bin_size(bin), state_.arenas[arena].locked, list)) break;
                auto next = follow(chunk + 16);
                if (!next || next->is_null()) break;
                link = chunk + 16;
                chunk = *next;
            }
        }
    }

    void read_bins(std::uint32_t arena) {
        Address bins = state_.arenas[arena].address + state_.layouts[arena].bins;
        std::uint64_t first = 0;
        if (!cursor_.load(bins, first) || first == 0) return;  // never initialised
        bool transient = state_.arenas[arena].locked;
        for (unsigned bin = 1; bin <= bin_count; ++bin) {  // malloc counts bins from 1, the unsorted one
            Address head = bins + (bin - 1) * 16 - 16;     // bin_at(): as if it were a chunk
            std::uint64_t forward = 0;
            if (!cursor_.load(head + 16, forward) || Address{forward} == head) continue;
            ChunkState to = bin == 1 ? ChunkState::free_unsorted : bin < 64 ? ChunkState::free_small : ChunkState::free_large;
            auto size = to == ChunkState::free_small ? std::optional<std::uint64_t>(bin * 16) : std::nullopt;
            Address from = head, chunk{forward};
            std::string list;  // words only when needed: most lists are sound
            while (chunk != head) {
                std::uint64_t back = 0;
                if (list.empty()) list = fmt::format("bin {} of the arena at {:#x}", bin, state_.arenas[arena].address.value);
                if (!chunk.is_aligned(16) || !cursor_.load(chunk + 24, back)) {
                    report(Corruption::Kind::list_link, from + 16, {}, arena, transient,
                           fmt::format("{} leads to {:#x}, where nothing can be", list, chunk.value));
                    break;
                }
                if (Address{back} != from)
                    report(Corruption::Kind::list_link, chunk + 24, chunk, arena, transient,
                           fmt::format("{}: the next chunk does not lead back", list));
                if (!take(chunk, to, from + 16, size, transient, list)) break;
                std::uint64_t next = 0;
                if (!cursor_.load(chunk + 16, next)) break;
                from = chunk;
                chunk = Address{next};
            }
        }
    }

    Heaps::State& state_;
    const CoreFile& core_;
    MemoryCursor cursor_;
    const CacheLayout* layout_ = nullptr;
    bool mangled_ = false;
    std::uint64_t key_ = 0;
    std::size_t key_votes_ = 0;
};

}  // namespace

void read_lists(Heaps::State& state, const CoreFile& core) { Lists(state, core).read(); }

}  // namespace incident::native
