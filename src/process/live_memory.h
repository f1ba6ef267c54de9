// LiveMemory: the words of C memory that the program can still reach: writable sections of its images, the live parts
// of thread stacks and the registers, and every malloc chunk in use that a chain of pointers leads to from there. What
// no chain leads to (a leak, an object inside freed memory) is nobody's word and can accuse nobody.
//
// Surprising: reachability is conservative, as a garbage collector's: any word may be the pointer. Chunks of malloc
// itself (thread caches) are in use and full of pointers to freed chunks: they are left out. The sweep is parallel, and
// its outcome is that of a sweep by one thread.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <vector>

#include "native/malloc.h"
#include "process/process.h"

namespace incident {

class LiveMemory {
public:
    enum class Source : std::uint8_t { data, stack, chunk };

    struct Word {
        Address at;
        std::uint64_t value = 0;
        Source source = Source::data;
        const Image* image = nullptr;  ///< data
        std::uint32_t chunk = 0;       ///< chunk: index into chunks()
    };
    /// A chunk in use that was reached.
    struct Reached {
        AddressRange user;
        Address from;              ///< the word that led here first
        std::uint32_t parent = 0;  ///< chunk that holds `from`; no_chunk: data or a stack
        std::uint16_t depth = 0;   ///< chunks on the way from the root
    };
    static constexpr std::uint32_t no_chunk = UINT32_MAX;

    /// Data of libc, the loader and their like: what they keep there is their own business.
    static bool of_system_library(const Word& word);

    LiveMemory() = default;  ///< knows no chunk
    /// Is this word, which leads into `chunk` (null: into none), worth a visit? [any thread]
    using Wanted = std::function<bool(const Word&, const native::Chunk* chunk)>;
    /// Looks at every word once that is not zero, with process.jobs workers. `visit` gets the wanted ones in the
    /// calling thread, roots first, then chunks in the order of their distance from them.
    LiveMemory(const Process& process, const Wanted& wanted, const std::function<void(const Word&)>& visit);

    const std::vector<Reached>& chunks() const { return chunks_; }
    /// Of the chunk that begins at `user`; no_chunk: not reached.
    std::uint32_t find(Address user) const;
    std::uint64_t words() const { return words_; }

private:
    struct Sweep;

    std::vector<Reached> chunks_;
    std::uint64_t words_ = 0;
};

}  // namespace incident
