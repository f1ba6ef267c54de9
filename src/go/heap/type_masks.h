// TypeMasks: which words of a value of one runtime type hold pointers, for objects whose type is known (malloc headers,
// large objects since 1.22) and for whoever has an rtype. Masks as they stand in the program, GC programs (≤1.23) and
// masks that the runtime builds on demand (1.24+) all become one bit per word, copied once per type.
#pragma once

#include <atomic>
#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <vector>

#include "go/binary/runtime.h"

namespace incident::go {

struct TypeMask {
    bool known = false;          ///< false: no such type, or its mask could not be read
    std::uint64_t words = 0;     ///< size of one value, 8 bytes each, rounded up
    std::uint64_t pointers = 0;  ///< words that can hold pointers, from the start; 0: none
    /// Bit i: word i. Small types are repeated to fill a word: then `pattern_words` (a multiple of `words`) bits of
    /// bits[0] are valid, else it is 0 and `bits` covers `pointers` words.
    std::uint32_t pattern_words = 0;
    std::vector<std::uint64_t> bits;

    bool pointer(std::uint64_t word) const {
        return known && words != 0 && (word %= words) < pointers && (bits[word / 64] >> (word % 64) & 1) != 0;
    }
};

class TypeMasks {
public:
    TypeMasks(const Memory& memory, const RuntimeLayout& layout, const Version& version,
              std::span<const ModuleData> modules);
    /// Never null; lives as long as this. [any thread]
    const TypeMask* find(Address type) const;

private:
    TypeMask read(Address type) const;
    bool run_program(Address program, std::uint64_t words, std::vector<std::uint64_t>& bits) const;
    bool build(Address type, std::uint64_t at, std::vector<std::uint64_t>& bits, int depth) const;

    struct Entry {
        Address type;
        TypeMask mask;
    };
    static constexpr std::size_t table_size = 1 << 16;
    const Memory& memory_;
    const RuntimeLayout& layout_;
    Version version_;
    std::span<const ModuleData> modules_;
    mutable std::unique_ptr<std::atomic<const Entry*>[]> table_;
    mutable std::mutex mutex_;
    mutable std::deque<Entry> entries_;
    // A damaged heap has a new "type" in every object: what they cost together is bounded.
    mutable std::atomic<std::uint64_t> spent_{0};  // 64-bit words of masks
    mutable std::atomic<std::uint64_t> built_{0};  // steps taken to build masks
};

}  // namespace incident::go
