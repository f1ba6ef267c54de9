// Channels among objects that nothing typed leads to: a channel that waits in a select is often named by its cases on
// the stack alone. An hchan says itself what it is of, and its counts and its buffer leave little room for chance.
#pragma once

#include "go/binary/type_table.h"
#include "go/heap/heap_slots.h"

namespace incident::go {

/// The element type of the channel that this allocated object is; no_type: it is none, or not all of it can be read.
TypeId channel_element(const HeapSlots& slots, const RuntimeLayout& layout, const TypeTable& types, SlotId slot);

}  // namespace incident::go
