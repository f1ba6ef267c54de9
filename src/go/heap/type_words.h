// TypeWords: what is known of the type of every object, in two bytes each. A heap of 10^7 objects has a few hundred
// different types: an object's code says which word it has. Words that come after 65,534 others are kept in a map.
// (15.8 million objects: 34 MB instead of 68, and half the cache misses.)
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <unordered_map>
#include <vector>

#include "go/heap/heap_slots.h"

namespace incident::go {

/// How an object's type is known; the better ones have the higher numbers.
enum class TypeBasis : std::uint8_t {
    none,
    contents,  ///< what looks like an interface points to it, only one struct fits what points to its middle, or text
    array,     ///< a slice of its middle: the rest is taken for the same
    part = 4,  ///< a small block that values share: the type of one of them
    edge,      ///< a typed pointer to its beginning
    closure,   ///< it begins with a function's entry
    noted,     ///< the allocator says so
};

/// Type in the low 27 bits, bit 27 array, bits 28 to 30 TypeBasis, bit 31: noted, and looked into. 0: nothing is known.
struct TypeWord {
    static constexpr std::uint32_t type_mask = (1u << 27) - 1, array_bit = 1u << 27, looked_into = 1u << 31;
    static constexpr std::uint32_t make(std::uint32_t type, bool array, TypeBasis basis) {
        return type | (array ? array_bit : 0) | static_cast<std::uint32_t>(basis) << 28;
    }
    static constexpr std::uint32_t type(std::uint32_t word) { return word & type_mask; }
    static constexpr bool array(std::uint32_t word) { return (word & array_bit) != 0; }
    static constexpr TypeBasis basis(std::uint32_t word) { return static_cast<TypeBasis>(word >> 28 & 7); }
};

/// Every function [any thread], for each slot one thread at a time.
class TypeWords {
public:
    using Code = std::uint16_t;
    static constexpr Code rare = 0xffff;  ///< its word is in the map

    /// `most` codes are given out: fewer in tests.
    explicit TypeWords(SlotId limit = 0, Code most = rare - 1);

    std::uint32_t operator[](SlotId slot) const noexcept {
        const Code code = codes_[slot];
        return code == rare ? rare_word(slot) : words_[code];
    }
    void prefetch(SlotId slot) const noexcept { __builtin_prefetch(&codes_[slot], 1); }
    void set(SlotId slot, std::uint32_t word) noexcept;
    /// What set() would note for this word; `rare`: it has no code. Setting a slot to a known code is one store.
    Code code_of(std::uint32_t word) noexcept;
    void set_code(SlotId slot, Code code) noexcept { codes_[slot] = code; }

    /// For sums: an object's code, the number of codes, and what each means. `rare` means many.
    Code code(SlotId slot) const noexcept { return codes_[slot]; }
    std::size_t codes() const noexcept { return next_; }
    std::uint32_t word_of(Code code) const noexcept { return words_[code]; }

private:
    struct Rare {
        std::mutex mutex;
        std::unordered_map<SlotId, std::uint32_t> words;
    };
    std::uint32_t rare_word(SlotId slot) const noexcept;

    std::vector<Code> codes_;  // per SlotId; 0: word 0
    Code most_;
    std::size_t next_ = 1;                                 // under `mutex`
    std::unique_ptr<std::uint32_t[]> words_;               // per code; written before its code is given to anybody
    std::unique_ptr<std::atomic<std::uint64_t>[]> index_;  // hash table: word << 16 | code; 0: free
    std::unique_ptr<Rare> rare_;
};

}  // namespace incident::go
