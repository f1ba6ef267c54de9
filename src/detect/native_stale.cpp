#include "detect/native_stale.h"

#include <algorithm>
#include <unordered_set>
#include <vector>

#include "detect/native_tables.h"
#include "detect/native_typed.h"

namespace incident::detect {

namespace {

using Source = LiveMemory::Source;

constexpr std::size_t most_words = 2;      ///< single words that accuse; more are the program's habit (g++: 2 to 15)
constexpr std::size_t most_variables = 8;  ///< that lead to freed chunks, accusing or not (g++: dozens)
/// Freed chunks that pointers were let lie to. One chunk in ten or so is the one freed last of its size: of this many,
/// one or two are so by chance.
constexpr std::size_t most_let_lie = 16;
constexpr std::size_t most_named = 10000;    ///< words whose types are asked for
constexpr std::uint64_t small_object = 136;  ///< bytes; larger chunks are buffers, pools and arrays more often

/// FILE: a closed stream's chunk keeps the pointer to its functions (glibc libio/libioP.h, _IO_FILE_plus.vtable).
bool was_stream(const Process& process, const native::Chunk& chunk) {
    constexpr std::uint64_t vtable = 216;
    if (chunk.user.size() < vtable + 8) return false;
    auto word = process.memory.load_address(chunk.user.begin + vtable);
    Placement place = word ? process.locator->place(*word) : Placement{};
    return place.section != nullptr &&
           (place.section->name == "__libc_IO_vtables" || place.section->name.starts_with(".data.rel.ro"));
}

}  // namespace

bool same_object(const LiveMemory::Word& a, const LiveMemory::Word& b) {
    return a.source == b.source && (a.source == Source::chunk ? a.chunk == b.chunk : a.at == b.at);
}

bool was_table(const Process& process, const Stale& stale) {
    return stale.start && is_destroyed_table(process.memory, stale.word.at, stale.chunk);
}

bool plausible_holder(const Process& process, const LiveMemory& live, const Stale& stale) {
    if (stale.word.source == Source::data) {
        if (LiveMemory::of_system_library(stale.word)) return false;
        // A word of a library that nothing names: nobody could say what it is for (libldap keeps such a one all its
        // life).
        return stale.word.image == process.images->executable() || !process.locator->symbol(stale.word.at).empty();
    }
    const auto& holder = live.chunks()[stale.word.chunk];
    if (holder.depth != 1 || holder.user.size() > small_object) return false;
    // A container's node that only the stack leads to: the thread may be at taking it apart (clear() in a loop).
    if (process.locator->place(holder.from).image == nullptr) return false;
    // A word that is no pointer to C heap: an object. Only such pointers: an array, whose spare room is stale.
    for (Address at = holder.user.begin; at + 8 <= holder.user.end; at += 8) {
        auto word = process.memory.load<std::uint64_t>(at);
        if (word && *word != 0 && !process.malloc->contains(Address{*word})) return true;
    }
    return false;
}

bool accuses(const Process& process, const LiveMemory& live, TypedWords& typed, const Stale& stale) {
    if (!process.malloc->freed_last(stale.chunk.address)) return false;
    if (!stale.start) return typed.left_by_moved_buffer(stale);
    if (was_table(process, stale) || was_stream(process, stale.chunk) || typed.links_nodes(stale)) return false;
    return (!typed.crowded() && plausible_holder(process, live, stale)) || typed.member_of_idle(stale);
}

bool are_a_habit(const Process& process, const LiveMemory& live, TypedWords& typed, std::span<const Stale> all) {
    std::vector<const Stale*> heads;
    std::size_t variables = 0, named = 0;
    std::unordered_set<std::uint64_t> let_lie;
    for (const Stale& stale : all) {
        const bool plausible = stale.start && plausible_holder(process, live, stale);
        variables += plausible && stale.word.source == Source::data ? 1 : 0;
        if (variables > most_variables) return true;
        if (plausible || (stale.start && ++named <= most_named && typed.member_of_idle(stale)))
            let_lie.insert(stale.chunk.address.value);
        if (let_lie.size() > most_let_lie) return true;
        if (stale.told || !accuses(process, live, typed, stale)) continue;
        if (std::ranges::any_of(heads, [&](const Stale* head) {
                return head->chunk.address == stale.chunk.address || same_object(head->word, stale.word);
            }))
            continue;
        heads.push_back(&stale);
        if (heads.size() > most_words) return true;
    }
    return false;
}

}  // namespace incident::detect
