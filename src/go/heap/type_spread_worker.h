// What one worker of TypeSpread has in hand. Private to type_spread*.cpp.
#pragma once

#include <array>
#include <memory>
#include <utility>
#include <vector>

#include "go/heap/type_spread.h"

namespace incident::go {

struct TypeSpread::Worker {
    Worker(const Memory& memory, TypeLanes& lanes) : hand(lanes), cursor(memory) {}
    TypeLanes::Hand hand;
    std::vector<Item> items;
    MemoryCursor cursor;
    std::array<Claim, waiting_claims> claims;
    std::size_t next_claim = 0;
    SlotId near = 0;                                         ///< where `nearby` begins; wraps round below 0
    std::array<Claim, 512> told;                             ///< lately, to other lanes
    std::vector<std::pair<SlotId, std::uint64_t>> closures;  ///< objects of functions that are not known yet
    std::vector<SlotId> guessed;                             ///< objects whose type is not followed yet
    std::vector<Item> inside;                                ///< parts of objects that were not known
    std::vector<Part> parts;
    struct Itab {
        std::uint64_t itab = 0;
        TypeId type = no_type;
    };
    std::array<Itab, 1024> itabs;
    struct Contained {
        TypeId inner = no_type, outer = no_type;
        bool yes = true;
    };
    std::array<Contained, 1024> contained;
};

}  // namespace incident::go
