// Map types, from the runtime's own descriptors. Classic (go1.23 src/internal/abi/map_noswiss.go, OldMapType): keys
// behind eight tophash bytes, then values, then the overflow pointer. Swiss (go1.24 … go1.26 SwissMapType / MapType):
// a group is a control word and eight slots {key, value}; since 1.27 keys and values have strides of their own.
#include <algorithm>

#include "go/heap/go_map.h"

namespace incident::go {

namespace {

constexpr std::uint8_t kind_mask = 0x1f, kind_map = 21;
constexpr std::uint32_t classic_indirect_key = 1, classic_indirect_elem = 2;  // abi.OldMapType.Flags
constexpr std::uint32_t swiss_indirect_key = 4, swiss_indirect_elem = 8;      // abi.SwissMapType.Flags
constexpr std::uint64_t largest_inline = 128;                                 // bytes of a key or value in a cell
constexpr std::uint64_t largest_unit = 8 + 8 * (2 * largest_inline) + 8;

bool in_types(const Runtime& runtime, Address a) {
    return std::ranges::any_of(runtime.modules(), [&](auto& module) { return module.types.contains(a); });
}

}  // namespace

std::uint64_t map_header_slot(const RuntimeLayout& layout) {
    // Size classes go by 16 bytes there (go1.16–1.27 src/runtime/sizeclasses.go: 48, 64, 80).
    const std::uint64_t size = layout.hmap.buckets.present() ? layout.hmap.size : layout.swiss_map.size;
    return std::max<std::uint64_t>((size + 15) / 16 * 16, 48);
}

std::optional<MapShape> read_map_shape(const Runtime& runtime, Address rtype) {
    const RuntimeLayout& layout = runtime.layout();
    const auto& t = layout.type;
    const auto& m = layout.maptype;
    MemoryCursor cursor(runtime.memory());
    auto get = [&](Address at, auto field) {
        typename decltype(field)::type value{};
        bool there = field.present() && cursor.load(at + static_cast<std::uint64_t>(field.offset), value);
        return there ? std::optional(value) : std::nullopt;
    };
    auto size_of = [&](Address type) { return get(type, t.size_).value_or(0); };
    auto kind = get(rtype, t.kind);
    if (!kind || (*kind & kind_mask) != kind_map || size_of(rtype) != 8 || get(rtype, t.ptrdata) != 8u)
        return std::nullopt;
    auto key = get(rtype, m.key), elem = get(rtype, m.elem);
    if (!key || !elem) return std::nullopt;
    MapShape shape;
    shape.rtype = rtype;
    shape.key = *key;
    shape.elem = *elem;
    const std::uint64_t key_size = size_of(*key), elem_size = size_of(*elem);
    std::uint32_t flags = get(rtype, m.flags).value_or(0);
    shape.swiss = m.group.present();
    auto unit_type = get(rtype, shape.swiss ? m.group : m.bucket);
    if (!unit_type) return std::nullopt;
    shape.indirect_key = (flags & (shape.swiss ? swiss_indirect_key : classic_indirect_key)) != 0;
    shape.indirect_elem = (flags & (shape.swiss ? swiss_indirect_elem : classic_indirect_elem)) != 0;
    const std::uint64_t key_cell = shape.indirect_key ? 8 : key_size, elem_cell = shape.indirect_elem ? 8 : elem_size;
    if (key_cell > largest_inline || elem_cell > largest_inline) return std::nullopt;
    if (shape.swiss) {
        auto group_size = get(rtype, m.group_size);
        if (!group_size) return std::nullopt;
        shape.unit = *group_size;
        if (auto keys = get(rtype, m.keys_off)) {  // 1.27+
            auto key_stride = get(rtype, m.key_stride), elems = get(rtype, m.elems_off),
                 elem_stride = get(rtype, m.elem_stride);
            if (!key_stride || !elems || !elem_stride) return std::nullopt;
            shape.keys = *keys;
            shape.key_stride = *key_stride;
            shape.elems = *elems;
            shape.elem_stride = *elem_stride;
        } else {
            auto slot = get(rtype, m.slot_size), elem_off = get(rtype, m.elem_off);
            if (!slot || !elem_off) return std::nullopt;
            shape.key_stride = shape.elem_stride = *slot;
            shape.elems = shape.keys + *elem_off;
        }
        if (shape.elems > shape.unit || shape.key_stride > shape.unit || shape.elem_stride > shape.unit ||
            shape.keys > shape.unit || shape.unit < 8)
            return std::nullopt;
    } else {
        auto keysize = get(rtype, m.keysize), elemsize = get(rtype, m.elemsize);
        auto bucketsize = get(rtype, m.bucketsize);
        if (!keysize || !elemsize || !bucketsize || *keysize != key_cell || *elemsize != elem_cell) return std::nullopt;
        shape.unit = *bucketsize;
        shape.key_stride = key_cell;
        shape.elems = 8 + 8 * key_cell;
        shape.elem_stride = elem_cell;
        if (shape.unit < shape.elems + 8 * elem_cell + 8) return std::nullopt;
    }
    if (shape.unit > largest_unit || size_of(*unit_type) != shape.unit) return std::nullopt;
    shape.unit_pointers = get(*unit_type, t.ptrdata).value_or(0);
    if (shape.unit_pointers > shape.unit) return std::nullopt;
    return shape;
}

std::vector<MapShape> find_map_shapes(const Runtime& runtime) {
    // typelinks leave out named types and are gone in 1.27; descriptors are aligned to 8 in every version. Types is
    // some MB at most, and one byte decides nearly always.
    std::vector<MapShape> shapes;
    const auto& layout = runtime.layout();
    if (!layout.type.kind.present()) return shapes;
    const auto kind_at = static_cast<std::uint64_t>(layout.type.kind.offset);
    for (const ModuleData& module : runtime.modules()) {
        constexpr std::uint64_t longest = 256ull << 20;
        AddressRange types = module.types;
        types.end = std::min(types.end, types.begin + longest);
        Address at{(types.begin.value + 7) / 8 * 8};
        while (at < types.end) {
            auto bytes = runtime.memory().view_up_to(at, types.end.value - at.value);
            if (!bytes || bytes->size() < kind_at + 1) break;
            for (std::uint64_t i = 0; i + kind_at < bytes->size(); i += 8) {
                if ((std::to_integer<std::uint8_t>((*bytes)[i + kind_at]) & kind_mask) != kind_map) continue;
                auto shape = read_map_shape(runtime, at + i);
                if (shape && in_types(runtime, shape->key) && in_types(runtime, shape->elem)) shapes.push_back(*shape);
            }
            at += bytes->size() / 8 * 8;
            if (bytes->size() < 8) break;
        }
    }
    return shapes;
}

}  // namespace incident::go
