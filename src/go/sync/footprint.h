// What one run through a frame's code has read of the core, and what it has made of it, so that another goroutine at
// the same pc need not be followed anew: where its words are alike but for the places of the objects that they lead to,
// the run would take the very same steps. 10^5 goroutines stand at a few pcs.
//
// Surprising: alike is checked, not assumed. A number from outside is known as "root + offset"; a root is the sp, or a
// word that was read. Every use of a number other than as an address of something (a comparison, a part of it, an
// index) makes its word one that must be equal. What two roots lead to must not overlap, unless at a fixed distance. A
// root is never in Go's code: whether a number is a function is known without asking for the same number. Counts, too
// small for any address, are roots that lead nowhere: a depth, an index differ from frame to frame.
// For go/sync only.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "core/memory.h"
#include "go/sync/symbol.h"

namespace incident::go {

class Footprint {
public:
    static constexpr std::uint32_t no_root = 0, sp_root = 1;

    /// Of a frame with this sp on this stack; `code`: where functions lie.
    Footprint(const Memory& memory, std::span<const AddressRange> code, AddressRange stack, Address sp);

    /// A register that the frame begins with.
    Symbolic input(std::uint64_t value);
    /// A word of the core as a number; nullopt: not readable.
    std::optional<Symbolic> read(Symbolic at, unsigned size);
    /// A known place that the run looks at or writes to: which others it overlaps matters.
    void touch(Symbolic at, unsigned size);
    /// A count that something was added to is still one, and no address.
    void counted(const Symbolic& value);
    /// The number itself mattered, or a part of it.
    void needs(const Symbolic& value);
    void compared(const Symbolic& a, const Symbolic& b);

    /// To be called when the run is over. False: it cannot be used again.
    bool finish();
    /// Would the run take the same steps here? `inputs` in the order of the calls. Then places() are those of this one.
    bool fits(AddressRange stack, Address sp, std::span<const std::uint64_t> inputs);
    /// The address here of what was `was` then.
    Address placed(const Symbolic& was) const;

private:
    enum class Kind : std::uint8_t { equal, on_stack, same, root, count, unreadable };
    struct Word {
        std::uint32_t base = no_root;  ///< root of the address; of inputs, none
        std::int64_t offset = 0;       ///< from it, or the address
        std::uint8_t size = 0;         ///< 0: an input
        Kind kind = Kind::equal;
        std::uint32_t root = no_root;  ///< that it is, or is the same as
        std::uint64_t value = 0;       ///< equal: the number; on_stack: its distance from sp
    };
    struct Root {
        std::uint64_t value = 0, now = 0;
        std::int64_t low = INT64_MAX, high = INT64_MIN;  ///< what was touched, from it on
        bool equal = false;                              ///< must be the same number
        bool count = false;                              ///< too small for an address; low, high: of its sums
        std::uint32_t leader = no_root;                  ///< overlaps what this root leads to: at a fixed distance
        bool used() const { return low < high && !count; }
    };
    struct Comparison {
        Symbolic a, b;
    };

    Symbolic classify(std::uint64_t value, unsigned size, Word& word);
    /// An address that is a count must be the same one.
    Symbolic as_place(Symbolic at);
    std::uint64_t now(const Symbolic& number) const;
    bool fits(const Word& word, std::uint64_t value);
    bool apart();

    const Memory& memory_;
    std::span<const AddressRange> code_;
    AddressRange stack_;
    std::vector<Word> words_;
    std::vector<Root> roots_;
    std::vector<AddressRange> fixed_;  ///< touched at addresses that the code names
    std::vector<Comparison> comparisons_;
    std::vector<std::pair<AddressRange, std::uint32_t>> ranges_;  ///< of roots, while they are compared
    bool spoiled_ = false;
};

}  // namespace incident::go
