// See the header. go1.16–1.27 src/runtime/chan.go, makechan: an hchan is followed by the buffer if its elements hold no
// pointers; without any buffer `buf` points to itself; else the buffer is an object of its own.
#include "go/heap/channel_object.h"

namespace incident::go {

TypeId channel_element(const HeapSlots& slots, const RuntimeLayout& layout, const TypeTable& types, SlotId slot) {
    const auto& fields = layout.hchan;
    const std::uint64_t header = (fields.size + 7) / 8 * 8, size = slots.size(slot);
    if (fields.size == 0 || size < header) return no_type;
    const Address base = slots.base(slot);
    const StructView chan(slots.memory(), base);
    const auto elem_type = chan.get(fields.elemtype), buffer = chan.get(fields.buf);
    const auto length = chan.get(fields.qcount), capacity = chan.get(fields.dataqsiz), sent = chan.get(fields.sendx),
               received = chan.get(fields.recvx);
    if (!elem_type || !buffer || !length || !capacity || !sent || !received || elem_type->is_null()) return no_type;
    const TypeId id = types.find(*elem_type);
    if (id == no_type || *length > *capacity || *sent > *capacity || *received > *capacity) return no_type;
    const Type& elem = types[id];
    if (elem.size != 0 && *capacity > slots.hull().size() / elem.size) return no_type;
    const std::uint64_t bytes = *capacity * elem.size;
    const auto itself = base + static_cast<std::uint64_t>(fields.buf.offset);
    if (bytes == 0) return *buffer == itself ? id : no_type;
    if (*buffer == base + header) return elem.pointer_bytes == 0 && size - header >= bytes ? id : no_type;
    const SlotId apart = slots.find(*buffer);
    // Behind the malloc header of a large buffer (1.22+).
    const bool first = apart != no_slot && slots.allocated(apart) && *buffer - slots.base(apart) <= 8;
    return first && slots.size(apart) >= bytes ? id : no_type;
}

}  // namespace incident::go
