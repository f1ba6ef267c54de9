// Heaps: glibc malloc as the core shows it: arenas, every chunk with its state, what the free lists say, and where
// malloc's own structures contradict each other. No symbol and no version number of libc is needed: main_arena is
// recognised by its 127 self-consistent list heads, the offsets of its fields by the ring of arenas, pointer mangling
// by which reading of the lists makes sense. Verified against programs' own counts with
// glibc 2.27, 2.31, 2.36, 2.41, 2.42, 2.43 and 2.44.
//
// Surprising: glibc itself counts chunks in a thread's cache (tcache) and in fastbins as used: the next chunk's
// prev_inuse bit stays set. mallinfo2().fordblks counts fastbins as free but tcache chunks as used. Here both are free.
// Other allocators (jemalloc, tcmalloc, mimalloc, musl) are recognised and named in `foreign()`, never guessed at.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "core/core_file.h"
#include "core/memory.h"
#include "image/images.h"
#include "report/report.h"

namespace incident::native {

enum class ChunkState : std::uint8_t {
    unknown,  ///< bytes that the walk had to skip after damage
    in_use,
    free_tcache,  ///< in a thread's cache
    free_fastbin,
    free_unsorted,
    free_small,
    free_large,
    free_unlisted,  ///< the next chunk says it is free, no list holds it: a thread stopped inside malloc, or damage
    top,            ///< the rest of the arena, never handed out since it was last joined
    fence,          ///< end marks of a heap that could not grow
    mmapped,        ///< in use, a mapping of its own
};
inline constexpr std::size_t chunk_states = 11;
std::string_view to_string(ChunkState state);

inline constexpr std::uint32_t no_arena = UINT32_MAX;

struct Chunk {
    Address address;         ///< its header: prev_size at +0, size|flags at +8
    AddressRange user;       ///< what the program may write: malloc returned user.begin
    std::uint64_t size = 0;  ///< bytes, header included
    ChunkState state = ChunkState::unknown;
    std::uint32_t arena = no_arena;  ///< index into arenas(); no_arena: mmapped

    bool free() const { return state >= ChunkState::free_tcache && state <= ChunkState::free_unlisted; }
    bool used() const { return state == ChunkState::in_use || state == ChunkState::mmapped; }
};

struct ChunkCount {
    std::uint64_t chunks = 0, bytes = 0;
};

struct Arena {
    Address address;  ///< struct malloc_state
    bool main = false;
    bool locked = false;     ///< its mutex is held: a thread was inside malloc, lists may be between two states
    bool in_motion = false;  ///< so is all of it, sizes too: whoever is inside did not die there
    Address top;
    std::uint64_t system_mem = 0;                   ///< bytes the arena believes it has from the system
    std::vector<AddressRange> heaps;                ///< what was walked, sorted
    std::array<ChunkCount, chunk_states> counts{};  ///< by ChunkState

    const ChunkCount& count(ChunkState state) const { return counts[static_cast<std::size_t>(state)]; }
    /// Free chunks and bytes as malloc_info and mallinfo count them: without tcache, with top.
    ChunkCount free_as_glibc_counts() const;
};

/// One thread's cache.
struct ThreadCache {
    Address address;                  ///< struct tcache_perthread_struct, itself a chunk in use
    std::optional<std::int32_t> tid;  ///< LWP id; null: of no thread whose TLS we could read
    std::uint32_t chunks = 0;
    std::uint64_t bytes = 0;
};

/// Something in malloc's structures that cannot be true.
struct Corruption {
    enum class Kind : std::uint8_t {
        size,           ///< a size field that no chunk can have
        prev_size,      ///< a free chunk's size and the copy behind it differ
        list_link,      ///< fd/bk of a bin, or a forward pointer of tcache or fastbin, that cannot be one
        listed_twice,   ///< one chunk in two lists, or twice in one: freed twice
        listed_in_use,  ///< in a bin, while the next chunk says it is in use
        list_size,      ///< in a list for another size
        list_cycle,
        count,  ///< a cache's counter contradicts its list
        arena,  ///< an arena's own fields
    };
    Kind kind;
    Address at;                         ///< the word that is wrong
    std::uint64_t value = 0;            ///< its content
    Address chunk;                      ///< the chunk concerned (header); null: none
    Address previous;                   ///< the chunk before it, the usual suspect of an overflow; null: none
    std::optional<Address> resumed_at;  ///< where the walk went on (Kind::size)
    std::uint32_t arena = no_arena;
    bool transient = false;  ///< a thread stopped in the middle of malloc leaves the same bytes
    std::string what;        ///< one clause for a person
};
std::string_view to_string(Corruption::Kind kind);

/// Where the threads were with regard to malloc. Locks do not tell all: glibc takes none in a process of one thread.
struct MallocStop {
    bool alone_inside = false;  ///< the only thread there is was stopped inside malloc, and did not die there
    bool died_inside = false;   ///< what it died of happened inside malloc: contradictions are what it met with
};

/// An allocator that is there and that we do not read.
struct ForeignAllocator {
    std::string name;   ///< "jemalloc"
    std::string basis;  ///< "/usr/lib/x86_64-linux-gnu/libjemalloc.so.2 is mapped"
};

class Heaps {
public:
    struct State;  ///< private to native/

    /// Finds and walks everything. Keeps a reference to `memory`. Not finding glibc malloc is no failure: arenas() is
    /// empty.
    static Result<Heaps> read(const CoreFile& core, const Memory& memory, const Images& images, unsigned jobs,
                              MallocStop stop = {});

    std::span<const Arena> arenas() const;  ///< main arenas first
    std::span<const ThreadCache> caches() const;
    std::span<const ForeignAllocator> foreign() const;
    std::span<const Corruption> corruptions() const;  ///< in address order, at most `max_corruptions`
    std::uint64_t corruptions_dropped() const;        ///< beyond that
    const std::vector<report::Gap>& gaps() const;
    ChunkCount mmapped() const;

    /// Pointers in tcache and fastbin lists are xored with their own place >> 12 (2.32+); null: no list to tell from.
    std::optional<bool> safe_linking() const;
    /// Second word of every chunk in a tcache (2.29+: the cache's address, 2.34+: a random number); null: none seen.
    std::optional<std::uint64_t> tcache_key() const;

    /// The chunk that holds `a`, its header included (the first 8 bytes of a header belong to the chunk before while
    /// that is in use). O(1) but for the binary search over heaps [any thread].
    std::optional<Chunk> find(Address a) const noexcept;
    /// Index into caches() of the thread cache that lists `chunk` (its header); null: none does.
    std::optional<std::size_t> cache_of(Address chunk) const noexcept;
    /// Is `chunk` (its header) the first of its list: of thread cache, fastbin and unsorted bin the one freed last?
    bool freed_last(Address chunk) const noexcept;
    /// In any walked heap or mmapped chunk: cheaper than find() [any thread].
    bool contains(Address a) const noexcept;
    /// Walked ranges and mmapped chunks, sorted: what a pointer must fall into to be a malloc pointer.
    std::span<const AddressRange> ranges() const;
    /// All chunks but fences, in address order per heap; `ranges()` index order. [any thread]
    void for_each_chunk(const std::function<void(const Chunk&)>& visit) const;
    void for_each_chunk_in(std::size_t range, const std::function<void(const Chunk&)>& visit) const;

    static constexpr std::size_t max_corruptions = 1024;

private:
    std::shared_ptr<const State> state_;
    explicit Heaps(std::shared_ptr<const State> state) : state_(std::move(state)) {}
};

}  // namespace incident::native
