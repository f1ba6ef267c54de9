#include "detect/native_stale.h"

#include <algorithm>
#include <vector>

#include "detect/native_tables.h"

namespace incident::detect {

namespace {

using Source = LiveMemory::Source;

constexpr std::size_t most_words = 2;        ///< single words that accuse; more are the program's habit (g++: 2 to 15)
constexpr std::size_t most_variables = 8;    ///< that lead to freed chunks, accusing or not (g++: dozens)
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

bool accuses(const Process& process, const LiveMemory& live, const Stale& stale) {
    return stale.start && !was_table(process, stale) && process.malloc->freed_last(stale.chunk.address) &&
           plausible_holder(process, live, stale) && !was_stream(process, stale.chunk);
}

bool are_a_habit(const Process& process, const LiveMemory& live, std::span<const Stale> all) {
    std::vector<const Stale*> heads;
    std::size_t variables = 0;
    for (const Stale& stale : all) {
        const bool variable = stale.start && stale.word.source == Source::data;
        variables += variable && plausible_holder(process, live, stale) ? 1 : 0;
        if (variables > most_variables) return true;
        if (stale.told || !accuses(process, live, stale)) continue;
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
