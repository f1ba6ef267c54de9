#include "go/heap/go_map_cells.h"

namespace incident::go {

namespace {

constexpr std::uint8_t min_top_hash = 5;  // go1.16–1.23 src/runtime/map.go: below it, bytes say how a cell is empty

bool named_like_a_unit(std::string_view name) {
    return name.contains("bucket<") || name.contains("bucket[") || name.contains("group<") || name.contains("group[");
}

}  // namespace

MapCells::MapCells(const TypeTable& types) : units_(types.size()) {
    const auto add = [&](TypeId id) {
        if (units_[id] != 0) return;
        known_.push_back(read(types, id));
        units_[id] = static_cast<std::uint32_t>(known_.size());
    };
    for (TypeId id = 1; id < types.size(); ++id) {
        if (types[id].group != no_type) add(types[id].group);
        if (named_like_a_unit(types[id].name)) add(id);
    }
}

MapCells::Unit MapCells::read(const TypeTable& types, TypeId id) const {
    Unit unit;
    if (types[id].kind != Kind::struct_) return unit;
    for (const TypeField& field : types.fields(id)) {
        const Type& array = types[field.type];
        // Swiss: ctrl, then slots [8]struct{key; elem}, or keys and elems apart. Classic: eight tophash bytes first.
        if (field.name == "ctrl" || field.name == "ctrls") unit.swiss = true;
        if (array.kind != Kind::array || array.count != 8 || field.offset < 8) continue;
        const Type& cell = types[array.elem];
        if (field.name == "slots" && cell.kind == Kind::struct_) {
            for (const TypeField& part : types.fields(cell))
                unit.parts.push_back({field.offset + part.offset, cell.size, part.type});
        } else {
            unit.parts.push_back({field.offset, cell.size, array.elem});
        }
    }
    return unit;
}

std::span<const MapCells::Part> MapCells::parts(TypeId id) const noexcept {
    return units_[id] == 0 ? std::span<const Part>() : known_[units_[id] - 1].parts;
}

std::uint8_t MapCells::full(TypeId id, std::uint64_t control) const noexcept {
    if (units_[id] == 0) return 0;
    std::uint8_t bits = 0;
    for (unsigned i = 0; i < 8; ++i) {
        const auto byte = static_cast<std::uint8_t>(control >> (8 * i));
        if (known_[units_[id] - 1].swiss ? byte < 0x80 : byte >= min_top_hash)
            bits |= static_cast<std::uint8_t>(1u << i);
    }
    return bits;
}

}  // namespace incident::go
