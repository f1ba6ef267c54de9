#include "go/heap/go_map_typed.h"

#include <algorithm>
#include <unordered_map>

#include "go/stacks/stackmaps.h"

namespace incident::go {

namespace {

constexpr std::size_t most_iterators = 1 << 16;
constexpr unsigned deepest = 8;  // structs in structs

bool same_form(const MapShape& a, const MapShape& b) {
    return a.unit == b.unit && a.keys == b.keys && a.key_stride == b.key_stride && a.elems == b.elems &&
           a.elem_stride == b.elem_stride && (a.unit_pointers != 0) == (b.unit_pointers != 0);
}

bool is_iterator(std::string_view name) {
    return name == "runtime.hiter" || name == "reflect.hiter" || name == "internal/runtime/maps.Iter";
}

void add_iterators(const TypeTable& types, TypeId id, std::uint64_t base, unsigned depth,
                   std::vector<std::uint64_t>& out) {
    const Type& type = types[id];
    if (type.kind != Kind::struct_ || depth > deepest) return;
    if (is_iterator(type.name)) {
        out.push_back(base);
        return;
    }
    for (const TypeField& field : types.fields(type))
        add_iterators(types, field.type, base + field.offset, depth + 1, out);
}

}  // namespace

std::vector<std::uint64_t> iterator_offsets(const TypeTable& types, TypeId id) {
    std::vector<std::uint64_t> out;
    add_iterators(types, id, 0, 0, out);
    return out;
}

TypedMaps::TypedMaps(const HeapTypes& types, const MapFinder& finder)
    : types_(types), finder_(finder), of_header_(types.types().size()) {
    const TypeTable& table = types.types();
    std::vector<bool> several(of_header_.size());
    for (TypeId id = 1; id < table.size(); ++id) {
        const Type& type = table[id];
        if (type.kind != Kind::map || type.header == no_type || several[type.header]) continue;
        const MapShape* shape = shape_of_type(id);
        const MapShape*& known = of_header_[type.header];
        if (shape == nullptr || (known != nullptr && !same_form(*known, *shape))) {
            // A map type without a descriptor says nothing; two that differ say nothing together.
            several[type.header] = shape != nullptr;
            if (shape != nullptr) known = nullptr;
        } else if (known == nullptr) {
            known = shape;
        }
    }
}

const MapShape* TypedMaps::shape_of_type(TypeId map) const {
    const Type& type = types_.types()[map];
    return type.kind != Kind::map || type.rtype.is_null() ? nullptr : finder_.shape_of(type.rtype);
}

const MapShape* TypedMaps::shape_of(Address header) const {
    const HeapGraph& graph = types_.graph();
    const SlotId slot = graph.slots().find(header);
    if (slot == no_slot || graph.slots().base(slot) != header || !graph.live(slot)) return nullptr;
    const ObjectType type = types_.type_of(slot);
    return type.type == no_type || type.basis < TypeBasis::edge || type.count != 1 ? nullptr : of_header_[type.type];
}

std::vector<MapIteratorInHeap> TypedMaps::iterators() const {
    const TypeTable& types = types_.types();
    std::vector<std::vector<std::uint64_t>> places(types.size());
    bool any = false;
    for (const TypeCount& row : types_.counts()) {
        // Keys of untyped objects and of closures lie above the table's ids.
        const TypeId id = row.key & ((1u << 27) - 1);
        if (row.live_objects == 0 || row.key >> 28 != 0 || id >= types.size() || !places[id].empty()) continue;
        places[id] = iterator_offsets(types, id);
        any = any || !places[id].empty();
    }
    std::vector<MapIteratorInHeap> found;
    if (!any) return found;
    const HeapInput& input = types_.graph().input();
    const HeapSlots& slots = types_.graph().slots();
    std::vector<std::vector<MapIteratorInHeap>> parts(std::max(input.jobs, 1u));
    // A guess will do: what stands in an iterator's words is no other object's (a map's own descriptor, a map).
    types_.for_each_live(
        input.jobs, [&](TypeId id) { return !places[id].empty(); },
        [&](SlotId slot, const ObjectType& type, unsigned worker) {
            const std::uint64_t size = types[type.type].size;
            for (std::uint64_t n = 0; n < type.count && parts[worker].size() < most_iterators; ++n)
                for (const std::uint64_t offset : places[type.type]) {
                    const std::uint64_t at = type.offset + n * size + offset;
                    auto it = read_map_iterator(slots.memory(), input.runtime, slots.base(slot) + at);
                    if (it && !it->header.is_null()) parts[worker].push_back({*it, slot, at});
                }
        });
    for (auto& part : parts) std::ranges::move(part, std::back_inserter(found));
    std::ranges::sort(found, {}, [](const MapIteratorInHeap& it) { return std::pair(it.holder, it.offset); });
    if (found.size() > most_iterators) found.resize(most_iterators);
    return found;
}

std::vector<MapOnStack> TypedMaps::on_stacks() const {
    std::vector<MapOnStack> found;
    const HeapInput& input = types_.graph().input();
    if (input.goroutines == nullptr) return found;
    struct Candidate {
        HeapTypes::Typed variable;
        const MapShape* shape = nullptr;
        Address header;
    };
    std::vector<std::vector<Candidate>> parts(std::max(input.jobs, 1u));
    types_.for_each_frame_variable(input.jobs, [&](const HeapTypes::Typed& variable, unsigned worker) {
        const MapShape* shape = shape_of_type(variable.type);
        if (shape == nullptr) return;
        const auto header = input.memory.load_address(variable.address);
        if (header && input.goroutines->all[variable.goroutine].stack.contains(*header) && header->is_aligned(8))
            parts[worker].push_back({variable, shape, *header});
    });
    std::vector<Candidate> candidates;
    for (auto& part : parts) std::ranges::move(part, std::back_inserter(candidates));
    std::ranges::stable_sort(candidates, {}, [](const Candidate& c) { return c.variable.goroutine; });
    for (const auto& [variable, shape, header] : candidates) {
        const PhysicalFrame frame = input.stacks->physical(variable.goroutine)[variable.frame];
        if (!frame.after_call || header < frame.sp) continue;
        auto maps = frame_maps(input.memory, input.runtime, frame);
        if (!maps || !maps->exact || maps->classify(variable.address) != FrameMaps::Word::live_pointer) continue;
        MapWalk walk = finder_.reader().walk(header, *shape);
        if (walk.sound() || (walk.complete && !walk.writing && walk.found <= 2 && walk.cells != 0))
            found.push_back({walk, shape, variable});
    }
    return found;
}

}  // namespace incident::go
