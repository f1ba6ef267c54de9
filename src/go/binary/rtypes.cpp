// Names of runtime types, with whole package paths. The string of a type has only the last part ("cpu.option"), and two
// packages may share it; whole names are put together from what the type is made of, and are those that DWARF has:
// cmd/compile/internal/types/fmt.go, LinkString.
//
// A name is stored behind a flag byte: its length in two big-endian bytes up to Go 1.16, as a varint since 1.17 (go1.17
// src/runtime/type.go, name.readvarint), then the bytes. Most types share the string of their pointer type and carry a
// flag that says "without the star".
#include "go/binary/rtypes.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

namespace incident::go {
namespace {

// go1.27 src/internal/abi/type.go: TFlag, Kind, ChanDir, Name.
constexpr std::uint8_t flag_uncommon = 1, flag_extra_star = 2, flag_named = 4;
constexpr std::uint8_t kind_mask = 0x1f;
constexpr std::uint8_t name_exported = 1, name_has_tag = 2, name_embedded = 8;
constexpr std::uint64_t receives = 1, sends = 2;
constexpr std::uint16_t variadic = 1 << 15;
constexpr std::uint64_t method_size = 8;  // abi.Imethod: NameOff, TypeOff

constexpr std::uint64_t longest_name = 1 << 16;  // bytes; generic instantiations get long
constexpr std::size_t most_parts = 4096;         // of one type: a corrupt one may contain itself
constexpr unsigned deepest = 32;

struct NameRecord {
    std::string_view text, tag;
    std::uint8_t flags = 0;
};

std::optional<std::uint64_t> read_length(const Memory& memory, Address& cursor, const Version& version) {
    if (version.minor <= 16) {
        const std::byte* bytes = memory.data_at(cursor, 2);
        if (bytes == nullptr) return std::nullopt;
        cursor += 2;
        return std::to_integer<std::uint64_t>(bytes[0]) << 8 | std::to_integer<std::uint64_t>(bytes[1]);
    }
    std::uint64_t length = 0;
    for (unsigned shift = 0;; shift += 7) {
        const std::byte* byte = memory.data_at(cursor, 1);
        if (byte == nullptr || shift > 21) return std::nullopt;
        cursor += 1;
        length |= (std::to_integer<std::uint64_t>(*byte) & 0x7f) << shift;
        if (std::to_integer<unsigned>(*byte) < 0x80) return length;
    }
}

std::optional<std::string_view> read_text(const Memory& memory, Address& cursor, const Version& version) {
    const auto length = read_length(memory, cursor, version);
    if (!length || *length == 0 || *length > longest_name) return std::nullopt;
    const std::byte* bytes = memory.data_at(cursor, *length);
    if (bytes == nullptr) return std::nullopt;
    cursor += *length;
    return std::string_view(reinterpret_cast<const char*>(bytes), *length);
}

std::optional<NameRecord> read_record(const Memory& memory, Address at, const Version& version) {
    const std::byte* flags = memory.data_at(at, 1);
    if (flags == nullptr) return std::nullopt;
    Address cursor = at + 1;
    const auto text = read_text(memory, cursor, version);
    if (!text) return std::nullopt;
    NameRecord record{*text, {}, std::to_integer<std::uint8_t>(*flags)};
    if ((record.flags & name_has_tag) != 0) record.tag = read_text(memory, cursor, version).value_or("");
    return record;
}

/// "Pair[int,net/http.Header]" of "pkg.Pair[int,net/http.Header]"; as reflect's Name.
std::string_view last_part(std::string_view text) {
    std::size_t depth = 0;
    for (std::size_t i = text.size(); i-- > 0;) {
        if (text[i] == ']') ++depth;
        if (text[i] == '[' && depth > 0) --depth;
        if (text[i] == '.' && depth == 0) return text.substr(i + 1);
    }
    return text;
}

std::string quoted(std::string_view text) {
    std::string out = "\"";
    for (char c : text) {
        if (c == '"' || c == '\\') out += '\\';
        out += c;
    }
    return out + '"';
}

/// Puts one name together. Every step may fail, and then the whole does: what it says is whole or not said.
class Namer {
public:
    Namer(const Memory& memory, const RuntimeLayout& layout, const Version& version,
          std::span<const ModuleData> modules)
        : memory_(memory), layout_(layout), version_(version), modules_(modules) {}

    struct Head {
        Address at;
        const ModuleData* module = nullptr;
        std::string_view text;  ///< as the runtime prints it
        std::uint8_t flags = 0;
        Kind kind = Kind::invalid;
    };

    std::optional<Head> head(Address at) const {
        const auto& f = layout_.type;
        for (const ModuleData& module : modules_) {
            if (!module.types.contains(at)) continue;
            const StructView type(memory_, at);
            const auto flags = type.get(f.tflag), kind = type.get(f.kind);
            const auto offset = type.get(f.str);
            if (!flags || !kind || !offset || *offset <= 0) return std::nullopt;
            auto record = record_at(module, *offset);
            if (!record) return std::nullopt;
            if ((*flags & flag_extra_star) != 0) {
                if (!record->text.starts_with('*') || record->text.size() == 1) return std::nullopt;
                record->text.remove_prefix(1);
            }
            return Head{at, &module, record->text, *flags, static_cast<Kind>(*kind & kind_mask)};
        }
        return std::nullopt;
    }

    std::optional<std::string> name(const Head& head) {
        const bool fields = head.text.contains("struct {") || head.text.contains("interface {");
        if (!fields && !head.text.contains('.')) return std::string(head.text);  // no package in it
        if (++parts_ > most_parts || depth_ >= deepest) return std::nullopt;
        ++depth_;
        auto text = (head.flags & flag_named) != 0 ? named(head) : literal(head);
        --depth_;
        return text && text->size() <= longest_name ? text : std::nullopt;
    }

private:
    std::optional<NameRecord> record_at(const ModuleData& module, std::int32_t offset) const {
        if (offset <= 0) return std::nullopt;
        const Address place = module.types.begin + static_cast<std::uint32_t>(offset);
        return module.types.contains(place) ? read_record(memory_, place, version_) : std::nullopt;
    }
    std::optional<std::string> part(Address type) {
        const auto found = head(type);
        return found ? name(*found) : std::nullopt;
    }
    std::optional<std::string> part(const Result<Address>& type) { return type ? part(*type) : std::nullopt; }

    std::optional<std::string> named(const Head& head) const {
        const std::uint64_t size = size_before_uncommon(layout_, head.kind);
        if (head.kind == Kind::unsafe_pointer && head.text == "unsafe.Pointer") return std::string(head.text);
        if ((head.flags & flag_uncommon) == 0 || size == 0) return std::nullopt;
        const auto path = StructView(memory_, head.at + size).get(layout_.uncommontype.pkgpath);
        const auto package = path ? record_at(*head.module, *path) : std::nullopt;
        if (!package) return std::nullopt;
        // Also "go.shape.*net/http.Header", which has no plain name.
        if (head.text.starts_with(package->text) && head.text.substr(package->text.size()).starts_with('.'))
            return std::string(head.text);
        return fmt::format("{}.{}", package->text, head.text.substr(head.text.find('.') + 1));
    }

    std::optional<std::string> literal(const Head& head) {
        const StructView view(memory_, head.at);
        switch (head.kind) {
            case Kind::pointer: return with("*", part(view.get(layout_.ptrtype.elem)));
            case Kind::slice: return with("[]", part(view.get(layout_.slicetype.elem)));
            case Kind::array: {
                const auto length = view.get(layout_.arraytype.len);
                return length ? with(fmt::format("[{}]", *length), part(view.get(layout_.arraytype.elem)))
                              : std::nullopt;
            }
            case Kind::chan: return channel(view);
            case Kind::map: {
                const auto key = part(view.get(layout_.maptype.key)), elem = part(view.get(layout_.maptype.elem));
                return key && elem ? std::optional(fmt::format("map[{}]{}", *key, *elem)) : std::nullopt;
            }
            case Kind::func: {
                auto text = signature(head);
                return text ? with("func", std::move(text)) : std::nullopt;
            }
            case Kind::interface: return interface(head, view);
            case Kind::struct_: return structure(head, view);
            default: return std::nullopt;
        }
    }

    static std::optional<std::string> with(std::string_view prefix, std::optional<std::string> text) {
        if (text) text->insert(0, prefix);
        return text;
    }
    std::optional<std::string> channel(const StructView& view) {
        const auto way = view.get(layout_.chantype.dir);
        auto elem = part(view.get(layout_.chantype.elem));
        if (!way || !elem) return std::nullopt;
        if (*way == receives) return "<-chan " + *elem;
        if (*way == sends) return "chan<- " + *elem;
        return elem->starts_with("<-") ? fmt::format("chan ({})", *elem) : "chan " + *elem;
    }

    /// "(int, ...string) (net/http.Header, error)"
    std::optional<std::string> signature(const Head& head) {
        const StructView view(memory_, head.at);
        const auto in = view.get(layout_.functype.inCount), out = view.get(layout_.functype.outCount);
        if (!in || !out || layout_.functype.size == 0 || head.kind != Kind::func) return std::nullopt;
        const unsigned results = *out & ~variadic;
        Address types = head.at + layout_.functype.size;
        if ((head.flags & flag_uncommon) != 0) types += layout_.uncommontype.size;
        std::string text = "(";
        for (unsigned i = 0; i < *in + results; ++i) {
            auto type = part(memory_.load_address(types + i * 8ull));
            if (!type) return std::nullopt;
            if (i + 1 == *in && (*out & variadic) != 0 && type->starts_with("[]")) type->replace(0, 2, "...");
            if (i == *in) text += results > 1 ? ") (" : ") ";
            if (i != 0 && i != *in) text += ", ";
            text += *type;
        }
        return text += results == 1 ? "" : ")";
    }

    std::string_view package_of(const Result<Address>& record) const {
        const auto found = record && !record->is_null() ? read_record(memory_, *record, version_) : std::nullopt;
        return found ? found->text : std::string_view();
    }
    /// Names that only their package can use carry it; those of the compiler's own structs have none.
    static std::string qualified(const NameRecord& name, std::string_view package) {
        if (name.text == ".F") return "F";  // ≤1.22: the function of a closure
        const bool bare = (name.flags & name_exported) != 0 || name.text == "_" || package.empty();
        return bare ? std::string(name.text) : fmt::format("{}.{}", package, name.text);
    }

    std::optional<std::string> interface(const Head& of, const StructView& view) {
        const auto package = package_of(view.get(layout_.interfacetype.pkgpath));
        const auto methods = view.get(layout_.interfacetype.methods_data);
        const auto count = view.get(layout_.interfacetype.methods_len);
        if (!methods || !count || *count > most_parts) return std::nullopt;
        std::string text = "interface {";
        for (std::uint64_t i = 0; i < *count; ++i) {
            const Address method = *methods + i * method_size;
            const auto name = memory_.load<std::int32_t>(method), type = memory_.load<std::int32_t>(method + 4);
            if (!name || !type || *type <= 0) return std::nullopt;
            const auto record = record_at(*of.module, *name);
            const auto function = head(of.module->types.begin + static_cast<std::uint32_t>(*type));
            const auto takes = function ? signature(*function) : std::nullopt;
            if (!record || !takes) return std::nullopt;
            text += fmt::format("{} {}{}", i == 0 ? "" : ";", qualified(*record, package), *takes);
        }
        return text += *count == 0 ? "}" : " }";
    }

    struct FieldOf {
        NameRecord name;
        Address type;
        bool embedded = false;
    };
    std::optional<std::vector<FieldOf>> fields(const StructView& view) const {
        const auto data = view.get(layout_.structtype.fields_data);
        const auto count = view.get(layout_.structtype.fields_len);
        const auto& f = layout_.structfield;
        if (!data || !count || *count > most_parts || f.size == 0) return std::nullopt;
        std::vector<FieldOf> out;
        for (std::uint64_t i = 0; i < *count; ++i) {
            const StructView field(memory_, *data + i * f.size);
            const auto name = field.get(f.name), type = field.get(f.typ);
            const auto record = name ? read_record(memory_, *name, version_) : std::nullopt;
            if (!record || !type) return std::nullopt;
            const auto joined = field.get(f.offsetAnon);  // ≤1.18: offset<<1 | embedded
            out.push_back({*record, *type, joined ? (*joined & 1) != 0 : (record->flags & name_embedded) != 0});
        }
        return out;
    }

    std::optional<std::string> structure(const Head& of, const StructView& view) {
        const auto all = fields(view);
        if (!all) return std::nullopt;
        // Made by the compiler for a map: "map.bucket[", "map.group[" …
        if (of.text.starts_with("map.") && of.text.contains('['))
            return cells(of.text.substr(0, of.text.find('[') + 1), of, *all);
        const auto package = package_of(view.get(layout_.structtype.pkgpath));
        std::string text = "struct {";
        for (const FieldOf& field : *all) {
            auto type = part(field.type);
            if (!type) return std::nullopt;
            const std::string name = qualified(field.name, package);
            if (!field.embedded)
                type = fmt::format("{} {}", name, *type);
            else if (version_.at_least(18) && last_part(*type) != field.name.text)
                type = fmt::format("{} = {}", name, *type);
            text += fmt::format("{} {}", &field == all->data() ? "" : ";", *type);
            if (!field.name.tag.empty()) text += " " + quoted(field.name.tag);
        }
        return text += all->empty() ? "}" : " }";
    }

    /// "map.bucket[K]V": of keys and elements, which the cells hold themselves, or a pointer to large ones. ≤1.16
    /// "map.hdr[K]V" leads to its buckets, and "map.iter[K]V" to a key and an element.
    std::optional<std::string> cells(std::string_view prefix, const Head& of, const std::vector<FieldOf>& fields) {
        std::optional<Head> key, elem;
        auto look = [&](const std::vector<FieldOf>& in, bool in_arrays) {
            for (const FieldOf& field : in) {
                const bool keys = field.name.text == (in_arrays ? "keys" : "key");
                if (!keys && field.name.text != (in_arrays ? "elems" : "elem")) continue;
                const auto type = in_arrays ? StructView(memory_, field.type).get(layout_.arraytype.elem)
                                            : Result<Address>(field.type);
                if (type) (keys ? key : elem) = head(*type);
            }
        };
        look(fields, true);
        if (!key) look(fields, false);
        if (auto slots = std::ranges::find(fields, "slots", [](const FieldOf& f) { return f.name.text; });
            slots != fields.end())
            if (auto cell = StructView(memory_, slots->type).get(layout_.arraytype.elem))
                if (auto inner = this->fields(StructView(memory_, *cell))) look(*inner, false);
        if (auto buckets = std::ranges::find(fields, "buckets", [](const FieldOf& f) { return f.name.text; });
            buckets != fields.end())
            if (auto inner = part(StructView(memory_, buckets->type).get(layout_.ptrtype.elem)))
                return std::string(prefix) + inner->substr(inner->find('[') + 1);
        if (!key || !elem) return std::nullopt;
        const auto behind = [&](const Head& pointer) {
            const auto type = StructView(memory_, pointer.at).get(layout_.ptrtype.elem);
            return pointer.kind == Kind::pointer && type ? head(*type) : std::nullopt;
        };
        const std::array keys{key, behind(*key)}, elems{elem, behind(*elem)};
        for (const auto& k : keys)
            for (const auto& e : elems) {
                if (!k || !e || of.text.substr(prefix.size()) != fmt::format("{}]{}", k->text, e->text)) continue;
                const auto first = name(*k), second = name(*e);
                return first && second ? std::optional(fmt::format("{}{}]{}", prefix, *first, *second)) : std::nullopt;
            }
        return std::nullopt;
    }

    const Memory& memory_;
    const RuntimeLayout& layout_;
    const Version& version_;
    std::span<const ModuleData> modules_;
    std::size_t parts_ = 0;
    unsigned depth_ = 0;
};

}  // namespace

std::uint64_t size_before_uncommon(const RuntimeLayout& layout, Kind kind) {
    switch (kind) {
        case Kind::struct_: return layout.structtype.size;
        case Kind::pointer: return layout.ptrtype.size;
        case Kind::func: return layout.functype.size;
        case Kind::slice: return layout.slicetype.size;
        case Kind::array: return layout.arraytype.size;
        case Kind::chan: return layout.chantype.size;
        case Kind::map: return layout.maptype.size;
        case Kind::interface: return layout.interfacetype.size;
        default: return layout.type.size;
    }
}

std::optional<std::string_view> read_type_name_at(const Memory& memory, const Version& version, Address name) {
    const auto record = read_record(memory, name, version);
    return record ? std::optional(record->text) : std::nullopt;
}

std::optional<std::string> read_type_name(const Memory& memory, const RuntimeLayout& layout, const Version& version,
                                          std::span<const ModuleData> modules, Address at) {
    Namer namer(memory, layout, version, modules);
    const auto head = namer.head(at);
    if (!head) return std::nullopt;
    auto whole = namer.name(*head);
    return as_written(whole ? std::move(*whole) : std::string(head->text));
}

// The number stands in DWARF and in type arguments, the runtime's string of the type itself has none.
std::string as_written(std::string name) {
    constexpr std::string_view dot = "·", escape = "%2e", noalg = "noalg.";
    for (std::size_t at = 0; (at = name.find(dot, at)) != std::string::npos;) {
        std::size_t end = at + dot.size();
        while (end < name.size() && name[end] >= '0' && name[end] <= '9') ++end;
        if (end == at + dot.size())
            at = end;
        else
            name.erase(at, end - at);
    }
    for (std::size_t at = 0; (at = name.find(escape, at)) != std::string::npos; ++at)
        name.replace(at, escape.size(), ".");
    for (std::size_t at = 0; (at = name.find(noalg, at)) != std::string::npos;)
        if (at == 0 || std::string_view("*[]{(, ").contains(name[at - 1]))
            name.erase(at, noalg.size());
        else
            at += noalg.size();
    return name;
}

}  // namespace incident::go
