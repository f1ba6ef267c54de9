// Off-heap words: words that hold addresses, in memory that the collector does not scan (mmap, or the bytes of an arena
// made by hand) and that a typed pointer or slice of the program leads to: `var ring *shmRing`, whose slots hold Go
// pointers.
#pragma once

#include <vector>

#include "detect/hidden_words.h"
#include "go/binary/rtype_words.h"
#include "process/locate.h"

namespace incident::detect {

struct OffHeapWord : HiddenWord {
    go::AddressWord::Kind kind = go::AddressWord::Kind::pointer;
};

/// Those whose value lies in the Go heap's arenas, by address, at most `limit`. Package variables and live objects are
/// asked; what lies off the heap itself leads further. C's memory, threads' stacks and the runtime's own are left out.
std::vector<OffHeapWord> find_off_heap_words(const Process& process, const Locator& locator, std::size_t limit,
                                             std::uint64_t& checked);

}  // namespace incident::detect
