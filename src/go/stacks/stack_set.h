// GoStacks: the walked stacks of all goroutines. 10^5 goroutines stand in a few hundred places, and stacks of
// goroutines that stand in the same place differ only in where they lie: such stacks are kept once, with addresses that
// count from the end of the stack. (100,000 goroutines, ten frames each: 6 MB instead of 230.)
//
// Surprising: what is asked for is computed, not pointed to. `load` copies; physical() and frames() are views that give
// their elements by value.
#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <ranges>
#include <span>
#include <unordered_set>
#include <vector>

#include "go/stacks/walk.h"
#include "report/frame_list.h"

namespace incident::go {

/// Adds what a shared stack's addresses lack.
struct MovePhysical {
    std::uint64_t base = 0;
    PhysicalFrame operator()(PhysicalFrame frame) const noexcept;
};
using PhysicalFrames = std::ranges::transform_view<std::span<const PhysicalFrame>, MovePhysical>;

class GoStacks {
public:
    /// None.
    GoStacks() = default;
    explicit GoStacks(std::size_t goroutines) : rows_(goroutines), shared_(std::make_unique<Shared>()) {}

    /// `bounds`: the goroutine's stack. [any thread, each with goroutines of its own]
    void set(std::size_t goroutine, AddressRange bounds, GoStack walked);

    std::size_t size() const noexcept { return rows_.size(); }
    bool empty() const noexcept { return rows_.empty(); }
    GoStack load(std::size_t goroutine) const;
    /// All but the logical frames, for who goes through 10^5 stacks.
    GoStack load_physical(std::size_t goroutine) const;
    /// nullopt: there is no such goroutine, or its stack has no such frame.
    std::optional<PhysicalFrame> frame(std::size_t goroutine, std::size_t physical) const {
        if (goroutine >= size() || physical >= shape(goroutine).physical.size()) return std::nullopt;
        return this->physical(goroutine)[physical];
    }
    PhysicalFrames physical(std::size_t goroutine) const {
        const Row& row = rows_[goroutine];
        return PhysicalFrames(row.stack->physical, MovePhysical{row.base});
    }
    /// Lives as long as this.
    report::FrameList frames(std::size_t goroutine) const {
        const Row& row = rows_[goroutine];
        return report::FrameList::view(row.stack->frames, row.base);
    }
    /// With the addresses of a stack like it: for `end`, `complete`, names, counts, code.
    const GoStack& shape(std::size_t goroutine) const noexcept { return *rows_[goroutine].stack; }

private:
    inline static const GoStack not_walked;
    struct Row {
        const GoStack* stack = &not_walked;
        std::uint64_t base = 0;  ///< to be added to its addresses that are not null
    };
    using Pointer = std::unique_ptr<const GoStack>;
    struct Hash {
        using is_transparent = void;
        std::size_t operator()(const GoStack& stack) const noexcept;
        std::size_t operator()(const Pointer& stack) const noexcept { return (*this)(*stack); }
    };
    struct Equal {
        using is_transparent = void;
        static const GoStack& get(const GoStack& stack) { return stack; }
        static const GoStack& get(const Pointer& stack) { return *stack; }
        bool operator()(const GoStack& a, const GoStack& b) const noexcept;
        bool operator()(const auto& a, const auto& b) const noexcept { return (*this)(get(a), get(b)); }
    };
    struct Shared {
        std::mutex mutex;
        std::unordered_set<Pointer, Hash, Equal> shapes;
        std::vector<Pointer> others;  ///< with addresses of their own
    };
    std::vector<Row> rows_;
    std::unique_ptr<Shared> shared_;
};

}  // namespace incident::go
