// Where types start to spread from: see heap_types.h. Private to go/heap.
#pragma once

#include <string_view>

#include "go/heap/go_map_uses.h"
#include "go/heap/type_spread.h"
#include "image/go_types.h"

namespace incident::go {

class TypeRoots {
public:
    TypeRoots(HeapTypes& out, TypeSpread& spread) : out_(out), spread_(spread) {}

    void note_headers();  ///< malloc headers and the types of large objects
    void seed_noted();    ///< … of live objects that nothing typed leads to
    void add_globals();
    void add_runtime();  ///< what no variable of the program's DWARF names: allgs, allm, without DWARF
    void add_queued();   ///< values that goroutines wait to send, and objects that have finalizers
    void add_frames();   ///< live words of frames that a variable covers
    /// Interfaces, closures and channels by their contents, in live objects without a type and in roots without a
    /// variable. False: nothing new.
    bool look_into_untyped();

private:
    using VariablesAt = std::vector<GoFrameVariable> (*)(const Image& image, Address pc);
    bool is_part_of_interface(std::string_view variable, TypeId type) const;
    HeapTypes::FrameShape shape_by(Address pc, VariablesAt variables_at) const;
    const HeapTypes::FrameShape& shape_of(const PhysicalFrame& frame);
    void read_shapes();
    void seed_directories();
    bool look_at_iterator(const std::optional<MapIterator>& iterator);
    bool look_at_kept_iterators();
    bool look_at_word(std::uint64_t before, std::uint64_t value, TypeBasis basis);
    bool is_interfaces_data(const Root& root) const;
    bool look_at_slot(const Root& root);

    HeapTypes& out_;
    TypeSpread& spread_;
    std::vector<SlotId> noted_;
    std::vector<SlotId> directories_;         ///< of maps: noted too, but with one type for all maps
    std::vector<std::uint32_t> unexplained_;  ///< roots
    std::vector<SlotId> untyped_;
    std::unordered_map<std::uint64_t, HeapTypes::FrameShape> slots_of_;  ///< by a function's entry
    bool looked_ = false;
};

}  // namespace incident::go
