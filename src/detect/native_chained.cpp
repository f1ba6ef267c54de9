#include "detect/native_chained.h"

#include <unordered_set>

namespace incident::detect {

namespace {

constexpr std::size_t longest_chain = 1000;
constexpr std::uint64_t most_buckets = 1 << 20;
constexpr std::uint64_t fewest_used = 2;
constexpr std::size_t most_freed_links = 2;

/// Null, or where a chunk begins that can hold a node.
bool is_node(const native::Heaps& heaps, Address a, std::uint64_t size, bool& used) {
    auto chunk = heaps.find(a);
    if (!chunk || chunk->user.begin != a || chunk->user.size() < size) return false;
    used = chunk->used();
    return true;
}

}  // namespace

std::optional<TypedBucket> typed_bucket_of(const Process& process, WordNames& names, const LiveMemory& live,
                                           const LiveMemory::Word& word) {
    const native::Heaps& heaps = *process.malloc;
    WordName name = names.name(word);
    const TypeRef node = name.pointee;
    auto link = name.typed ? self_link(node) : std::nullopt;
    if (!link) return std::nullopt;
    TypedBucket bucket;
    // From a link up to the bucket that its chain hangs in.
    LiveMemory::Word at = word;
    for (; !name.element; ++bucket.depth) {
        if (at.source != LiveMemory::Source::chunk || bucket.depth == longest_chain ||
            at.at != live.chunks()[at.chunk].user.begin + *link)
            return std::nullopt;
        bucket.link = name.member;
        at = names.word_to(at.chunk);
        name = names.name(at);
        if (!name.typed || name.pointee != node) return std::nullopt;
    }
    bucket.array = name.text.substr(0, name.text.rfind('['));
    bucket.address = at.at - name.index * 8;
    bucket.index = name.index;
    bucket.buckets = name.count;
    bucket.node = name.type.substr(0, name.type.rfind('*'));
    while (bucket.node.ends_with(' ')) bucket.node.pop_back();
    if (bucket.buckets > most_buckets) return std::nullopt;
    const std::uint64_t size = size_of(node);
    const bool in_chunk = at.source == LiveMemory::Source::chunk;
    bool empty = false, sparse = false, behind = false, crossed = false;
    std::size_t freed_links = 0;
    std::unordered_set<std::uint64_t> heads;
    for (std::uint64_t i = 0; i < bucket.buckets; ++i)
        if (auto head = process.memory.load_address(bucket.address + i * 8)) heads.insert(head->value);
    for (std::uint64_t i = 0; i < bucket.buckets; ++i) {
        auto head = process.memory.load_address(bucket.address + i * 8);
        bool used = false;
        if (!head) return std::nullopt;
        const bool spare = in_chunk && i + 2 >= bucket.buckets;  // room of malloc's behind the last bucket
        if (head->is_null()) {
            empty = empty || !spare;
            continue;
        }
        if (!is_node(heaps, *head, size, used)) {
            if (spare) continue;
            return std::nullopt;
        }
        if (!used) continue;
        ++bucket.used;
        behind = behind || i > bucket.index;
        sparse = sparse || empty;
        const auto next = process.memory.load_address(*head + *link);
        if (!next || (!next->is_null() && !is_node(heaps, *next, size, used))) return std::nullopt;
        if (next->is_null()) continue;
        ++bucket.linked;
        crossed = crossed || heads.contains(next->value);
        freed_links += used ? 0 : 1;
    }
    // Many such links are left from another time, when these nodes were in a pool.
    if (bucket.used < fewest_used || bucket.linked == 0 || freed_links > most_freed_links) return std::nullopt;
    // A full one has no empty buckets. Then the freed node is not behind all others, most have chains, and no chain
    // leads into another.
    const bool full = !empty && (behind || bucket.depth > 0) && bucket.linked * 2 > bucket.used && !crossed;
    if (!sparse && !full) return std::nullopt;
    return bucket;
}

}  // namespace incident::detect
