// What one worker of TypeSpread has in hand. Private to type_spread*.cpp.
#pragma once

#include <array>
#include <memory>
#include <utility>
#include <vector>

#include "go/heap/type_spread.h"

namespace incident::go {

struct TypeSpread::Worker {
    Worker(const Memory& memory, TypeLanes& lanes, std::size_t types) : hand(lanes), cursor(memory), off_heap(types) {}
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
    std::vector<bool> off_heap;  ///< by type: as HeapTypes::leads_off_heap
    struct Itab {
        std::uint64_t itab = 0;
        TypeId type = no_type;
    };
    std::array<Itab, 1024> itabs;
    /// What a claim at the beginning of a slot means, by the slot's shape.
    struct Start {
        TypeId type = no_type;
        std::uint16_t shape = HeapSlots::no_shape;
        TypeWords::Code one = 0, array = 0;  ///< for one value, and for as many as fill the slot
        std::uint32_t room = 0, size = 0;    ///< bytes of a slot's values, and of one of these
    };
    std::array<Start, 1024> starts;
    struct Contained {
        TypeId inner = no_type, outer = no_type;
        bool yes = true;
    };
    std::array<Contained, 1024> contained;
};

/// Most claims are of a kind that was judged before, on an object that is still unknown or was told the same.
inline void TypeSpread::judge(Worker& worker, const Claim& claim) {
    if (claim.code != 0) {
        const TypeWords::Code known = out_.words_.code(claim.found.slot);
        if (known == claim.code) return;
        if (known == 0) {
            out_.words_.set_code(claim.found.slot, claim.code);
            if (!claim.found.noscan) worker.hand.add(claim.found.slot);
            return;
        }
    }
    judge_fully(worker, claim);
}

}  // namespace incident::go
