// Go maps: the classic hash table of Go ≤ 1.23 (hmap, buckets of eight cells, overflow chains, growth bucket by bucket)
// and the Swiss table of 1.24 and later (Map, directory, tables, groups of eight slots with control bytes). walk_map()
// reads one map whole and checks every invariant that the runtime itself keeps; it allocates nothing and may run in
// parallel.
//
// Surprising: a map is only a pointer to its header. What its buckets look like stands in the map's type alone, so a
// MapShape (from the rtype, which stripped binaries have) is needed to walk. Flags of iteration stay set for ever after
// any range; a writing flag is normal while a goroutine writes, and then nothing else may be believed. Iterators keep
// bucket arrays and tables alive that the map itself has left behind: normal.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <optional>
#include <string_view>
#include <vector>

#include "go/binary/runtime.h"
#include "go/heap/spans.h"

namespace incident::go {

/// Bytes of the slot that the allocator gives an hmap or a Map, always an object of its own in the heap: 48, but 64
/// where Go 1.24 and 1.25 were built with noswissmap (hmap.clearSeq came with Go 1.24).
std::uint64_t map_header_slot(const RuntimeLayout& layout);

/// What a map type says about its tables' memory.
struct MapShape {
    Address rtype;      ///< of the map type
    Address key, elem;  ///< rtypes
    bool swiss = false;
    bool indirect_key = false, indirect_elem = false;  ///< cells hold pointers to them
    std::uint64_t unit = 0;                  ///< bytes of one bucket (classic) or group (Swiss): eight cells each
    std::uint64_t unit_pointers = 0;         ///< bytes of it, from the start, that can hold pointers; 0: none
    std::uint64_t keys = 8, key_stride = 0;  ///< of key i: keys + i * key_stride, from the start of the unit
    std::uint64_t elems = 0, elem_stride = 0;

    Address key_at(Address unit_at, unsigned cell) const { return unit_at + keys + cell * key_stride; }
    Address elem_at(Address unit_at, unsigned cell) const { return unit_at + elems + cell * elem_stride; }
};

/// nullopt: `rtype` is no map type descriptor that makes sense. [any thread]
std::optional<MapShape> read_map_shape(const Runtime& runtime, Address rtype);
/// Every map type in the modules' type sections, named and unnamed ones, by address.
std::vector<MapShape> find_map_shapes(const Runtime& runtime);

/// What contradicts what. In the order of blame: what comes first explains what comes after.
enum class MapFault : std::uint8_t {
    none,
    freed_header,  ///< the header lies in a free slot or page
    unmapped,      ///< buckets, directory, table or groups at an address that cannot be
    freed_table,   ///< … in a free slot or page
    wrong_memory,  ///< … in the middle of another object, or in one too small
    flags,         ///< bits that no runtime sets
    size,          ///< B, or depth, shift and directory length, contradict each other or the memory behind them
    table,         ///< a table's capacity, index, depth or growth budget contradict
    control,       ///< tophash or control bytes that the runtime never leaves so
    count,         ///< the header's (or a table's) count is not the number of full cells
};
std::string_view to_string(MapFault fault);

struct MapContradiction {
    MapFault fault = MapFault::none;
    Address at;                  ///< of the word or byte that contradicts
    std::uint64_t value = 0;     ///< what stands there
    std::uint64_t expected = 0;  ///< what the rest says, when that is one number
    std::string_view what;       ///< one clause, static
};

/// What one walk found.
struct MapWalk {
    Address header;
    bool swiss = false;
    bool complete = false;   ///< every bucket or group was read
    bool writing = false;    ///< the writing flag is set
    bool growing = false;    ///< classic: oldbuckets is there
    bool iterating = false;  ///< classic: the flag that stays after any range
    std::uint8_t flags = 0;
    std::uint8_t depth = 0;        ///< B, or globalDepth
    std::uint64_t count = 0;       ///< as the header says
    std::uint64_t cells = 0;       ///< full ones found
    std::uint64_t units = 0;       ///< buckets or groups read, overflow buckets too
    std::uint64_t used_units = 0;  ///< of these, with a full cell
    Address buckets;               ///< or the directory; a small Swiss map's group
    AddressRange array;            ///< memory that `buckets` should cover
    std::uint32_t found = 0;       ///< contradictions, also those beyond `contradictions`
    std::array<MapContradiction, 4> contradictions{};

    bool sound() const { return complete && found == 0; }
    bool has(MapFault fault) const {
        for (auto& c : contradictions)
            if (c.fault == fault) return true;
        return false;
    }
};

/// One full cell: addresses of its key and value in the table, indirection not followed.
using MapCell = std::function<void(Address key, Address elem)>;

class MapReader {
public:
    /// `spans` may be null: then memory is only checked for being mapped.
    MapReader(const Memory& memory, const RuntimeLayout& layout, const Spans* spans)
        : memory_(memory), layout_(layout), spans_(spans) {}

    /// Swiss or classic by the shape; at most `limit` buckets or groups. [any thread]
    MapWalk walk(Address header, const MapShape& shape, const MapCell* cell = nullptr,
                 std::uint64_t limit = std::uint64_t{1} << 26) const;
    /// Another number of buckets than the header says: for a header whose B was overwritten.
    MapWalk walk_classic(Address header, const MapShape& shape, std::optional<std::uint8_t> log2_buckets,
                         const MapCell* cell, std::uint64_t limit) const;

private:
    struct Classic;
    struct Swiss;
    const Memory& memory_;
    const RuntimeLayout& layout_;
    const Spans* spans_;
};

/// What the memory of a table may be in the heap.
enum class TableMemory : std::uint8_t {
    good,   ///< at the start of an allocated object that is large enough, or outside the heap and mapped
    free,   ///< a free slot or page
    wrong,  ///< not the start of an object, or too small
    unmapped,
    unknown,
};
TableMemory check_table_memory(const Memory& memory, const Spans* spans, Address at, std::uint64_t bytes);

}  // namespace incident::go
