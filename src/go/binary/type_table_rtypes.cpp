// Types from the runtime's descriptors. No table lists all of them (typelinks leaves named types out), so the whole
// section is searched: descriptors are 8-aligned, and hardly anything else there looks like one. What is taken for a
// descriptor by mistake does no harm: no pointer of the target leads to it.
//
// go1.27 src/internal/abi/type.go; a name behind a flag byte as in rtypes.cpp.
#include <algorithm>

#include <fmt/format.h>

#include "go/binary/runtime_state.h"
#include "go/binary/type_table_state.h"

namespace incident::go {
namespace {

constexpr std::uint64_t largest_type = 1ull << 40;  // bytes
constexpr std::uint64_t most_fields = 1 << 16;
constexpr std::uint64_t largest_section = 1ull << 30;  // bytes of rtypes

constexpr std::uint64_t size_of_kind(Kind kind) {
    switch (kind) {
        case Kind::boolean:
        case Kind::int8:
        case Kind::uint8: return 1;
        case Kind::int16:
        case Kind::uint16: return 2;
        case Kind::int32:
        case Kind::uint32:
        case Kind::float32: return 4;
        case Kind::int_:
        case Kind::int64:
        case Kind::uint:
        case Kind::uint64:
        case Kind::uintptr:
        case Kind::float64:
        case Kind::complex64:
        case Kind::chan:
        case Kind::func:
        case Kind::map:
        case Kind::pointer:
        case Kind::unsafe_pointer: return 8;
        case Kind::complex128:
        case Kind::interface:
        case Kind::string: return 16;
        case Kind::slice: return 24;
        default: return 0;  // any
    }
}

class Rtypes {
public:
    Rtypes(TypeTableBuilder& builder, const ModuleData& module, TypeTable::State::Module& into)
        : builder_(builder),
          memory_(builder.memory),
          layout_(builder.runtime.layout()),
          version_(builder.runtime.version()),
          module_(module),
          into_(into) {}

    void run() {
        const auto& f = layout_.type;
        if (!f.size_.present() || !f.ptrdata.present() || !f.kind.present() || !f.tflag.present() || !f.str.present())
            return;
        const AddressRange where = into_.types;  // 1.27: moduledata.typedesclen covers the unnamed types only
        std::vector<TypeId> fresh;
        for (Address at = where.begin; at + 48 <= where.end; at += 8) {
            const std::byte* bytes = memory_.data_at(at, 48);
            if (bytes == nullptr) {  // not held, or the seam of two segments
                if (memory_.find(at) == nullptr) break;
                continue;
            }
            if (!plausible(bytes)) continue;
            if (const TypeId known = builder_.out.find(at)) {
                complete(known, at);
                continue;
            }
            if (auto name = builder_.runtime.type_name(at)) {
                Type type;
                type.name = builder_.keep(std::move(*name));
                type.rtype = at;
                const TypeId id = builder_.add(type);
                into_.by_word[(at.value - into_.types.begin.value) / 8] = id;
                complete(id, at);
                fresh.push_back(id);
            }
        }
        for (const TypeId id : fresh) fill(id);
    }

private:
    template <class T>
    T get(const std::byte* bytes, Field<T> field) const {
        T value{};
        std::memcpy(&value, bytes + field.offset, sizeof(T));
        return value;
    }
    bool plausible(const std::byte* bytes) const {
        const auto& f = layout_.type;
        const unsigned kind = get(bytes, f.kind) & 0x1fu;
        if (kind == 0 || kind > static_cast<unsigned>(Kind::unsafe_pointer)) return false;
        const std::uint64_t size = get(bytes, f.size_), pointers = get(bytes, f.ptrdata);
        if (size > largest_type || pointers > size || pointers % 8 != 0) return false;
        const std::uint64_t fixed = size_of_kind(static_cast<Kind>(kind));
        if (fixed != 0 && fixed != size) return false;
        const auto align = get(bytes, f.align);
        if (align == 0 || align > 16 || (align & (align - 1)) != 0) return false;
        const auto str = get(bytes, f.str);
        return str > 0 && static_cast<std::uint64_t>(str) < into_.types.size();
    }
    void complete(TypeId id, Address at) {
        const StructView view(memory_, at);
        Type& type = builder_.out.types[id];
        type.pointer_bytes = view.get(layout_.type.ptrdata).value_or(~std::uint64_t{0});
        const auto kind = view.get(layout_.type.kind).value_or(0), flags = view.get(layout_.type.tflag).value_or(0);
        // kindDirectIface, bit 5 of kind; since 1.26 TFlagDirectIface, bit 5 of tflag.
        type.direct_interface = ((version_.at_least(26) ? flags : kind) & 1 << 5) != 0;
        if (type.kind == Kind::invalid) {
            type.kind = static_cast<Kind>(kind & 0x1f);
            type.size = view.get(layout_.type.size_).value_or(0);
        }
    }

    TypeId referred(const Result<Address>& address) const { return address ? builder_.out.find(*address) : no_type; }

    void fill(TypeId id) {
        const StructView view(memory_, builder_.out.types[id].rtype);
        Type type = builder_.out.types[id];
        switch (type.kind) {
            case Kind::pointer: type.elem = referred(view.get(layout_.ptrtype.elem)); break;
            case Kind::slice: type.elem = referred(view.get(layout_.slicetype.elem)); break;
            case Kind::chan: type.elem = referred(view.get(layout_.chantype.elem)); break;
            case Kind::array:
                type.elem = referred(view.get(layout_.arraytype.elem));
                type.count = view.get(layout_.arraytype.len).value_or(0);
                if (type.elem != no_type && builder_.out.types[type.elem].size != 0 &&
                    type.count > type.size / builder_.out.types[type.elem].size)
                    type.count = type.size / builder_.out.types[type.elem].size;
                break;
            case Kind::map:
                type.key = referred(view.get(layout_.maptype.key));
                type.elem = referred(view.get(layout_.maptype.elem));
                type.group = referred(layout_.maptype.group.present() ? view.get(layout_.maptype.group)
                                                                      : view.get(layout_.maptype.bucket));
                break;
            case Kind::interface:
                type.empty_interface = view.get(layout_.interfacetype.methods_len).value_or(1) == 0;
                break;
            case Kind::struct_: fill_struct(view, type); break;
            default: break;
        }
        builder_.out.types[id] = type;
    }

    void fill_struct(const StructView& view, Type& type) {
        auto& out = builder_.out;
        auto data = view.get(layout_.structtype.fields_data);
        auto count = view.get(layout_.structtype.fields_len);
        type.first_field = static_cast<std::uint32_t>(out.fields.size());
        if (!data || !count || *count > most_fields || layout_.structfield.size == 0) return;
        for (std::uint64_t i = 0; i < *count; ++i) {
            const StructView field(memory_, *data + i * layout_.structfield.size);
            auto name = field.get(layout_.structfield.name);
            auto offset = field.get(layout_.structfield.offset);
            bool embedded = false;
            if (!offset) {
                offset = field.get(layout_.structfield.offsetAnon);
                if (offset) {
                    embedded = (*offset & 1) != 0;
                    *offset >>= 1;
                }
            } else if (name) {
                embedded = (memory_.load<std::uint8_t>(*name).value_or(0) & 1 << 3) != 0;
            }
            const TypeId of = referred(field.get(layout_.structfield.typ));
            if (!name || !offset || *offset > type.size) break;
            auto text = read_type_name_at(memory_, version_, *name);
            out.fields.push_back(
                {text ? builder_.keep(std::string(*text)) : std::string_view("_"), *offset, of, embedded});
        }
        type.field_count = static_cast<std::uint32_t>(out.fields.size()) - type.first_field;
    }

    TypeTableBuilder& builder_;
    const Memory& memory_;
    const RuntimeLayout& layout_;
    const Version& version_;
    const ModuleData& module_;
    TypeTable::State::Module& into_;
};

}  // namespace

void TypeTableBuilder::add_rtypes(std::size_t module) {
    const ModuleData& data = runtime.modules()[module];
    if (data.types.size() > largest_section) return;
    Rtypes(*this, data, out.modules[module]).run();
}

}  // namespace incident::go
