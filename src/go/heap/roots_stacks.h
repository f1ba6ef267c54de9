// The roots on one goroutine's stack and beside it. Private to go/heap. See roots.h.
#pragma once

#include <unordered_map>

#include "go/heap/roots.h"
#include "go/stacks/stackmaps.h"

namespace incident::go {

/// One per worker: it remembers the maps of each pc, since stacks of 10^5 goroutines repeat few of them.
class StackRoots {
public:
    StackRoots(const HeapInput& input, const HeapSlots& slots) : input_(input), slots_(slots), cursor_(input.memory) {}
    void collect(std::uint32_t goroutine, std::vector<Root>& out);

    std::vector<StrayRoot> strays;
    std::vector<SlotId> unmade;
    std::uint64_t conservative_frames = 0, frames_without_maps = 0, unreadable_words = 0, incomplete = 0;

private:
    struct Shape {  ///< the maps of one pc, for a frame whose cfa is `cfa`
        Address cfa, sp;
        bool known = false, exact = false, reflect_stub = false;
        FrameMaps maps;
    };
    const Shape& shape_of(const PhysicalFrame& frame);
    std::uint32_t of_an_allocation(const Goroutine& g, const PhysicalFrames& frames) const;
    void frame(const PhysicalFrame& frame, std::uint32_t index);
    void scan(const PhysicalFrame& frame, std::uint32_t index, bool interrupted);
    void map(const PointerMap& map, Address base, RootKind kind, bool conservative = false);
    void conservative(AddressRange range, RootKind kind);
    void reflect_stub(const PhysicalFrame& frame);
    void word(Address where, RootKind kind, bool conservative);
    void value(Address where, std::uint64_t value, RootKind kind, bool conservative);
    void objects();
    void registers(const Goroutine& g);
    bool takes_all_from_stack(const PhysicalFrame& frame);
    void defers(const Goroutine& g);

    const HeapInput& input_;
    const HeapSlots& slots_;
    MemoryCursor cursor_;
    std::unordered_map<std::uint64_t, Shape> shapes_;
    // Of the goroutine at hand:
    struct LiveObject {
        AddressRange range;
        StackObject object;  ///< a copy: shapes come and go
        std::uint32_t frame;
        bool done = false;
    };
    struct OwnPointer {
        Address to;
        bool conservative;
    };
    std::vector<Root>* out_ = nullptr;
    AddressRange stack_;
    std::uint32_t goroutine_ = no_owner, frame_ = no_owner;
    bool allocating_ = false;                 ///< the words at hand are those of an allocation under way
    SpecialFunc called_ = SpecialFunc::none;  ///< what the frame at hand called, or was interrupted by
    std::vector<OwnPointer> own_;             ///< pointers into this very stack: they make stack objects live
    std::vector<LiveObject> objects_;
};

}  // namespace incident::go
