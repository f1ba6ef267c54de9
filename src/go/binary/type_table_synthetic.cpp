// Structs that no descriptor names: what a map or a channel variable points to, and the runtime's own. Only needed
// where DWARF is missing; their fields are those that lead on to other objects, named as DWARF names them.
#include <fmt/format.h>

#include "go/binary/type_table_state.h"

namespace incident::go {

TypeId TypeTableBuilder::add_struct(std::string name, std::uint64_t size, std::span<const TypeField> fields) {
    Type type;
    type.name = keep(std::move(name));
    type.kind = Kind::struct_;
    type.size = size;
    type.pointer_bytes = ~std::uint64_t{0};
    type.first_field = static_cast<std::uint32_t>(out.fields.size());
    for (const TypeField& field : fields)
        if (field.type != no_type && field.offset < size) out.fields.push_back(field);
    type.field_count = static_cast<std::uint32_t>(out.fields.size()) - type.first_field;
    return add(type);
}

TypeId TypeTableBuilder::pointer_to(TypeId elem) {
    Type type;
    type.name = keep(fmt::format("*{}", out.types[elem].name));
    type.kind = Kind::pointer;
    type.size = 8;
    type.pointer_bytes = 8;
    type.elem = elem;
    return add(type);
}

TypeId TypeTableBuilder::slice_of(TypeId elem) {
    Type type;
    type.name = keep("[]" + std::string(out.types[elem].name));
    type.kind = Kind::slice;
    type.size = 24;
    type.pointer_bytes = 8;
    type.elem = elem;
    return add(type);
}

TypeId TypeTableBuilder::basic(std::string_view name, Kind kind, std::uint64_t size) {
    if (auto found = out.by_name.find(name); found != out.by_name.end()) return found->second;
    Type type;
    type.name = name;
    type.kind = kind;
    type.size = size;
    type.pointer_bytes = kind == Kind::unsafe_pointer ? 8 : 0;
    const TypeId id = add(type);
    out.by_name.emplace(name, id);
    return id;
}

namespace {

/// Collects the fields of a struct as far as the layout has them.
class FieldList {
public:
    template <class Place>
    FieldList& add(std::string_view name, Place place, TypeId type) {
        if (place.offset >= 0) list_.push_back({name, static_cast<std::uint64_t>(place.offset), type, false});
        return *this;
    }
    operator std::span<const TypeField>() const { return list_; }

private:
    std::vector<TypeField> list_;
};

}  // namespace

void TypeTableBuilder::add_headers() {
    const auto& layout = runtime.layout();
    const TypeId u8 = basic("uint8", Kind::uint8, 1), i64 = basic("int", Kind::int_, 8),
                 u64 = basic("uint64", Kind::uint64, 8), word = basic("uintptr", Kind::uintptr, 8),
                 any = basic("unsafe.Pointer", Kind::unsafe_pointer, 8);
    TypeId extra = no_type;
    const bool swiss = !layout.hmap.buckets.present() && layout.swiss_map.dirPtr.present();
    const std::size_t count = out.types.size();
    for (TypeId id = 1; id < count; ++id) {
        const Type type = out.types[id];
        if (type.header != no_type) continue;
        if (type.kind == Kind::chan && layout.hchan.size != 0) {
            const TypeId header = add_struct(fmt::format("hchan<{}>", out.types[type.elem].name), layout.hchan.size,
                                             FieldList()
                                                 .add("qcount", layout.hchan.qcount, u64)
                                                 .add("dataqsiz", layout.hchan.dataqsiz, u64)
                                                 .add("buf", layout.hchan.buf, any)
                                                 .add("elemtype", layout.hchan.elemtype, word)
                                                 .add("sendx", layout.hchan.sendx, u64)
                                                 .add("recvx", layout.hchan.recvx, u64));
            out.types[id].header = header;
        }
        if (type.kind != Kind::map) continue;
        const std::string parts = fmt::format("<{},{}>", out.types[type.key].name, out.types[type.elem].name);
        const TypeId group = type.group == no_type ? no_type : pointer_to(type.group);
        if (swiss) {
            const auto& t = layout.swiss_table;
            if (t.size == 0 || !t.groups_data.present() || !t.groups_lengthMask.present()) continue;
            const std::uint64_t data = static_cast<std::uint64_t>(t.groups_data.offset);
            const std::uint64_t mask = static_cast<std::uint64_t>(t.groups_lengthMask.offset);
            const TypeField inner[] = {{"data", 0, group, false}, {"lengthMask", mask - data, u64, false}};
            const TypeId groups = add_struct("groupReference" + parts, 16, inner);
            const TypeField fields[] = {{"index", static_cast<std::uint64_t>(std::max(t.index.offset, 0)), i64, false},
                                        {"groups", data, groups, false}};
            const TypeId table = pointer_to(add_struct("table" + parts, t.size, fields));
            const TypeId tables = pointer_to(table);
            const TypeId header = add_struct("map" + parts, layout.swiss_map.size,
                                             FieldList()
                                                 .add("used", layout.swiss_map.used, u64)
                                                 .add("dirPtr", layout.swiss_map.dirPtr, tables)
                                                 .add("dirLen", layout.swiss_map.dirLen, i64)
                                                 .add("globalDepth", layout.swiss_map.globalDepth, u8));
            out.types[id].header = header;
        } else if (layout.hmap.buckets.present()) {
            if (extra == no_type && out.by_name.contains("runtime.mapextra"))
                extra = pointer_to(out.by_name.at("runtime.mapextra"));
            const TypeId header = add_struct("hash" + parts, layout.hmap.size,
                                             FieldList()
                                                 .add("count", layout.hmap.count, i64)
                                                 .add("flags", layout.hmap.flags, u8)
                                                 .add("B", layout.hmap.B, u8)
                                                 .add("buckets", layout.hmap.buckets, group)
                                                 .add("oldbuckets", layout.hmap.oldbuckets, group)
                                                 .add("extra", layout.hmap.extra, extra));
            out.types[id].header = header;
        }
    }
}

void TypeTableBuilder::add_runtime_structs() {
    const auto& layout = runtime.layout();
    // Pointers to structs come before what they point to: ids are fixed first, fields filled after.
    struct Row {
        std::string_view name;
        std::uint64_t size;
    };
    const Row rows[] = {{"runtime.g", layout.g.size},           {"runtime.m", layout.m.size},
                        {"runtime.sudog", layout.sudog.size},   {"runtime._defer", layout._defer.size},
                        {"runtime._panic", layout._panic.size}, {"runtime.mapextra", layout.mapextra.size}};
    for (const Row& row : rows) {
        if (row.size == 0 || out.by_name.contains(row.name)) continue;
        const TypeId id = add_struct(std::string(row.name), row.size, {});
        out.by_name.emplace(out.types[id].name, id);
    }
    const auto named = [&](std::string_view name) {
        auto found = out.by_name.find(name);
        return found == out.by_name.end() ? no_type : found->second;
    };
    const auto pointer = [&](std::string_view name) {
        const TypeId id = named(name);
        return id == no_type ? no_type : pointer_to(id);
    };
    const auto fill = [&](std::string_view name, const FieldList& list) {
        const TypeId id = named(name);
        if (id == no_type || out.types[id].field_count != 0) return;
        std::span<const TypeField> fields = list;
        out.types[id].first_field = static_cast<std::uint32_t>(out.fields.size());
        for (const TypeField& field : fields)
            if (field.type != no_type && field.offset + 8 <= out.types[id].size) out.fields.push_back(field);
        out.types[id].field_count = static_cast<std::uint32_t>(out.fields.size()) - out.types[id].first_field;
    };
    const TypeId g = pointer("runtime.g"), m = pointer("runtime.m"), sudog = pointer("runtime.sudog"),
                 defer = pointer("runtime._defer");
    fill("runtime.g", FieldList()
                          .add("_defer", layout.g._defer, defer)
                          .add("m", layout.g.m, m)
                          .add("waiting", layout.g.waiting, sudog));
    fill("runtime.m",
         FieldList().add("g0", layout.m.g0, g).add("gsignal", layout.m.gsignal, g).add("curg", layout.m.curg, g));
    fill("runtime.sudog", FieldList()
                              .add("g", layout.sudog.g, g)
                              .add("next", layout.sudog.next, sudog)
                              .add("prev", layout.sudog.prev, sudog)
                              .add("parent", layout.sudog.parent, sudog)
                              .add("waitlink", layout.sudog.waitlink, sudog)
                              .add("waittail", layout.sudog.waittail, sudog));
    fill("runtime._defer", FieldList().add("link", layout._defer.link, defer));
}

}  // namespace incident::go
