// What the detectors of Go maps say about a map.
#include <fmt/format.h>

#include <algorithm>

#include "detect/go_map.h"
#include "detect/telling.h"
#include "go/heap/heap_graph.h"
#include "go/heap/heap_types.h"
#include "go/stacks/values.h"
#include "process/snapshot.h"

namespace incident::detect {

std::string MapTeller::type_name(Address rtype) const {
    if (rtype.is_null()) return "map";
    return process_.go->type_name(rtype).value_or("map");
}

namespace {

/// Can the value at `at` be of this type? Words that must be addresses are counted; nullopt: it cannot.
std::optional<unsigned> fits_type(const Process& process, const go::Values& values, Address type, Address at) {
    auto mapped = [&](Address a) { return process.memory.data_at(a, 1) != nullptr; };
    auto word = process.memory.load_address(at);
    if (!word) return std::nullopt;
    switch (values.kind(type)) {
        case go::Kind::string: {
            auto length = process.memory.load<std::uint64_t>(at + 8);
            if (!length || *length >> 32 != 0) return std::nullopt;
            if (*length == 0) return 0;
            return mapped(*word) ? std::optional(2u) : std::nullopt;
        }
        case go::Kind::pointer:
        case go::Kind::map:
        case go::Kind::chan:
        case go::Kind::func:
        case go::Kind::unsafe_pointer:
            if (word->is_null()) return 0;
            return mapped(*word) ? std::optional(1u) : std::nullopt;
        case go::Kind::interface:
        case go::Kind::slice:
            if (word->is_null()) return 0;
            return mapped(*word) ? std::optional(1u) : std::nullopt;
        default: return 0;
    }
}

}  // namespace

Address MapTeller::choose_type(const go::MapFinder& finder, const go::RecognisedMap& map, bool& sure) const {
    const go::MapShape& found = finder.shapes()[map.shape];
    sure = map.typed;
    if (sure) return found.rtype;
    if (process_.heap_types) {
        const go::TypeTable& types = process_.heap_types->types();
        if (auto at = variable(map.walk.header))
            if (const go::GlobalOfType* global = types.global_at(*at); global != nullptr && global->address == *at)
                if (const go::Type& type = types[global->type]; type.kind == go::Kind::map && !type.rtype.is_null()) {
                    sure = true;
                    return type.rtype;
                }
    }
    const go::Values values(process_.memory, *process_.go);
    std::vector<std::pair<Address, Address>> cells;
    go::MapCell take = [&](Address key, Address elem) {
        if (cells.size() < 16) cells.emplace_back(key, elem);
    };
    go::MapReader reader(process_.memory, process_.go->layout(), nullptr);
    reader.walk(map.walk.header, found, &take, 4096);
    Address best = found.rtype;
    unsigned most = 0, equal = 0;
    bool any = false;
    for (const go::MapShape& shape : finder.shapes()) {
        if (shape.unit != found.unit || shape.keys != found.keys || shape.key_stride != found.key_stride ||
            shape.elems != found.elems || shape.elem_stride != found.elem_stride ||
            (shape.unit_pointers != 0) != (found.unit_pointers != 0))
            continue;
        unsigned score = 0;
        bool fits = true;
        for (auto& [key, elem] : cells) {
            auto k = shape.indirect_key ? std::optional(0u) : fits_type(process_, values, shape.key, key);
            auto e = shape.indirect_elem ? std::optional(0u) : fits_type(process_, values, shape.elem, elem);
            if (!k || !e) {
                fits = false;
                break;
            }
            score += *k + *e;
        }
        if (!fits) continue;
        if (!any || score > most) {
            best = shape.rtype;
            most = score;
            equal = 1;
            any = true;
        } else if (score == most) {
            ++equal;
        }
    }
    sure = any && equal == 1 && !cells.empty();
    return best;
}

std::string MapTeller::type_words(const go::MapFinder& finder, const go::RecognisedMap& map) const {
    bool sure = false;
    const Address type = choose_type(finder, map, sure);
    return fmt::format("{}{}", type_name(type), sure ? "" : " or a type like it");
}

std::optional<Address> MapTeller::variable(Address header) const {
    for (const go::ModuleData& module : process_.go->modules())
        for (AddressRange range : {module.data, module.bss}) {
            MemoryCursor cursor(process_.memory);
            for (Address at{(range.begin.value + 7) / 8 * 8}; at + 8 <= range.end; at += 8) {
                std::uint64_t word;
                if (cursor.load(at, word) && word == header.value) return at;
            }
        }
    return std::nullopt;
}

std::string MapTeller::name(Address header) const {
    if (auto at = variable(header)) {
        // A variable of the program first; of the runtime's own there is none that keeps a map of a user.
        auto symbol = locator_.symbol(*at);
        return symbol.empty() ? fmt::format("the map of the variable at {:#x}", at->value) : symbol;
    }
    return fmt::format("the map at {:#x}", header.value);
}

std::vector<MapTeller::LocalMap> MapTeller::local_maps(const report::FrameSnapshot& frame) const {
    std::vector<LocalMap> maps;
    const auto add = [&](std::string name, std::string_view type, Address at) {
        if (const auto header = process_.memory.load_address(at); header && !header->is_null())
            maps.push_back({std::move(name), std::string(type), *header});
    };
    const go::TypeTable* types = process_.heap_types ? &process_.heap_types->types() : nullptr;
    for (const report::Slot& slot : frame.slots) {
        if (slot.name.empty() || !slot.address) continue;
        const std::string_view type = slot.type;
        if (type.starts_with("map[")) add(slot.name, type, *slot.address);
        if (!type.starts_with('*')) continue;
        const auto pointer = process_.memory.load_address(*slot.address);
        if (!pointer) continue;
        if (type.starts_with("*map["))  // captured, or moved to the heap: `&total`
            add(slot.name.starts_with('&') ? slot.name.substr(1) : "*" + slot.name, type.substr(1), *pointer);
        if (types == nullptr) continue;
        for (const go::TypeField& field : types->fields(types->find(type.substr(1))))
            if ((*types)[field.type].kind == go::Kind::map)
                add(fmt::format("{}.{}", slot.name, field.name), (*types)[field.type].name, *pointer + field.offset);
    }
    return maps;
}

report::Subject MapTeller::subject(Address header, Address rtype) const {
    report::Subject subject;
    if (!header.is_null()) subject.address = header;
    subject.what = "map";
    subject.type = type_name(rtype);
    if (auto at = header.is_null() ? std::nullopt : variable(header)) subject.symbol = locator_.symbol(*at);
    return subject;
}

std::string MapTeller::state(const go::MapWalk& walk) const {
    std::string text = fmt::format("count {}", walk.count);
    if (walk.swiss)
        text += fmt::format(", depth {}{}", walk.depth, walk.writing ? ", writing" : "");
    else
        text += fmt::format(", B {}, flags {:#x}{}{}{}", walk.depth, walk.flags, walk.writing ? " writing" : "",
                            walk.iterating ? " iterated" : "", walk.growing ? ", growing" : "");
    return text;
}

void MapTeller::add_verify(report::Finding& finding, Address header, bool swiss) const {
    if (header.is_null()) return;
    if (swiss) {
        finding.verify.push_back(
            gdb_words(process_, header, 6, "used, seed, dirPtr, dirLen, depth|shift|writing, clearSeq"));
        return;
    }
    const std::uint32_t words = process_.go->layout().hmap.size / 8;
    finding.verify.push_back(gdb_words(process_, header, words,
                                       fmt::format("count, flags|B|noverflow|hash0, buckets, oldbuckets, nevacuate,{} "
                                                   "extra",
                                                   words > 6 ? " clearSeq," : "")));  // go_map.h, map_header_slot
}

void MapTeller::add_verify_bytes(report::Finding& finding, Address at, std::string_view remark) const {
    finding.verify.push_back(gdb_check(process_, {fmt::format("x/8xb {:#x}", at.align_down(8).value)}, remark));
}

}  // namespace incident::detect
