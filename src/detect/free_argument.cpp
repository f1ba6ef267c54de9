#include "detect/free_argument.h"

#include <algorithm>
#include <map>
#include <tuple>
#include <unordered_set>
#include <vector>

#include "detect/native.h"
#include "process/call_argument.h"

namespace incident::detect {

namespace {

using native::Chunk;
using native::ChunkState;

constexpr std::uint64_t most_stack = 64 << 10;  // of libc's frames, searched

struct Word {
    Address at;
    std::uint64_t value;
};

/// Registers that libc's frames saved.
std::vector<Word> saved_words(const Process& process, Address begin, Address end) {
    std::vector<Word> words;
    MemoryCursor cursor(process.memory);
    std::uint64_t value = 0;
    for (Address at = begin; at < end && at < begin + most_stack && cursor.load(at, value); at += 8)
        words.push_back({at, value});
    return words;
}

/// malloc calls a pointer or a size invalid, and nothing is wrong with this chunk: it was not about this one.
bool acquitted(const native::Heaps& heaps, const Chunk& chunk) {
    if (chunk.state != ChunkState::in_use && chunk.state != ChunkState::mmapped) return false;
    return std::ranges::none_of(heaps.corruptions(), [&](auto& row) { return row.chunk == chunk.address; });
}

/// _int_free holds both the pointer and the chunk in front of it: who stands there in both forms, is it.
std::optional<FreeArgument> chunk_in_words(const native::Heaps& heaps, const std::vector<Word>& words,
                                           std::string_view text) {
    const bool doubled = text.contains("double free"), invalid = text.contains("invalid pointer");
    struct Seen {
        Address at;
        bool as_chunk = false, as_pointer = false;
    };
    std::map<Address, Seen> seen;
    for (auto& word : words) {
        const Address value{word.value};
        if (!value.is_aligned(16)) continue;
        auto chunk = heaps.find(value);
        if (!chunk || (chunk->user.begin != value && chunk->address != value)) continue;
        if (doubled && !chunk->free()) continue;
        if (invalid && acquitted(heaps, *chunk)) continue;
        Seen& row = seen[chunk->user.begin];
        row.at = word.at;
        (chunk->address == value ? row.as_chunk : row.as_pointer) = true;
    }
    auto rank = [](const auto& row) {
        return std::tuple(row.second.as_chunk && row.second.as_pointer, row.second.as_chunk, row.second.at);
    };
    auto best = std::ranges::max_element(seen, {}, rank);
    if (best == seen.end()) return std::nullopt;
    return FreeArgument{best->first, "registers saved by libc's frames", best->second.at};
}

/// The same two forms of a pointer into the middle of a chunk: nothing else is kept 16 bytes apart there.
std::optional<FreeArgument> middle_in_words(const native::Heaps& heaps, const std::vector<Word>& words) {
    std::unordered_set<std::uint64_t> values;
    for (auto& word : words) values.insert(word.value);
    for (auto& word : words) {
        if (!values.contains(word.value - 16)) continue;
        const Address value{word.value};
        auto chunk = heaps.find(value);
        if (chunk && chunk->used() && value > chunk->user.begin)
            return FreeArgument{value, "registers saved by libc's frames", word.at};
    }
    return std::nullopt;
}

}  // namespace

std::optional<FreeArgument> find_free_argument(const Process& process, std::string_view text) {
    auto own = first_own_frame(process);
    const auto& stack = process.crash->stack;
    if (!own || *own >= stack.frame_of.size()) return std::nullopt;
    std::uint32_t physical = stack.frame_of[*own];
    const auto& caller = stack.physical[physical];
    if (caller.native < stack.native.size() && physical > 0) {
        // operator delete between free and its caller passes its own argument on.
        if (auto argument = first_argument(process, caller.pc, stack.native[caller.native].state.registers))
            return FreeArgument{Address{argument->value}, "the caller's code", argument->slot};
    }
    // C.free, or a wrapper that jumps to it: cgo gives C the address of the stub's first parameter, which stands
    // where its caller put it or left room for it (cmd/cgo/out.go, writeDefsFunc).
    if (caller.name().contains("._Cfunc_") && !caller.cfa.is_null())
        if (auto word = process.memory.load<std::uint64_t>(caller.cfa))
            return FreeArgument{Address{*word}, "the cgo call's argument", caller.cfa};
    if (text.empty() || !process.malloc) return std::nullopt;
    const auto words = saved_words(process, stack.physical.front().sp, caller.sp);
    if (auto chunk = chunk_in_words(*process.malloc, words, text)) return chunk;
    return text.contains("invalid pointer") ? middle_in_words(*process.malloc, words) : std::nullopt;
}

Address arena_heap_of(Address pointer) {
    constexpr std::uint64_t arena_heap = 64 << 20;  // HEAP_MAX_SIZE of 64-bit machines
    return Address{(pointer.value - 16) & ~(arena_heap - 1)};
}

std::optional<FreeArgument> find_faulting_argument(const Process& process, Address fault) {
    constexpr std::uint64_t of_another_arena = 4;  // NON_MAIN_ARENA
    if (!process.crash || !process.crash->registers || !process.malloc) return std::nullopt;
    const auto& registers = *process.crash->registers;
    const auto& names = registers.machine().registers;
    std::optional<FreeArgument> found;
    for (unsigned i = 0; i < names.size(); ++i) {
        const auto value = registers.get(i);
        if (!value) continue;
        for (const Address pointer : {Address{*value + 16}, Address{*value}}) {
            const auto size = process.memory.load<std::uint64_t>(pointer - 8);
            if (arena_heap_of(pointer) != fault || !process.malloc->find(pointer) || !size ||
                (*size & of_another_arena) == 0)
                continue;
            if (found && found->pointer != pointer) return std::nullopt;
            found = FreeArgument{pointer, "a register inside free()", std::nullopt};
        }
    }
    return found;
}

bool died_in_free(const Process& process) {
    auto own = first_own_frame(process);
    if (!own) return false;
    return std::ranges::any_of(process.crash->stack.frames.begin(),
                               process.crash->stack.frames.begin() + static_cast<std::ptrdiff_t>(*own),
                               [](auto& frame) {
                                   return frame.function.contains("free") || frame.function.contains("realloc") ||
                                          frame.function.starts_with("operator delete");
                               });
}

}  // namespace incident::detect
