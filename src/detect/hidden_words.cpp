// Finding uintptr words by type. The types that have any are few and found first; then one look at each object's type.
#include "detect/hidden_words.h"

#include <algorithm>
#include <cstring>

#include <fmt/format.h>

#include "base/parallel.h"
#include "go/heap/heap_types.h"
#include "process/boxed.h"

namespace incident::detect {

namespace {

constexpr std::size_t most_words = 256;  // of one type
constexpr unsigned deepest = 12;
constexpr std::string_view func_word = "func ";  // before a closure's name

struct Field {
    std::uint64_t offset = 0;
    std::string path;
    std::uint64_t among = 0, among_end = 0;  ///< as in HiddenWord, offsets
};

struct Within {
    std::uint64_t begin = 0, end = 0;
};

void collect(const go::TypeTable& types, go::TypeId id, std::uint64_t base, const std::string& path, unsigned depth,
             Within among, std::vector<Field>& out) {
    const go::Type& type = types[id];
    if (depth > deepest || out.size() >= most_words) return;
    if (type.kind == go::Kind::uintptr) {
        out.push_back({base, path, among.begin, among.end});
    } else if (type.kind == go::Kind::struct_) {
        for (const go::TypeField& field : types.fields(type))
            collect(types, field.type, base + field.offset,
                    path.empty() ? std::string(field.name) : fmt::format("{}.{}", path, field.name), depth + 1, among,
                    out);
    } else if (type.kind == go::Kind::array && types[type.elem].size != 0) {
        const std::uint64_t step = types[type.elem].size;
        for (std::uint64_t i = 0; i < type.count && out.size() < most_words; ++i) {
            const std::size_t before = out.size();
            const std::uint64_t at = base + i * step;
            collect(types, type.elem, at, fmt::format("{}[{}]", path, i), depth + 1,
                    type.count > 2 ? Within{at, at + step} : among, out);
            if (out.size() == before) return;
        }
    }
}

/// No struct's field: an element of a list.
bool bare(const Field& field) { return field.path.empty() || field.path.front() == '['; }

/// From Go 1.22 on objects of more than 512 B lie behind a word of the allocator.
bool has_header(const go::HeapSlots& slots, Address in) {
    const go::SlotId slot = slots.find(in);
    return slot != go::no_slot && slots.slot_span(slot).pointers == go::PointerInfo::header;
}

/// Variables of the runtime and of what stands closest to it keep addresses of their own making.
bool own_variable(std::string_view name) {
    return runtime_type(name) || name.starts_with("go.") || name.starts_with("go:") || name.starts_with("type:");
}

}  // namespace

std::vector<HiddenWord> find_hidden_words(const Process& process, std::size_t limit, std::uint64_t& checked) {
    std::vector<HiddenWord> found;
    if (!process.heap || !process.heap_types) return found;
    const go::HeapTypes& heap_types = *process.heap_types;
    const go::TypeTable& types = heap_types.types();
    const go::Spans& spans = *process.spans;
    const go::HeapSlots& slots = process.heap->slots();
    std::vector<std::vector<Field>> fields(types.size());
    const std::span<const go::ClosureType> closures = heap_types.closures();
    std::vector<std::vector<Field>> captured(closures.size());
    bool any = false;
    for (go::TypeId id = 1; id < types.size(); ++id) {
        if (types[id].size < 8 || runtime_type(types[id].name)) continue;
        collect(types, id, 0, {}, 0, {0, types[id].size}, fields[id]);
        any |= !fields[id].empty();
    }
    for (std::size_t i = 0; i < closures.size(); ++i) {
        if (runtime_type(std::string_view(closures[i].name).substr(func_word.size()))) continue;
        for (const go::TypeField& capture : closures[i].captures)
            collect(types, capture.type, capture.offset, std::string(capture.name), 0, {0, closures[i].size},
                    captured[i]);
        any |= !captured[i].empty();
    }
    if (!any) return found;

    auto look = [&](Address base, std::string_view type, std::string_view symbol, const Field& field) {
        const Address word = base + field.offset;
        auto value = process.memory.load_address(word);
        ++checked;
        if (!value || !spans.in_arena(*value) || found.size() >= limit) return;
        const auto tag = static_cast<std::uint8_t>(value->value % 8);
        if (tag != 0) {
            value = *value - tag;
            const auto object = spans.find_object(*value);
            bool begins = value->is_aligned(8192) && spans.is_free_page(*value);
            if (object && object->state == go::SlotState::free)
                begins = object->base == *value || (has_header(slots, *value) && object->base + 8 == *value);
            if (!begins) return;
        }
        AddressRange among{base + field.among, base + field.among_end};
        if (!symbol.empty() && field.path.empty()) among = {word - 16, word + 24};  // var begin, end uintptr
        found.push_back({word, *value, base, std::string(symbol), std::string(type), field.path, among, tag});
    };
    for (const go::GlobalOfType& global : types.globals()) {
        if (global.type >= fields.size() || own_variable(global.name)) continue;
        for (const Field& field : fields[global.type])
            look(global.address, types[global.type].name, global.name, field);
    }
    for (const auto& [address, id] : heap_types.statics()) {
        if (id >= fields.size()) continue;
        for (const Field& field : fields[id])
            if (!bare(field)) look(address, types[id].name, {}, field);
    }

    struct Hit {
        Address base;
        std::string_view type;
        const Field* field;
    };
    std::vector<std::vector<Hit>> hits(std::max(process.jobs, 1u));
    heap_types.for_each_live(
        process.jobs, [&](go::TypeId id) { return !fields[id].empty(); },
        [&](go::SlotId slot, const go::ObjectType& type, unsigned worker) {
            const std::byte* data = slots.data(slot);
            if (type.basis < go::TypeBasis::edge || data == nullptr) return;
            const std::uint64_t size = types[type.type].size, bytes = slots.size(slot);
            for (std::uint64_t n = 0; n < type.count; ++n)
                for (const Field& field : fields[type.type]) {
                    const std::uint64_t at = type.offset + n * size + field.offset;
                    if (bare(field) || at + 8 > bytes) continue;
                    Address value;
                    std::memcpy(&value.value, data + at, 8);
                    if (spans.in_arena(value) && hits[worker].size() < limit)
                        hits[worker].push_back(
                            {slots.base(slot) + type.offset + n * size, types[type.type].name, &field});
                }
        });
    const auto fields_of = [&](const go::ClosureType& closure) -> const std::vector<Field>& {
        return captured[static_cast<std::size_t>(&closure - closures.data())];
    };
    heap_types.for_each_live_closure(
        process.jobs, [&](const go::ClosureType& closure) { return !fields_of(closure).empty(); },
        [&](go::SlotId slot, const go::ClosureType& closure, unsigned worker) {
            const std::byte* data = slots.data(slot);
            for (const Field& field : fields_of(closure)) {
                if (data == nullptr || field.offset + 8 > slots.size(slot)) continue;
                Address value;
                std::memcpy(&value.value, data + field.offset, 8);
                if (spans.in_arena(value) && hits[worker].size() < limit)
                    hits[worker].push_back({slots.base(slot), closure.name, &field});
            }
        });
    for (const auto& part : hits)
        for (const Hit& hit : part) look(hit.base, hit.type, {}, *hit.field);
    std::ranges::sort(found, {}, &HiddenWord::word);
    found.erase(std::ranges::unique(found, {}, &HiddenWord::word).begin(), found.end());
    return found;
}

}  // namespace incident::detect
