#include "detect/native_tables.h"

#include <algorithm>
#include <bit>

namespace incident::detect {

namespace {

constexpr std::uint64_t most_elements = 1 << 24;
constexpr std::uint64_t most_buckets = 1 << 26;
constexpr std::uint64_t fewest_buckets = 16;  // a shorter array of pointers may be anything

}  // namespace

// bits/hashtable.h: _M_buckets, _M_bucket_count, _M_before_begin._M_nxt, _M_element_count, _M_rehash_policy
// {float _M_max_load_factor, size_t _M_next_resize}, _M_single_bucket; since gcc 4.9.
std::optional<UnorderedTable> read_unordered(const Memory& memory, const native::Heaps& heaps, Address header,
                                             TableBasis basis) {
    const bool typed = basis == TableBasis::dwarf;
    std::uint64_t words[7];
    if (!memory.load(header, std::as_writable_bytes(std::span(words)))) return std::nullopt;
    UnorderedTable table{
        .header = header, .buckets = Address{words[0]}, .bucket_count = words[1], .elements = words[3]};
    table.load_factor = std::bit_cast<float>(static_cast<std::uint32_t>(words[4]));
    if (!may_be_load_factor(words[4]) || (!typed && table.load_factor != 1.0f) || table.bucket_count == 0 ||
        table.bucket_count > most_buckets || table.elements > most_elements || (table.elements == 0) != (words[2] == 0))
        return std::nullopt;
    constexpr std::uint64_t single_bucket = 48;
    if (table.buckets == header + single_bucket) {
        if (table.bucket_count != 1) return std::nullopt;
    } else {
        auto array = heaps.find(table.buckets);
        if (!array || array->user.begin != table.buckets || array->user.size() < table.bucket_count * 8)
            return std::nullopt;
        // A destroyed table leads to its array still, but has cleared the rest.
        table.freed_buckets = typed && array->free() && table.elements > 0;
    }
    Address node{words[2]};
    std::uint64_t seen = 0;
    for (; !node.is_null() && seen < table.elements; ++seen) {
        auto chunk = heaps.find(node);
        if (!chunk || chunk->user.begin != node) return std::nullopt;
        if (chunk->free()) {
            if (seen == 0 && !typed) return std::nullopt;
            table.freed_nodes.push_back(node);
            break;  // its link is malloc's now
        }
        table.node_size = std::max(table.node_size, chunk->size);
        auto next = memory.load_address(node);
        if (!next) return std::nullopt;
        node = *next;
    }
    if (table.freed_nodes.empty() && (seen != table.elements || !node.is_null())) return std::nullopt;
    return table;
}

bool is_destroyed_table(const Memory& memory, Address header, const native::Chunk& buckets) {
    // ~_Hashtable: clear(), which leaves no first node and no elements, then the array is given back; nothing else.
    std::uint64_t words[5];
    return memory.load(header, std::as_writable_bytes(std::span(words))).has_value() &&
           words[0] == buckets.user.begin.value && words[1] > 1 && words[1] <= buckets.user.size() / 8 &&
           words[2] == 0 && words[3] == 0 && may_be_load_factor(words[4]);
}

bool may_be_load_factor(std::uint64_t word) {
    const auto factor = std::bit_cast<float>(static_cast<std::uint32_t>(word));
    return factor >= 1.0f / 64 && factor <= 1024.0f;
}

std::optional<BucketArray> read_bucket_array(const Memory& memory, const native::Heaps& heaps,
                                             const native::Chunk& chunk, BucketLinks links) {
    // fd, bk, fd_nextsize, bk_nextsize, or next and key: what free() wrote.
    std::uint64_t skip = chunk.free() ? 32 : 0;
    std::uint64_t count = chunk.user.size() / 8;
    if (count < fewest_buckets || count > most_buckets) return std::nullopt;
    BucketArray array{chunk.user.begin, count, 0, 0, false, 0};
    MemoryCursor cursor(memory);
    std::vector<Address> nodes;
    bool empty = false, sparse = false, freed = false, freed_inside = false;
    for (Address at = chunk.user.begin + skip; at + 8 <= chunk.user.end; at += 8) {
        std::uint64_t word;
        if (!cursor.load(at, word)) return std::nullopt;
        // Spare room behind the last bucket belongs to nobody.
        const bool last = at + 16 > chunk.user.end;
        if (word == 0) {
            empty |= !last;
            continue;
        }
        auto node = heaps.find(Address{word});
        if (!node || node->user.begin != Address{word} || node->address == chunk.address ||
            (array.node_size != 0 && node->size != array.node_size)) {
            if (last) continue;
            return std::nullopt;
        }
        array.node_size = node->size;
        ++array.used;
        sparse |= empty;
        freed |= node->free();
        freed_inside |= node->free() && !nodes.empty();
        if (nodes.size() < 4096 && node->used()) nodes.push_back(Address{word});
    }
    if (array.used < 4 || nodes.size() < 3) return std::nullopt;
    // A queue's block has its words side by side, and those it has taken out stay, in front (std::deque of unique_ptr).
    if (empty ? !sparse : freed && !freed_inside) return std::nullopt;
    // The link: a place where every node has null or a node of the same size, and some have one.
    for (std::uint64_t offset = 0; offset + 8 <= array.node_size - 8 && offset < 64; offset += 8) {
        std::size_t linked = 0;
        bool fits = std::ranges::all_of(nodes, [&](Address node) {
            std::uint64_t word;
            if (!cursor.load(node + offset, word)) return false;
            if (word == 0) return true;
            auto next = heaps.find(Address{word});
            ++linked;
            return next && next->user.begin == Address{word} && next->size == array.node_size;
        });
        if (!fits || linked == 0) continue;
        array.link_offset = offset;
        array.linked = true;
        return array;
    }
    return links == BucketLinks::unknown ? std::optional(array) : std::nullopt;
}

}  // namespace incident::detect
