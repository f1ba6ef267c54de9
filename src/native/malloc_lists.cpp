// The free lists: thread caches, fastbins, and the doubly linked bins. Following them proves that a chunk is free;
// where they contradict the chunks is the evidence of a double free or an overwritten chunk.
//
// Surprising: from 2.32 on the forward pointers of tcache and fastbin lists are stored xored with their own address >>
// 12 (safe-linking). Which it is shows itself: only one reading leads to chunks of the list's size.
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
        add_caches();
        for (std::uint32_t i = 0; i < state_.arenas.size(); ++i) {
            if (state_.layouts[i].has_fastbins()) add_fastbins(i);
            add_bins(i);
        }
        follow_all();
        check_counts();
        std::ranges::sort(state_.cached);
        std::ranges::sort(state_.freed_last);
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
            bool fit =
                listed && (bin < small_cache_bins ? *listed == cache_bin_size(bin) : *listed > cache_bin_size(63));
            if (!layout->counts_places && count == 0) fit = false;
            ++(fit ? fits : wrong);
        }
        // One list with a bad head is what a write to a freed chunk leaves after the next malloc.
        return wrong * 4 <= fits || (wrong == 1 && fits >= 1) ? 1 + fits : 0;
    }

    /// libc's variable `tcache` lies at one distance below every thread pointer. The first thread whose cache has
    /// entries shows where.
    void find_caches() {
        constexpr std::uint64_t reach = 64 << 10;  // static TLS of all libraries
        struct Thread {
            std::int32_t tid;
            Address tcb;
        };
        std::vector<Thread> threads;
        for (const ThreadState& thread : core_.threads()) {
            const std::int8_t fs = thread.registers.machine().thread_pointer;
            auto tcb = fs < 0 ? std::nullopt : thread.registers.get(static_cast<std::uint8_t>(fs));
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
                if (!std::ranges::binary_search(candidates, Address{word}) || cache_score(Address{word}, layout_) < 2)
                    continue;
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
        // Where TLS was not dumped, what a cache contains must convince. Only there: a chunk may hold the remains of
        // the cache of a thread that ended.
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
    /// of lists keep the link at the start of the user's bytes; tcache links lead there too, fastbin links to the
    /// header.
    bool leads_on(Address place, std::uint64_t link, std::uint64_t link_header) {
        if (link == 0) return true;
        Address chunk = Address{link} - link_header;
        const Region* region = state_.region_of(chunk);
        return region != nullptr && region->map.at(chunk) == ChunkState::in_use &&
               chunk_size(chunk) == chunk_size(place - 16);
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
                if (cursor_.load(cache.address + layout_->heads() + bin * 8, head) && head != 0)
                    vote_link(Address{head}, 16);
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

    /// One list while it is followed.
    struct Chain {
        ChunkState to;           ///< what its chunks are
        Address link;            ///< the word that leads to `entry`
        Address entry;           ///< tcache: the user's bytes; else the chunk
        std::uint64_t size = 0;  ///< bytes of its chunks; 0: various
        std::uint32_t arena = no_arena;
        unsigned bin = 0;
        std::size_t cache = 0;  ///< tcache: index into caches
        Address head;           ///< of a doubly linked list, where it ends
        bool transient = false;
        std::uint32_t length = 0;
        bool complete = false;
        Region* region = nullptr;  ///< of `entry`
        Address chunk() const { return to == ChunkState::free_tcache ? entry - 16 : entry; }
    };

    std::string name_of(const Chain& chain) const {
        if (chain.to == ChunkState::free_tcache)
            return fmt::format("list {} of the thread cache at {:#x}", chain.bin,
                               state_.caches[chain.cache].address.value);
        return fmt::format("{} {} of the arena at {:#x}", chain.to == ChunkState::free_fastbin ? "fastbin" : "bin",
                           chain.bin, state_.arenas[chain.arena].address.value);
    }

    void report(Corruption::Kind kind, Address at, Address chunk, const Chain& chain, bool transient,
                std::string_view what) {
        std::uint64_t value = 0;
        cursor_.load(at, value);
        std::uint32_t arena = chain.region != nullptr ? chain.region->arena : chain.arena;
        state_.add({kind, at, value, chunk, {}, {}, arena, transient, fmt::format("{} {}", name_of(chain), what)});
    }

    /// Takes the chain's chunk into its list. False: it cannot belong there, and the list must not be followed further.
    bool take(Chain& chain) {
        Address chunk = chain.chunk();
        if (!chunk.is_aligned(16)) {
            report(Corruption::Kind::list_link, chain.link, {}, chain, false,
                   fmt::format("leads to {:#x}, which is not aligned", chain.entry.value));
            return false;
        }
        Region* region = chain.region;
        auto now = region == nullptr ? std::nullopt : region->map.at(chunk);
        if (region == nullptr && state_.incomplete && state_.memory->is_mapped(chunk))
            return false;  // it may lie there
        if (!now || *now == ChunkState::fence || *now == ChunkState::top) {
            report(Corruption::Kind::list_link, chain.link, chunk, chain, chain.transient,
                   region == nullptr          ? "leads outside every heap"
                   : now == ChunkState::top   ? "leads to the top chunk"
                   : now == ChunkState::fence ? "leads to the end of a heap"
                                              : "leads to a place where no chunk begins");
            return false;
        }
        std::uint64_t actual = chunk_size(chunk).value_or(0);
        if (*now == ChunkState::unknown && (actual < min_chunk || actual > region->map.range().end.value - chunk.value))
            return false;
        if (chain.size != 0 && actual != chain.size) {
            report(Corruption::Kind::list_size, chunk + 8, chunk, chain, false,
                   fmt::format("is for chunks of {} bytes and holds one of {}", chain.size, actual));
            return false;
        }
        bool cached = chain.to == ChunkState::free_tcache || chain.to == ChunkState::free_fastbin;
        if (*now != ChunkState::in_use && *now != ChunkState::free_unlisted && *now != ChunkState::unknown) {
            report(Corruption::Kind::listed_twice, chain.link, chunk, chain, false,
                   fmt::format("leads to a chunk that is already listed as {}", to_string(*now)));
            return false;
        }
        if (cached && *now == ChunkState::free_unlisted)
            report(Corruption::Kind::listed_twice, chain.link, chunk, chain, chain.transient,
                   "holds a chunk that is marked free for joining as well");
        if (!cached && *now == ChunkState::in_use)
            report(Corruption::Kind::listed_in_use, chain.link, chunk, chain, chain.transient,
                   "holds a chunk that the one behind it marks as in use");
        if (*now != ChunkState::unknown) {
            auto& from = region->counts[static_cast<std::size_t>(*now)];
            --from.chunks;
            from.bytes -= actual;
            auto& into = region->counts[static_cast<std::size_t>(chain.to)];
            ++into.chunks;
            into.bytes += actual;
        }
        region->map.set(chunk, chain.to);
        return true;
    }

    /// One entry further. False: the list is at its end, or broken.
    bool step(Chain& chain) {
        if (!chain.head.is_null()) {
            std::uint64_t back = 0, next = 0;
            if (!chain.entry.is_aligned(16) || !cursor_.load(chain.entry + 24, back)) {
                report(Corruption::Kind::list_link, chain.link, {}, chain, chain.transient,
                       fmt::format("leads to {:#x}, where nothing can be", chain.entry.value));
                return false;
            }
            if (Address{back} + 16 != chain.link)
                report(Corruption::Kind::list_link, chain.entry + 24, chain.entry, chain, chain.transient,
                       "holds a chunk that does not lead back");
            if (!take(chain)) return false;
            if (chain.to == ChunkState::free_unsorted && chain.link == chain.head + 16)
                state_.freed_last.push_back(chain.entry);
            if (!cursor_.load(chain.entry + 16, next) || Address{next} == chain.head) return false;
            chain.link = chain.entry + 16;
            chain.entry = Address{next};
            return true;
        }
        Address chunk = chain.chunk();
        if (!take(chain)) return false;
        if (chain.length++ == 0) state_.freed_last.push_back(chunk);
        if (chain.to == ChunkState::free_tcache) {
            state_.caches[chain.cache].bytes += chunk_size(chunk).value_or(0);
            state_.cached.emplace_back(chunk, static_cast<std::uint32_t>(chain.cache));
            std::uint64_t key;
            if (cursor_.load(chunk + 24, key)) vote(key);
        }
        auto next = follow(chunk + 16);
        if (!next) return false;
        chain.complete = next->is_null();
        chain.link = chunk + 16;
        chain.entry = *next;
        return !chain.complete;
    }

    /// Follows all lists, several at a time: each step of one waits for memory that nobody could know before.
    void follow_all() {
        constexpr std::size_t at_once = 16;
        std::vector<Chain*> active;
        std::size_t started = 0;
        while (started < chains_.size() || !active.empty()) {
            while (active.size() < at_once && started < chains_.size()) {
                active.push_back(&chains_[started++]);
                fetch(*active.back());
            }
            for (std::size_t i = 0; i < active.size();) {
                if (step(*active[i])) {
                    fetch(*active[i++]);
                } else {
                    active[i] = active.back();
                    active.pop_back();
                }
            }
        }
    }

    void fetch(Chain& chain) {
        Address chunk = chain.chunk();
        if (chain.region == nullptr || !chain.region->map.range().contains(chunk))
            chain.region = state_.region_of(chunk);
        if (chain.region == nullptr || !chunk.is_aligned(16)) return;
        if (const std::byte* header = cursor_.data_at(chunk, 32)) __builtin_prefetch(header);
        chain.region->map.prefetch(chunk);
    }

    void add_caches() {
        for (std::size_t i = 0; i < state_.caches.size(); ++i)
            for (unsigned bin = 0; bin < layout_->bins; ++bin) {
                Address link = state_.caches[i].address + layout_->heads() + bin * 8;
                std::uint64_t head = 0;
                if (!cursor_.load(link, head) || head == 0) continue;
                std::uint64_t size = bin < small_cache_bins ? cache_bin_size(bin) : 0;
                chains_.push_back({.to = ChunkState::free_tcache,
                                   .link = link,
                                   .entry = {head},
                                   .size = size,
                                   .bin = bin,
                                   .cache = i});
            }
    }

    void check_counts() {
        for (Chain& chain : chains_) {
            if (chain.to != ChunkState::free_tcache) continue;
            ThreadCache& cache = state_.caches[chain.cache];
            cache.chunks += chain.length;
            std::uint32_t count = cache_count(cache.address, *layout_, chain.bin);
            // One less or more is what a thread stopped between two instructions of tcache_put leaves.
            if (chain.complete && !layout_->counts_places && chain.length != count)
                report(Corruption::Kind::count, cache.address + chain.bin * layout_->count_bytes, {}, chain,
                       chain.length + 1 == count || count + 1 == chain.length,
                       fmt::format("has {} entries, its counter says {}", chain.length, count));
        }
    }

    /// The key stands behind the link of all entries; Boyer and Moore's majority vote.
    void vote(std::uint64_t key) {
        if (key_votes_ == 0) key_ = key;
        if (key == key_)
            ++key_votes_;
        else
            --key_votes_;
    }

    void add_fastbins(std::uint32_t arena) {
        Address bins = state_.arenas[arena].address + state_.layouts[arena].fastbins();
        for (unsigned bin = 0; bin < fastbin_count; ++bin) {
            Address link = bins + bin * 8;
            std::uint64_t head = 0;
            if (!cursor_.load(link, head) || head == 0) continue;
            chains_.push_back({.to = ChunkState::free_fastbin,
                               .link = link,
                               .entry = {head},
                               .size = cache_bin_size(bin),
                               .arena = arena,
                               .bin = bin,
                               .transient = state_.arenas[arena].locked});
        }
    }

    void add_bins(std::uint32_t arena) {
        Address bins = state_.arenas[arena].address + state_.layouts[arena].bins;
        std::uint64_t first = 0;
        if (!cursor_.load(bins, first) || first == 0) return;  // never initialised
        for (unsigned bin = 1; bin <= bin_count; ++bin) {      // malloc counts bins from 1, the unsorted one
            Address head = bins + (bin - 1) * 16 - 16;         // bin_at(): as if it were a chunk
            std::uint64_t forward = 0;
            if (!cursor_.load(head + 16, forward) || Address{forward} == head) continue;
            ChunkState to = bin == 1   ? ChunkState::free_unsorted
                            : bin < 64 ? ChunkState::free_small
                                       : ChunkState::free_large;
            chains_.push_back({.to = to,
                               .link = head + 16,
                               .entry = {forward},
                               .size = to == ChunkState::free_small ? bin * 16u : 0,
                               .arena = arena,
                               .bin = bin,
                               .head = head,
                               .transient = state_.arenas[arena].locked});
        }
    }

    Heaps::State& state_;
    const CoreFile& core_;
    MemoryCursor cursor_;
    std::vector<Chain> chains_;
    const CacheLayout* layout_ = nullptr;
    bool mangled_ = false;
    std::uint64_t key_ = 0;
    std::size_t key_votes_ = 0;
};

}  // namespace

void read_lists(Heaps::State& state, const CoreFile& core) { Lists(state, core).read(); }

}  // namespace incident::native
