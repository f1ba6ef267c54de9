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

struct Field {
    std::uint64_t offset = 0;
    std::string path;
};

void collect(const go::TypeTable& types, go::TypeId id, std::uint64_t base, const std::string& path, unsigned depth,
             std::vector<Field>& out) {
    const go::Type& type = types[id];
    if (depth > deepest || out.size() >= most_words) return;
    if (type.kind == go::Kind::uintptr) {
        out.push_back({base, path});
    } else if (type.kind == go::Kind::struct_) {
        for (const go::TypeField& field : types.fields(type))
            collect(types, field.type, base + field.offset,
                    path.empty() ? std::string(field.name) : fmt::format("{}.{}", path, field.name), depth + 1, out);
    } else if (type.kind == go::Kind::array && types[type.elem].size != 0) {
        const std::uint64_t step = types[type.elem].size;
        for (std::uint64_t i = 0; i < type.count && out.size() < most_words; ++i) {
            const std::size_t before = out.size();
            collect(types, type.elem, base + i * step, fmt::format("{}[{}]", path, i), depth + 1, out);
            if (out.size() == before) return;
        }
    }
}

/// No struct's field: an element of a list.
bool bare(const Field& field) { return field.path.empty() || field.path.front() == '['; }

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
    std::vector<std::vector<Field>> fields(types.size());
    bool any = false;
    for (go::TypeId id = 1; id < types.size(); ++id) {
        if (types[id].size < 8 || runtime_type(types[id].name)) continue;
        collect(types, id, 0, {}, 0, fields[id]);
        any |= !fields[id].empty();
    }
    if (!any) return found;

    auto look = [&](Address base, go::TypeId id, std::string_view symbol, const Field& field) {
        const Address word = base + field.offset;
        const auto value = process.memory.load_address(word);
        ++checked;
        // What is no multiple of a word is an address in disguise at most: nobody can say of what.
        if (!value || !value->is_aligned(8) || !spans.in_arena(*value) || found.size() >= limit) return;
        found.push_back({word, *value, base, std::string(symbol), std::string(types[id].name), field.path});
    };
    for (const go::GlobalOfType& global : types.globals()) {
        if (global.type >= fields.size() || own_variable(global.name)) continue;
        for (const Field& field : fields[global.type]) look(global.address, global.type, global.name, field);
    }
    for (const auto& [address, id] : heap_types.statics()) {
        if (id >= fields.size()) continue;
        for (const Field& field : fields[id])
            if (!bare(field)) look(address, id, {}, field);
    }

    const go::HeapSlots& slots = process.heap->slots();
    struct Hit {
        Address base;
        go::TypeId type;
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
                        hits[worker].push_back({slots.base(slot) + type.offset + n * size, type.type, &field});
                }
        });
    for (const auto& part : hits)
        for (const Hit& hit : part) look(hit.base, hit.type, {}, *hit.field);
    std::ranges::sort(found, {}, &HiddenWord::word);
    found.erase(std::ranges::unique(found, {}, &HiddenWord::word).begin(), found.end());
    return found;
}

}  // namespace incident::detect
