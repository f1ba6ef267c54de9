#include "detect/native_typed.h"

#include <fmt/format.h>

#include <algorithm>

namespace incident::detect {

namespace {

using Source = LiveMemory::Source;

constexpr std::uint64_t largest_node = 4096;  // bytes whose words are asked for their types
constexpr std::uint64_t most_elements = 1 << 20;
constexpr std::uint64_t fewest_live = 3;
constexpr std::uint64_t live_for_each_freed = 4;
constexpr std::size_t most_chunks = 64;
constexpr std::size_t most_sweeps = 64;       // over all chunks in use
constexpr std::size_t most_neighbours = 256;  // words whose structs are looked at
constexpr std::size_t most_beside = 64;       // words that lead to one freed chunk
constexpr std::uint64_t near = 256;           // bytes on each side of a pointer: the rest of its struct

/// A variable, or the member of a struct; elements of arrays, and what lies behind the first object of a chunk, are
/// none.
bool is_member(const LiveMemory::Word& word, const WordName& name) {
    return name.typed && !name.element && !name.spare &&
           (word.source == Source::data || (name.object && !name.member.empty()));
}

}  // namespace

TypedWords::TypedWords(const Process& process, WordNames& names, const LiveMemory& live, std::span<const Stale> all,
                       std::span<const std::uint64_t> on_stack)
    : process_(process), names_(names), live_(live), on_stack_(on_stack) {
    for (const Stale& row : all)
        if (row.start) by_chunk_.emplace(row.chunk.address.value, &row);
    std::uint64_t chunks = 0;
    for (auto at = by_chunk_.begin(); at != by_chunk_.end(); at = by_chunk_.equal_range(at->first).second) ++chunks;
    crowded_ = chunks > most_chunks;
}

std::optional<TypedFault> TypedWords::judge(const Stale& stale) {
    if (!stale.start || stale.word.source == Source::stack || !ours(stale.word)) return std::nullopt;
    const WordName name = names_.name(stale.word);
    if (!name.typed || name.spare) return std::nullopt;
    return name.element ? judge_element(stale, name) : judge_link(stale, name);
}

std::optional<TypedFault> TypedWords::judge_link(const Stale& stale, const WordName& name) {
    if (stale.word.source != Source::chunk || !name.object || name.pointee != name.object || name.member.empty())
        return std::nullopt;
    const AddressRange node = holder(stale.word);
    if (node.size() != stale.chunk.user.size() || on_stack(node)) return std::nullopt;
    const auto& links = links_of(name.object);
    const std::uint64_t link = stale.word.at - node.begin;
    const LiveMemory::Word* other = nullptr;
    const bool freed_last = process_.malloc->freed_last(stale.chunk.address);
    bool followed = false;
    if (links.size() > 1) {
        // A node that was taken out of its list is still the neighbour of one whose link nobody cleared; of two, one of
        // them would be followed.
        std::size_t looks = 0;
        for (auto [at, end] = by_chunk_.equal_range(stale.chunk.address.value); at != end; ++at) {
            const Stale& row = *at->second;
            if (++looks > most_beside) return std::nullopt;
            if (same_object(row.word, stale.word)) continue;
            const WordName beside = names_.name(row.word);
            if (!beside.typed || beside.spare || beside.pointee != name.object) continue;
            if (row.word.source == Source::chunk && on_stack(holder(row.word))) return std::nullopt;
            if (row.word.source == Source::chunk && beside.object == name.object) other = &row.word;
        }
        // Or the way here from the root came along these links, in this direction.
        const WordName way = names_.name(names_.word_to(stale.word.chunk));
        followed = way.typed && way.object == name.object && way.member == name.member && freed_last;
    } else {
        followed = freed_last || is_led_to(node.begin, node.size(), link);
    }
    TypedFault fault;
    fault.only_counts = other == nullptr && !followed;
    fault.title = fmt::format("{} leads to a freed node", name.text);
    fault.why = other != nullptr
                    ? fmt::format("{}; {} leads there too, and both nodes are in use",
                                  process_.locator->describe(stale.chunk.user.begin), names_.name(*other).text)
                    : fmt::format("{}; the node that leads there by its {} is in use",
                                  process_.locator->describe(stale.chunk.user.begin), name.member);
    fault.fault = "link to a freed node";
    fault.remedy = "unlink the node before it is freed";
    fault.family = name.owner + "::" + name.member;
    return fault;
}

std::optional<TypedFault> TypedWords::judge_element(const Stale& stale, const WordName& name) {
    std::uint64_t in_use = name.in_use;
    if (in_use == 0 && stale.word.source == Source::chunk) in_use = names_.counted(stale.word.chunk);
    if (in_use > 0 && name.index >= in_use) return std::nullopt;
    const std::uint64_t count = in_use > 0 ? in_use : name.count;
    const Address array = stale.word.at - name.index * 8;
    const AddressRange all{array, array + std::min(count, most_elements) * 8};
    if (count > most_elements || on_stack(all)) return std::nullopt;
    const Elements& elements = elements_of(array, count);
    if (elements.live < fewest_live || elements.live < elements.freed.size() * live_for_each_freed) return std::nullopt;
    if (in_use > 0) {
        // From one end on: somebody may be at freeing them all.
        const auto& freed = elements.freed;
        const bool run = freed.empty() || freed.back() - freed.front() + 1 == freed.size();
        if (run && (freed.empty() || freed.front() == 0 || freed.back() + 1 == count)) return std::nullopt;
    } else if (elements.others > 0 || elements.freed.size() != 1 || !elements.null_before_live ||
               name.index > elements.last_live || !process_.malloc->freed_last(stale.chunk.address)) {
        // Where no count says how many are in use: slots that are null when they are empty.
        return std::nullopt;
    }
    TypedFault fault;
    fault.title = fmt::format("an element in use leads to a freed chunk: {}", name.text);
    fault.why = fmt::format("{}; {} of the {} elements lead to chunks in use",
                            process_.locator->describe(stale.chunk.user.begin), elements.live, count);
    fault.fault = "element of an array";
    fault.remedy = "take the pointer out of the container before the object is freed; run with ASan";
    fault.family = fmt::format("array {:#x}", array.value);
    fault.of_array = true;
    return fault;
}

const TypedWords::Elements& TypedWords::elements_of(Address array, std::uint64_t count) {
    auto [known, fresh] = arrays_.try_emplace(array.value);
    Elements& out = known->second;
    if (!fresh) return out;
    MemoryCursor cursor(process_.memory);
    bool null = false;
    for (std::uint64_t i = 0; i < count; ++i) {
        std::uint64_t word = 0;
        if (!cursor.load(array + i * 8, word)) return out = {};
        null = null || word == 0;
        if (word == 0) continue;
        const auto chunk = process_.malloc->find(Address{word});
        if (!chunk || chunk->user.begin.value != word) {
            ++out.others;
        } else if (chunk->used()) {
            ++out.live;
            out.last_live = i;
            out.null_before_live = out.null_before_live || null;
        } else if (chunk->free()) {
            out.freed.push_back(i);
        } else {
            ++out.others;
        }
    }
    return out;
}

bool TypedWords::member_of_idle(const Stale& stale) {
    const WordName name = names_.name(stale.word);
    if (!is_member(stale.word, name) || !ours(stale.word)) return false;
    return stale.word.source == Source::data || !on_stack(holder(stale.word));
}

bool TypedWords::left_by_moved_buffer(const Stale& stale) {
    if (stale.start || ++neighbours_ > most_neighbours || !member_of_idle(stale)) return false;
    const WordName name = names_.name(stale.word);
    // Behind the head that an allocator of the program's own puts in front of its objects, these begin in the middle.
    const auto pointee = place_in(name.pointee, 0);
    if (!pointee || !pointee->path.empty() || name.member.empty()) return false;
    LiveMemory::Word beside = stale.word;
    AddressRange around{stale.word.at - near, stale.word.at + near};
    if (stale.word.source == Source::chunk) {
        around = {std::max(around.begin, holder(stale.word).begin), std::min(around.end, holder(stale.word).end)};
    }
    const std::string_view object = std::string_view(name.text).substr(0, name.text.size() - name.member.size());
    for (beside.at = around.begin; beside.at + 8 <= around.end; beside.at += 8) {
        auto word = process_.memory.load<std::uint64_t>(beside.at);
        if (!word || *word == 0 || beside.at == stale.word.at) continue;
        auto chunk = process_.malloc->find(Address{*word});
        if (!chunk || !chunk->used() || chunk->user.begin.value != *word) continue;
        const WordName other = names_.name(beside);
        if (is_member(beside, other) && other.type == name.type && other.text == std::string(object) + other.member)
            return true;
    }
    return false;
}

bool TypedWords::links_nodes(const Stale& stale) {
    if (stale.word.source != Source::chunk) return false;
    const WordName name = names_.name(stale.word);
    return name.typed && name.object && name.pointee == name.object;
}

/// Where a struct has pointers to its own kind.
const std::vector<std::uint64_t>& TypedWords::links_of(TypeRef type) {
    auto [known, fresh] = links_.try_emplace(type.die);
    if (!fresh) return known->second;
    const std::uint64_t size = std::min(size_of(type), largest_node);
    for (std::uint64_t offset = 0; offset + 8 <= size; offset += 8)
        if (auto place = place_in(type, offset);
            place && place->pointer && place->offset == 0 && place->pointee == type)
            known->second.push_back(offset);
    return known->second;
}

/// Does another chunk in use, of the node's size, have its address where the node has its link?
bool TypedWords::is_led_to(Address node, std::uint64_t node_size, std::uint64_t link) {
    return ++sweeps_ <= most_sweeps && std::ranges::any_of(live_.chunks(), [&](const LiveMemory::Reached& row) {
        if (row.user.size() != node_size || row.user.begin == node) return false;
        const auto word = process_.memory.load_address(row.user.begin + link);
        return word && *word == node;
    });
}

/// What libc keeps in its own structures is its own business.
bool TypedWords::ours(const LiveMemory::Word& word) {
    LiveMemory::Word root{.image = names_.image_of(word)};
    return root.image != nullptr && !LiveMemory::of_system_library(root);
}

bool TypedWords::on_stack(AddressRange range) const {
    const auto first = std::ranges::lower_bound(on_stack_, range.begin.value);
    return first != on_stack_.end() && *first < range.end.value;
}

}  // namespace incident::detect
