// Cells of maps in typed memory: which of the eight of a bucket or group are in use, and where their keys and values
// lie. Only the control bytes say so: delete clears no more of a string key than its pointer (go1.19
// src/runtime/map_faststr.go), so whatever else stands in a cell that is not in use is nobody's value.
#pragma once

#include <cstring>
#include <vector>

#include "go/heap/type_plans.h"

namespace incident::go {

class MapCells {
public:
    struct Part {  ///< the keys, or the values
        std::uint64_t offset = 0, stride = 0;
        TypeId type = no_type;
    };
    explicit MapCells(const TypeTable& types);

    /// Is this the type of a bucket or group, also one that nothing is known of?
    bool is_unit(TypeId id) const noexcept { return units_[id] != 0; }
    std::span<const Part> parts(TypeId id) const noexcept;
    /// Bit i: cell i is in use. `control` are the first eight bytes of a bucket or group.
    std::uint8_t full(TypeId id, std::uint64_t control) const noexcept;

private:
    struct Unit {
        bool swiss = false;
        std::vector<Part> parts;
    };
    Unit read(const TypeTable& types, TypeId id) const;

    std::vector<std::uint32_t> units_;  ///< per TypeId: 1 + index into known_; 0: none
    std::vector<Unit> known_;
};

}  // namespace incident::go
