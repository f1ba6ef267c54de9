// Stack maps: which words of a Go frame hold live pointers at a pc, as the collector sees it; there in every binary,
// stripped or not. Pure functions over Memory and the frame; nothing is copied. [any thread]
//
// Surprising: the maps are exact only where a call returns (the collector's safepoints). A frame stopped by a signal or
// by asynchronous preemption is scanned conservatively by the runtime; for it the map of the last call still says
// something, so it is given with `exact` = false, and nothing may be proved by it. "Live" means that the code may still
// read the word: a slot that is not live keeps a stale value.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "go/stacks/walk.h"

namespace incident::go {

/// One bit per 8-byte word of [base, base + words*8).
struct PointerMap {
    bool known = false;  ///< false: the function has no map (assembly, reflect stubs): unknown, not "no pointers"
    Address base;
    std::uint32_t words = 0;
    std::span<const std::byte> bits;

    AddressRange range() const { return {base, base + std::uint64_t{words} * 8}; }
    bool covers(Address a) const { return range().contains(a); }
    bool pointer(std::uint32_t word) const {
        return word < words && (std::to_integer<unsigned>(bits[word / 8]) >> (word % 8) & 1) != 0;
    }
    bool pointer_at(Address a) const {
        return covers(a) && pointer(static_cast<std::uint32_t>((a.value - base.value) / 8));
    }
};

/// A variable whose address is taken: the collector scans it only when something live points to it, so its words are
/// not in the locals' map.
struct StackObject {
    AddressRange range;
    std::uint32_t pointer_words = 0;  ///< words that can hold pointers, from the start
    std::span<const std::byte>
        bits;      ///< one bit per word; empty: the mask could not be read (a GC program, a lazy mask)
    Address type;  ///< *_type up to 1.16, null later

    bool mask_known() const { return pointer_words == 0 || !bits.empty(); }
    bool pointer_at(Address a) const {
        if (!range.contains(a)) return false;
        std::uint64_t word = (a.value - range.begin.value) / 8;
        return word < pointer_words && word / 8 < bits.size() &&
               (std::to_integer<unsigned>(bits[word / 8]) >> (word % 8) & 1) != 0;
    }
};

struct FrameMaps {
    bool exact = false;     ///< at a safepoint
    bool assembly = false;  ///< no Go code: nobody is ever preempted in it; what it has of maps is its arguments' types
    PointerMap locals;      ///< ends at varp
    PointerMap args;        ///< begins at the caller's sp: arguments and results passed in memory
    std::vector<StackObject> objects;

    enum class Word : std::uint8_t { unknown, live_pointer, object_pointer, not_pointer };
    /// live_pointer: in the maps. object_pointer: pointer word of a stack object, live only if the object is reachable.
    Word classify(Address a) const;
};

/// Fails with absent when the frame is no Go function with a table, corrupt when the tables contradict each other.
Result<FrameMaps> frame_maps(const Memory& memory, const Runtime& runtime, const PhysicalFrame& frame);

}  // namespace incident::go
