// Hash tables. By their structure alone, so that stripped programs have them too: std::unordered_* of libstdc++ (seven
// words that must agree with each other and with the list of nodes) and hand-made chained tables (an array whose words
// are null or lead to chunks of one size, which lead to each other). Where DWARF types them less has to agree.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "native/malloc.h"
#include "process/process.h"

namespace incident::detect {

/// std::unordered_map, _set, _multimap, _multiset (libstdc++ bits/hashtable.h, class _Hashtable).
struct UnorderedTable {
    Address header;
    Address buckets;
    std::uint64_t bucket_count = 0, elements = 0;
    std::uint64_t node_size = 0;       ///< of the chunks; 0: no element
    std::vector<Address> freed_nodes;  ///< reached from before_begin, but freed
    bool freed_buckets = false;        ///< it has elements, and its bucket array is freed
    float load_factor = 1;             ///< the most that it allows
    std::string name;                  ///< "g_worker->map", by DWARF; empty: found by structure
    std::string type;                  ///< then "_Hashtable<int, …>"
};
enum class TableBasis : std::uint8_t { structure, dwarf };
/// `header` is where one would begin; nullopt: these words are none. `dwarf`: its type says that it is one.
std::optional<UnorderedTable> read_unordered(const Memory& memory, const native::Heaps& heaps, Address header,
                                             TableBasis basis = TableBasis::structure);
/// Does `header`, whose first word leads to the freed `buckets`, look like a table that was destroyed in its place?
bool is_destroyed_table(const Memory& memory, Address header, const native::Chunk& buckets);
/// What the fifth word of such a table holds: max_load_factor, which is 1.0f where nobody has set it. A cheap sieve.
bool may_be_load_factor(std::uint64_t word);

/// An array of bucket heads, in use or freed.
struct BucketArray {
    Address array;
    std::uint64_t buckets = 0, used = 0;
    std::uint64_t node_size = 0;    ///< of the chunks
    bool linked = false;            ///< some of its nodes lead to others
    std::uint64_t link_offset = 0;  ///< of `next` in a node
};
enum class BucketLinks : std::uint8_t { needed, unknown };
/// `chunk` as one; of a freed chunk the words that malloc wrote are passed over. nullopt: it is none.
std::optional<BucketArray> read_bucket_array(const Memory& memory, const native::Heaps& heaps,
                                             const native::Chunk& chunk, BucketLinks links = BucketLinks::needed);

}  // namespace incident::detect
