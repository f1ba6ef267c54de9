#include "go/heap/go_map_uses.h"

#include <algorithm>
#include <cstring>

#include "disasm/call_argument.h"

namespace incident::go {

namespace {

constexpr std::uint64_t largest_frame = 64 << 10;  // bytes of a frame that are searched for iterators

std::string_view after_last(std::string_view name, char c) {
    auto at = name.rfind(c);
    return at == std::string_view::npos ? name : name.substr(at + 1);
}

struct IteratorFields {
    std::int32_t type = -1, header = -1, key = -1, elem = -1, table = -1, position = -1;
};
IteratorFields iterator_fields(const RuntimeLayout& layout) {
    const auto& h = layout.hiter;
    const auto& s = layout.swiss_iter;
    if (layout.swiss_map.dirPtr.present())
        return {s.typ.offset, s.m.offset, s.key.offset, s.elem.offset, s.tab.offset, s.group_data.offset};
    return {h.t.offset, h.h.offset, h.key.offset, h.elem.offset, h.buckets.offset, h.bptr.offset};
}

bool is_map_type(const Runtime& runtime, Address type) {
    for (const ModuleData& module : runtime.modules())
        if (module.types.contains(type)) return read_map_shape(runtime, type).has_value();
    return false;
}

/// Does a live pointer of this frame lead into the range?
bool points_into(const Memory& memory, const FrameMaps& maps, AddressRange range) {
    for (const PointerMap* map : {&maps.locals, &maps.args})
        for (std::uint32_t w = 0; map->known && w < map->words; ++w) {
            if (!map->pointer(w)) continue;
            const auto word = memory.load_address(map->base + std::uint64_t{w} * 8);
            if (word && range.contains(*word)) return true;
        }
    return false;
}

/// Its code will step it once more, or its frame keeps it for another reason. A range that was left by break, and the
/// words of a frame that lay there before, are no use of a map: either the locals' map names the iterator's words, or a
/// live pointer leads to the variable that it is.
bool is_live(const Memory& memory, const Runtime& runtime, const GoStack& stack, const MapIterator& it,
             const FrameMaps& maps) {
    const RuntimeLayout& layout = runtime.layout();
    const bool swiss = layout.swiss_map.dirPtr.present();
    const auto header = static_cast<std::uint64_t>(iterator_fields(layout).header);
    if (maps.locals.pointer_at(it.at + header) || maps.args.pointer_at(it.at + header)) return true;
    const AddressRange whole{it.at, it.at + std::uint64_t{swiss ? layout.swiss_iter.size : layout.hiter.size}};
    for (const StackObject& object : maps.objects) {
        if (!object.range.contains(whole.begin) || whole.end > object.range.end) continue;
        for (std::uint32_t f = 0; f <= it.frame; ++f) {
            const auto inner = frame_maps(memory, runtime, stack.physical[f]);
            if (inner && points_into(memory, *inner, object.range)) return true;
        }
    }
    return false;
}

}  // namespace

std::optional<MapIterator> read_map_iterator(const Memory& memory, const Runtime& runtime, Address at) {
    const IteratorFields f = iterator_fields(runtime.layout());
    if (f.type < 0 || f.header < 0) return std::nullopt;
    auto word = [&](std::int32_t offset) {
        return offset < 0 ? Address{}
                          : memory.load_address(at + static_cast<std::uint64_t>(offset)).value_or(Address{});
    };
    MapIterator it;
    it.at = at;
    it.type = word(f.type);
    if (!is_map_type(runtime, it.type)) return std::nullopt;
    it.header = word(f.header);
    it.key = word(f.key);
    it.elem = word(f.elem);
    it.table = word(f.table);
    if (f.table >= 0) it.table_at = at + static_cast<std::uint64_t>(f.table);
    it.position = word(f.position);
    return it;
}

std::optional<MapIterator> read_map_iterator_of_table(const Memory& memory, const Runtime& runtime, Address word) {
    const std::int32_t table = iterator_fields(runtime.layout()).table;
    if (table < 0) return std::nullopt;
    return read_map_iterator(memory, runtime, word - static_cast<std::uint64_t>(table));
}

std::string_view to_string(MapOperation operation) {
    switch (operation) {
        case MapOperation::read: return "read";
        case MapOperation::write: return "write";
        case MapOperation::erase: return "delete";
        case MapOperation::clear: return "clear";
        case MapOperation::iterate: return "iteration";
        case MapOperation::clone: return "clone";
        case MapOperation::other: return "use";
    }
    return "use";
}

bool writes(MapOperation operation) {
    return operation == MapOperation::write || operation == MapOperation::erase || operation == MapOperation::clear;
}

std::optional<MapOperation> map_operation(std::string_view function) {
    const bool maps = function.starts_with("internal/runtime/maps.");
    if (!maps && !function.starts_with("runtime.") && !function.starts_with("reflect.map")) return std::nullopt;
    std::string_view name = after_last(function, '.');
    if (name.starts_with("reflect_") || name.starts_with("runtime_")) name.remove_prefix(8);
    if (name.starts_with("mapassign")) return MapOperation::write;
    if (name.starts_with("mapaccess")) return MapOperation::read;
    if (name.starts_with("mapdelete")) return MapOperation::erase;
    if (name.starts_with("mapiter") || name.starts_with("mapIter")) return MapOperation::iterate;
    if (name.starts_with("mapclear")) return MapOperation::clear;
    if (name.starts_with("mapclone")) return MapOperation::clone;
    if (!maps && (name == "growWork" || name.starts_with("growWork_") || name == "evacuate" ||
                  name.starts_with("evacuate_") || name == "hashGrow"))
        return MapOperation::write;
    if (!maps) return std::nullopt;
    if (function.find("(*Iter)") != std::string_view::npos) return MapOperation::iterate;
    if (name.starts_with("Put") || name == "putSlotSmall" || name == "growToTable" || name == "growToSmall" ||
        name == "rehash" || name == "grow" || name == "split" || name == "uncheckedPutSlot")
        return MapOperation::write;
    if (name.starts_with("Delete")) return MapOperation::erase;
    if (name.starts_with("Clear")) return MapOperation::clear;
    if (name.starts_with("Get") || name.starts_with("get")) return MapOperation::read;
    if (name == "fatal") return std::nullopt;
    return MapOperation::other;
}

std::vector<MapUse> map_uses(const Memory& memory, const Runtime& runtime, const Disassembler* disassembler,
                             const GoStack& stack) {
    std::vector<MapUse> uses;
    for (std::uint32_t i = 0; i + 1 < stack.physical.size(); ++i) {
        auto operation = map_operation(stack.physical[i].name());
        if (!operation) continue;
        std::uint32_t outer = i;
        MapUse use;
        use.operation = *operation;
        // The outermost of the runtime's frames says what was asked for: mapassign, not the growth that it began.
        while (outer + 1 < stack.physical.size()) {
            auto next = map_operation(stack.physical[outer + 1].name());
            if (!next) break;
            ++outer;
            if (*next != MapOperation::other) use.operation = *next;
        }
        use.function = stack.physical[outer].name();
        use.frame = outer + 1;
        i = outer;
        if (use.frame >= stack.physical.size()) break;
        const PhysicalFrame& caller = stack.physical[use.frame];
        if (caller.func() == nullptr || caller.sp.is_null()) {
            uses.push_back(use);
            continue;
        }
        const bool step = use.function.ends_with("mapiternext") || use.function.ends_with("mapIterNext") ||
                          use.function.ends_with("(*Iter).Next");
        auto take_iterator = [&](Address at, std::string_view basis) {
            auto it = read_map_iterator(memory, runtime, at);
            if (!it) return;
            use.iterator = at;
            use.type = it->type;
            use.header = it->header;
            use.basis = basis;
        };
        if (!runtime.version().at_least(17)) {  // arguments on the stack: {type, map, …} or {iterator}
            auto first = memory.load_address(caller.sp).value_or(Address{});
            if (step) {
                take_iterator(first, "the iterator in the call's arguments");
            } else if (is_map_type(runtime, first)) {
                use.type = first;
                use.header = memory.load_address(caller.sp + 8).value_or(Address{});
                use.basis = "the call's arguments";
            }
        } else if (disassembler != nullptr && caller.after_call) {
            const Machine& machine = x86_64();
            auto code = disassembler->decode_range(memory, {caller.func()->entry, caller.pc}, 65536);
            if (!code.empty() && code.back().pc + code.back().size == caller.pc) {
                const CallFrame frame{machine, caller.sp, caller.bp};
                const auto first = argument_of_call(memory, code, *machine.row_of("rax"), frame);
                if (step && first) take_iterator(*first, "the iterator that the code before the call names");
                if (!step && first && is_map_type(runtime, *first)) {
                    use.type = *first;
                    use.basis = "the code before the call";
                    if (const auto header = argument_of_call(memory, code, *machine.row_of("rbx"), frame))
                        use.header = *header;
                }
            }
        }
        uses.push_back(use);
    }
    if (std::ranges::none_of(uses, [](const MapUse& use) { return use.header.is_null(); })) return uses;
    // An iterator in the same frame names the map as well.
    auto iterators = map_iterators(memory, runtime, stack);
    for (MapUse& use : uses) {
        if (!use.header.is_null() || use.operation != MapOperation::iterate) continue;
        for (const MapIterator& it : iterators)
            if (it.frame == use.frame && !it.header.is_null()) {
                use.header = it.header;
                use.type = it.type;
                use.iterator = it.at;
                use.basis = "an iterator in the same frame";
                break;
            }
    }
    return uses;
}

std::vector<MapIterator> map_iterators(const Memory& memory, const Runtime& runtime, const GoStack& stack) {
    std::vector<MapIterator> found;
    const IteratorFields f = iterator_fields(runtime.layout());
    if (f.type < 0 || f.header < 0 || runtime.modules().empty()) return found;
    AddressRange hull = runtime.modules().front().types;
    for (const ModuleData& module : runtime.modules()) {
        hull.begin = std::min(hull.begin, module.types.begin);
        hull.end = std::max(hull.end, module.types.end);
    }
    MemoryCursor cursor(memory);
    for (std::uint32_t i = 0; i < stack.physical.size(); ++i) {
        const PhysicalFrame& frame = stack.physical[i];
        if (frame.owner != StackOwner::goroutine || frame.func() == nullptr || frame.sp.is_null() ||
            frame.cfa.is_null() || frame.cfa.value - frame.sp.value > largest_frame)
            continue;
        // 10^5 stacks are looked through: one test a word.
        const std::uint64_t words = (frame.cfa.value - frame.sp.value) / 8,
                            type_word = static_cast<unsigned>(f.type) / 8;
        const std::byte* bytes = cursor.data_at(frame.sp, words * 8);
        if (bytes == nullptr) continue;
        std::optional<FrameMaps> maps;
        for (std::uint64_t w = type_word; w + 1 < words; ++w) {
            Address type;
            std::memcpy(&type.value, bytes + w * 8, 8);
            if (!hull.contains(type) || !type.is_aligned(8)) continue;
            const Address at = frame.sp + (w - type_word) * 8;
            auto it = read_map_iterator(memory, runtime, at);
            if (!it || it->header.is_null() || !it->header.is_aligned(8)) continue;
            it->frame = i;
            if (!maps) maps = frame_maps(memory, runtime, frame).value_or(FrameMaps{});
            it->live = is_live(memory, runtime, stack, *it, *maps);
            found.push_back(*it);
        }
    }
    return found;
}

}  // namespace incident::go
