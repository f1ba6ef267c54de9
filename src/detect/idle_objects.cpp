#include "detect/idle_objects.h"

#include "go/heap/heap_types.h"
#include "go/heap/pools.h"

namespace incident::detect {

bool IdleObjects::contains(go::SlotId slot) {
    if (!process_.heap || !process_.heap_types || !process_.heap->live(slot)) return false;
    if (!others_) mark();
    return !others_->contains(slot);
}

void IdleObjects::mark() {
    const go::HeapGraph& heap = *process_.heap;
    const go::TypeTable& types = process_.heap_types->types();
    others_.emplace(heap);
    const auto close = [&](Address word) {
        if (const auto slot = heap.slot_of(word)) others_->close(*slot);
    };
    const auto& buffer = process_.go->layout().hchan.buf;
    process_.heap_types->for_each_live(
        1,
        [&](go::TypeId id) {
            return types[id].name == "runtime.hchan" || go::made_type(types[id].name) == go::MadeType::channel;
        },
        [&](go::SlotId slot, const go::ObjectType& type, unsigned) {
            const Address channel = heap.slots().base(slot) + type.offset;
            // Elements without pointers lie in the channel's own object.
            if (const auto buf = go::StructView(process_.memory, channel).get(buffer);
                buf && heap.slot_of(*buf) != slot)
                close(*buf);
        });
    const Disassembler* disassembler = process_.disassembler ? &*process_.disassembler : nullptr;
    for (const go::Pool& pool :
         go::read_pools(process_.memory, *process_.go, process_.spans ? &*process_.spans : nullptr, disassembler).all)
        for (const go::PoolSlot& slot : pool.slots) close(slot.slot);
    others_->add_roots([](const go::Root&) { return true; });
}

}  // namespace incident::detect
