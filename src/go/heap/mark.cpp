// Marking; see mark.h.
#include "go/heap/mark.h"

#include <algorithm>
#include <utility>

namespace incident::go {

namespace {

constexpr std::uint32_t oblet_words = 16 * 1024;  // 128 KB: larger objects are split, as the runtime does

/// Slots that were sent to other lanes lately: what many objects point to is sent once.
class Lately {
public:
    bool fresh(SlotId slot) {
        if (slots_.empty()) slots_.assign(4096, no_slot);
        return std::exchange(slots_[slot % slots_.size()], slot) != slot;
    }

private:
    std::vector<SlotId> slots_;  // made when the first is sent: there are many small markings by one worker
};

class Marker {
public:
    Marker(const HeapPointers& pointers, SlotBits& todo, const SlotBits* closed, bool strays, MarkLanes& lanes)
        : pointers_(pointers),
          slots_(pointers.slots()),
          todo_(todo),
          closed_(closed),
          strays_(strays),
          lanes_(lanes),
          hand_(lanes) {
        auto hull = slots_.hull();
        low_ = hull.begin.value;
        extent_ = hull.size();
    }
    MarkResult result;

    void walk() {
        hand_.walk([&](std::span<const MarkMessage> messages) { receive(messages); },
                   [&](SlotId first, std::uint64_t bits) {
                       slots_.for_each_of_block(first, bits,
                                                [&](SlotId slot, const SlotSpan& span) { scan({slot, 0}, span); });
                   },
                   [] { return false; });
    }

private:
    void receive(std::span<const MarkMessage> messages) {
        for (const MarkMessage& message : messages) {
            if (message.part == 0 || message.part == MarkMessage::noscan)
                mark({message.slot, message.part != 0}, no_slot, 0, 0);
            else
                scan(message, slots_.slot_span(message.slot));
        }
    }
    void stray(SlotId holder, std::uint64_t offset, std::uint64_t value) {
        if (!strays_ || holder == no_slot) return;
        if (result.strays.size() < stray_limit)
            result.strays.push_back({holder, offset, Address{value}});
        else
            result.strays_complete = false;
    }
    /// An object of the lane that is held.
    void mark(HeapSlots::Found found, SlotId holder, std::uint64_t offset, std::uint64_t value) {
        if (!todo_.test(found.slot)) return;
        if (strays_ && !slots_.allocated(found.slot)) [[unlikely]]
            return stray(holder, offset, value);
        todo_.clear(found.slot);
        ++result.marked;
        if (!found.noscan && (closed_ == nullptr || !closed_->test(found.slot))) hand_.add(found.slot);
    }
    void send(HeapSlots::Found found, SlotId holder, std::uint64_t offset, std::uint64_t value) {
        if (!slots_.allocated(found.slot)) return stray(holder, offset, value);
        if (lately_.fresh(found.slot))
            hand_.send(lanes_.of(found.slot), {found.slot, found.noscan ? MarkMessage::noscan : 0});
    }
    void scan(MarkMessage work, const SlotSpan& span) {
        auto visit = [&](std::uint64_t offset, std::uint64_t value) {
            if (value - low_ >= extent_) return;
            if (auto found = slots_.find_kind(Address{value}); found.slot == no_slot) [[unlikely]]
                stray(work.slot, offset, value);
            else if (hand_.holds(found.slot))
                mark(found, work.slot, offset, value);
            else
                send(found, work.slot, offset, value);
        };
        const std::uint32_t words = span.words;
        if (words <= oblet_words) {
            if (!pointers_.for_each_pointer_word(work.slot, span, 0, words, visit)) ++result.without_map;
            return;
        }
        if (work.part == 0)  // the others are anybody's
            for (std::uint32_t part = (words - 1) / oblet_words; part != 0; --part)
                hand_.send(part % lanes_.count(), {work.slot, part});
        const std::uint64_t begin = std::uint64_t{work.part} * oblet_words;
        const bool known = pointers_.for_each_pointer_word(
            work.slot, span, begin, begin + std::min<std::uint64_t>(oblet_words, words - begin), visit);
        if (!known && work.part == 0) ++result.without_map;
    }

    const HeapPointers& pointers_;
    const HeapSlots& slots_;
    SlotBits& todo_;
    const SlotBits* closed_;
    const bool strays_;
    MarkLanes& lanes_;
    MarkLanes::Hand hand_;
    Lately lately_;
    std::uint64_t low_ = 0, extent_ = 0;
};

}  // namespace

MarkResult mark_from(const HeapPointers& pointers, std::span<const SlotId> seeds, SlotBits& todo, MarkLanes& lanes,
                     const SlotBits* closed, bool strays) {
    const HeapSlots& slots = pointers.slots();
    for (SlotId slot : seeds)
        if (slot != no_slot) lanes.post(lanes.of(slot), {slot, slots.noscan(slot) ? MarkMessage::noscan : 0});
    std::vector<MarkResult> results(lanes.workers());
    lanes.run([&](unsigned worker) {
        Marker marker(pointers, todo, closed, strays, lanes);
        marker.walk();
        results[worker] = std::move(marker.result);
    });
    MarkResult sum = std::move(results[0]);
    for (const MarkResult& part : std::span(results).subspan(1)) {
        sum.marked += part.marked;
        sum.without_map += part.without_map;
        sum.strays.insert(sum.strays.end(), part.strays.begin(), part.strays.end());
        sum.strays_complete &= part.strays_complete;
    }
    return sum;
}

}  // namespace incident::go
