// Words that lead into freed chunks, and which of them accuse. Private to detect.
#pragma once

#include <span>

#include "process/live_memory.h"
#include "process/process.h"

namespace incident::detect {

class TypedWords;

struct Stale {
    LiveMemory::Word word;
    native::Chunk chunk;  ///< freed
    bool start = false;   ///< the word is what malloc returned
    bool told = false;
};

/// The same variable, or two words of one chunk.
bool same_object(const LiveMemory::Word& a, const LiveMemory::Word& b);
/// The first word of a table whose destructor has run: static ones keep their memory until the process ends.
bool was_table(const Process& process, const Stale& stale);
/// A variable of the program, or a small object, no array, that one leads to.
bool plausible_holder(const Process& process, const LiveMemory& live, const Stale& stale);
/// A word that is a finding of its own, unless there are many.
bool accuses(const Process& process, const LiveMemory& live, TypedWords& typed, const Stale& stale);
/// More words than one fault leaves, or more pointers that were let lie: the program clears none.
bool are_a_habit(const Process& process, const LiveMemory& live, TypedWords& typed, std::span<const Stale> all);

}  // namespace incident::detect
