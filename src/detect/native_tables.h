// Hash tables by their structure alone, so that stripped programs have them too: std::unordered_* of libstdc++ (seven
// words that must agree with each other and with the list of nodes) and hand-made chained tables (an array whose words
// are null or lead to chunks of one size, which lead to each other).
#pragma once

#include <cstdint>
#include <optional>
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
};
/// `header` is where one would begin; nullopt: these words are none.
std::optional<UnorderedTable> read_unordered(const Memory& memory, const native::Heaps& heaps, Address header);
/// What the fifth word of every such table with the default load factor holds: 1.0f.
constexpr bool may_be_load_factor(std::uint64_t word) { return (word & 0xffffffff) == 0x3f800000; }
inline constexpr std::uint64_t load_factor_offset = 32;

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
