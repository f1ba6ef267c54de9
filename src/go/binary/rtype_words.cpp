// Type descriptors: go1.16–1.27 src/runtime/type.go, src/internal/abi/type.go. Kinds have had the same numbers since
// Go 1; the two highest bits of the kind byte were flags up to 1.25.
#include "go/binary/rtype_words.h"

#include <algorithm>
#include <array>

#include <fmt/format.h>

#include "base/text.h"
#include "go/binary/runtime_state.h"

namespace incident::go {

namespace {

// reflect.Kind
constexpr std::uint8_t uintptr_kind = 12, array = 17, chan = 18, func = 19, interface = 20, map = 21, pointer = 22,
                       slice = 23, string = 24, structure = 25, unsafe_pointer = 26;
constexpr std::uint8_t kind_mask = 31;
constexpr std::uint64_t largest_type = 1ull << 40;
constexpr std::uint64_t most_fields = 1 << 16;
constexpr unsigned deepest = 16;

bool sound_name(const std::string& name) {
    return !name.empty() && name.size() < 1000 && is_valid_utf8(name) &&
           std::ranges::none_of(name, [](char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7f; });
}

struct Walk {
    const Runtime& runtime;
    std::vector<AddressWord>& out;
    std::size_t limit;

    void add(std::uint64_t offset, AddressWord::Kind kind, const std::string& path) const {
        if (out.size() < limit) out.push_back({offset, kind, path});
    }
    void fields(const RType& type, std::uint64_t base, const std::string& path, unsigned depth) const {
        const Memory& memory = runtime.memory();
        const auto& layout = runtime.layout();
        const StructView view(memory, type.at);
        const auto data = view.get(layout.structtype.fields_data);
        const auto count = view.get(layout.structtype.fields_len);
        if (!data || !count || *count > most_fields) return;
        constexpr std::uint64_t field_size = 24;  // name, typ, offset: go1.16–1.27
        for (std::uint64_t i = 0; i < *count && out.size() < limit; ++i) {
            const StructView field(memory, *data + i * field_size);
            const auto typ = field.get(layout.structfield.typ);
            const auto name = field.get(layout.structfield.name);
            std::uint64_t offset = 0;
            if (auto plain = field.get(layout.structfield.offset))
                offset = *plain;
            else if (auto shifted = field.get(layout.structfield.offsetAnon))
                offset = *shifted >> 1;
            else
                return;
            if (!typ || offset >= type.size) return;
            auto inner = read_rtype(runtime, *typ);
            if (!inner || offset + inner->size > type.size) return;
            const auto text = name ? read_type_name_at(memory, runtime.version(), *name) : std::nullopt;
            const std::string member =
                text && is_valid_utf8(*text) ? std::string(*text) : fmt::format("+{:#x}", offset);
            walk(*inner, base + offset, path.empty() ? member : fmt::format("{}.{}", path, member), depth + 1);
        }
    }
    void walk(const RType& type, std::uint64_t base, const std::string& path, unsigned depth) const {
        if (depth > deepest || out.size() >= limit) return;
        switch (type.kind) {
            case uintptr_kind: add(base, AddressWord::Kind::uintptr, path); return;
            case unsafe_pointer: add(base, AddressWord::Kind::unsafe_pointer, path); return;
            case chan:
            case func:
            case map:
            case pointer:
            case slice:
            case string: add(base, AddressWord::Kind::pointer, path); return;
            case interface: add(base + 8, AddressWord::Kind::pointer, path); return;
            case structure: fields(type, base, path, depth); return;
            case array: break;
            default: return;
        }
        const StructView view(runtime.memory(), type.at);
        const auto& layout = runtime.layout().arraytype;
        const auto elem = view.get(layout.elem);
        const auto length = view.get(layout.len);
        if (!elem || !length) return;
        const auto inner = read_rtype(runtime, *elem);
        if (!inner || inner->size == 0 || *length > type.size / inner->size) return;
        for (std::uint64_t i = 0; i < *length && out.size() < limit; ++i) {
            const std::size_t before = out.size();
            walk(*inner, base + i * inner->size, fmt::format("{}[{}]", path, i), depth + 1);
            if (out.size() == before) return;  // elements without such words
        }
    }
};

}  // namespace

std::optional<RType> read_rtype(const Runtime& runtime, Address at) {
    if (!at.is_aligned(8)) return std::nullopt;
    auto name = runtime.type_name(at);
    if (!name || !sound_name(*name)) return std::nullopt;
    const StructView view(runtime.memory(), at);
    const auto& layout = runtime.layout();
    const auto size = view.get(layout.type.size_);
    const auto ptr_bytes = view.get(layout.type.ptrdata);
    const auto kind = view.get(layout.type.kind);
    if (!size || !ptr_bytes || !kind || *size > largest_type || *ptr_bytes > *size) return std::nullopt;
    RType type{.at = at,
               .name = std::move(*name),
               .size = *size,
               .ptr_bytes = *ptr_bytes,
               .kind = static_cast<std::uint8_t>(*kind & kind_mask),
               .elem = {}};
    if (type.kind == 0 || type.kind > unsafe_pointer) return std::nullopt;
    if (type.pointer()) type.elem = view.get(layout.ptrtype.elem).value_or(Address{});
    return type;
}

std::vector<AddressWord> address_words(const Runtime& runtime, const RType& type, std::size_t limit) {
    std::vector<AddressWord> words;
    Walk{runtime, words, limit}.walk(type, 0, {}, 0);
    std::ranges::stable_sort(words, {}, &AddressWord::offset);
    return words;
}

}  // namespace incident::go
