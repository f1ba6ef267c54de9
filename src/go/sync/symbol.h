// A value as code is followed: a number, or an unknown plus an offset. For go/sync only.
#pragma once

#include <cstdint>

namespace incident::go {

/// A number when base is 0, else an unknown plus an offset. Equal symbols mean equal values.
struct Symbolic {
    /// Smaller numbers, and those as near to 2^64, are counts and no addresses.
    static constexpr std::uint64_t first_place = 1 << 16;
    std::uint64_t base = 0, offset = 0;
    /// The code itself wrote the number: no other goroutine can change it, so that a branch on it is decided.
    bool literal = false;
    /// Of a number: the root in the run's Footprint that it is an offset from; 0: none, it is the same in every run.
    std::uint32_t root = 0;
    bool known() const { return base == 0; }
    Symbolic plus(std::uint64_t bytes) const { return {base, offset + bytes, false, root}; }
    bool operator==(const Symbolic& other) const { return base == other.base && offset == other.offset; }
};

}  // namespace incident::go
