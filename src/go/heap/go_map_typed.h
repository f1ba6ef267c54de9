// Maps that types name: headers among the heap's objects, headers on stacks that a frame's variable leads to, and
// iterators kept in heap objects (reflect.MapIter), which name their map and its type themselves. What MapFinder cannot
// recognise by structure alone (a few cells, a stack) can be checked against its invariants once a type says what it
// is.
#pragma once

#include <string_view>
#include <vector>

#include "go/heap/go_map_find.h"
#include "go/heap/go_map_uses.h"
#include "go/heap/heap_types.h"

namespace incident::go {

/// A map whose header the compiler placed on a stack, and the live variable that leads to it.
struct MapOnStack {
    MapWalk walk;
    const MapShape* shape = nullptr;
    HeapTypes::Typed variable;
};

/// An iterator inside a live object.
struct MapIteratorInHeap {
    MapIterator iterator;
    SlotId holder = no_slot;
    std::uint64_t offset = 0;  ///< in the holder
};

/// Where map iterators stand in a value of this type, bytes: itself, or fields of structs (reflect.MapIter).
std::vector<std::uint64_t> iterator_offsets(const TypeTable& types, TypeId id);

class TypedMaps {
public:
    TypedMaps(const HeapTypes& types, const MapFinder& finder);

    /// Of the live object that begins at `header`; null: no map's header, or none that one shape fits. [any thread]
    const MapShape* shape_of(Address header) const;
    /// Every iterator in a live object that has begun and not ended.
    std::vector<MapIteratorInHeap> iterators() const;
    /// Maps on stacks, as far as DWARF places a variable that the collector's map of the frame calls live there. Only
    /// those that are whole or contradict themselves in few places: the others may be no maps yet.
    std::vector<MapOnStack> on_stacks() const;

private:
    const MapShape* shape_of_type(TypeId map) const;

    const HeapTypes& types_;
    const MapFinder& finder_;
    std::vector<const MapShape*> of_header_;  ///< by TypeId of the header
};

}  // namespace incident::go
