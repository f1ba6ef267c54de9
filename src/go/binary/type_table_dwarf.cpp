// Types from DWARF. Typedefs that only repeat a name vanish: whoever refers to them gets what they stand for.
#include <algorithm>

#include "go/binary/rtypes.h"
#include "go/binary/type_table_state.h"

namespace incident::go {
namespace {

constexpr unsigned longest_chain = 16;  ///< typedefs of typedefs

class DwarfTypes {
public:
    DwarfTypes(TypeTableBuilder& builder, const ModuleData& module, TypeTable::State::Module& into)
        : builder_(builder), module_(module), into_(into), debug_(read_go_types(*module.image)) {}

    void run() {
        auto& out = builder_.out;
        if (debug_.types.empty()) return;
        out.dwarf = true;
        place();
        for (std::size_t i = 0; i < debug_.types.size(); ++i) fill(i);
        for (std::size_t i = 0; i < debug_.types.size(); ++i)
            if (!stands_for_other(debug_.types[i])) join(i);
        for (const GoVariable& variable : debug_.variables)
            if (const TypeId type = resolve(variable.type))
                out.globals.push_back({variable.name, variable.address, type});
    }

private:
    static bool stands_for_other(const GoTypeDie& row) {
        const auto kind = static_cast<Kind>(row.kind);
        return row.form == GoTypeDie::Form::alias && kind != Kind::interface && kind != Kind::map && kind != Kind::chan;
    }
    const GoTypeDie* row_at(std::uint64_t die) const {
        auto found = std::ranges::lower_bound(debug_.types, die, {}, &GoTypeDie::die);
        return found != debug_.types.end() && found->die == die && die != 0 ? &*found : nullptr;
    }
    const GoTypeDie* behind(const GoTypeDie* row) const {
        for (unsigned i = 0; row != nullptr && stands_for_other(*row) && i < longest_chain; ++i)
            row = row_at(row->type);
        return row != nullptr && stands_for_other(*row) ? nullptr : row;
    }
    TypeId id_of(const GoTypeDie* row) const { return row == nullptr ? no_type : ids_[row - debug_.types.data()]; }
    TypeId resolve(std::uint64_t die) const { return id_of(behind(row_at(die))); }

    /// Ids first, in order, so that references may point forwards.
    void place() {
        auto& out = builder_.out;
        ids_.resize(debug_.types.size());
        auto next = static_cast<TypeId>(out.types.size());
        for (std::size_t i = 0; i < debug_.types.size(); ++i)
            if (!stands_for_other(debug_.types[i])) ids_[i] = next++;
        out.types.resize(next);
        into_.dies.reserve(debug_.types.size());
        for (std::size_t i = 0; i < debug_.types.size(); ++i)
            if (const TypeId id = id_of(behind(&debug_.types[i]))) into_.dies.emplace_back(debug_.types[i].die, id);
        out.fields.reserve(out.fields.size() + debug_.members.size());
    }

    void fill(std::size_t index) {
        const GoTypeDie& row = debug_.types[index];
        if (stands_for_other(row)) return;
        auto& out = builder_.out;
        Type type;
        auto written = as_written(std::string(row.name));
        type.name = written == row.name ? row.name : builder_.keep(std::move(written));
        type.kind =
            row.kind <= static_cast<unsigned>(Kind::unsafe_pointer) ? static_cast<Kind>(row.kind) : Kind::invalid;
        type.size = row.size;
        type.pointer_bytes = ~std::uint64_t{0};
        switch (row.form) {
            case GoTypeDie::Form::structure:
                if (type.kind == Kind::invalid) type.kind = Kind::struct_;
                type.elem = resolve(row.elem);
                type.first_field = static_cast<std::uint32_t>(out.fields.size());
                for (std::uint32_t i = 0; i < row.member_count; ++i) {
                    const GoMember& member = debug_.members[row.first_member + i];
                    out.fields.push_back({member.name, member.offset, resolve(member.type), member.embedded});
                }
                type.field_count = row.member_count;
                break;
            case GoTypeDie::Form::array:
                type.kind = Kind::array;
                type.elem = resolve(row.type);
                type.count = row.count;
                break;
            case GoTypeDie::Form::pointer:
                type.size = 8;
                type.elem = resolve(row.type);
                type.kind = type.elem == no_type ? Kind::unsafe_pointer : Kind::pointer;
                break;
            case GoTypeDie::Form::function:
                type.size = 8;
                type.kind = Kind::func;
                break;
            case GoTypeDie::Form::alias:
                type.size = type.kind == Kind::interface ? 16 : 8;
                type.elem = resolve(row.elem);
                type.key = resolve(row.key);
                break;
            default: break;
        }
        type.rtype = rtype_of(row);
        out.types[ids_[index]] = type;
        if (!type.rtype.is_null()) into_.by_word[(type.rtype.value - into_.types.begin.value) / 8] = ids_[index];
    }

    Address rtype_of(const GoTypeDie& row) const {
        if (row.runtime_type == 0) return {};
        Address at = into_.types.begin + row.runtime_type;
        if (Address whole{row.runtime_type + module_.image->bias()}; into_.types.contains(whole)) at = whole;
        return into_.types.contains(at) && at.is_aligned(8) ? at : Address{};
    }

    /// What needs the other types' rows: headers, interfaces, sizes of arrays.
    void join(std::size_t index) {
        const GoTypeDie& row = debug_.types[index];
        auto& types = builder_.out.types;
        Type& type = types[ids_[index]];
        if (row.form != GoTypeDie::Form::alias) return;
        const GoTypeDie* target = behind(row_at(row.type));
        if (target == nullptr) return;
        if (type.kind == Kind::interface) {
            type.empty_interface =
                target->name == "runtime.eface" || (id_of(target) != no_type && types[id_of(target)].empty_interface);
            return;
        }
        type.header = types[id_of(target)].kind == Kind::pointer ? types[id_of(target)].elem : no_type;
        if (type.kind == Kind::map) type.group = group_of(type.header);
    }

    TypeId member_type(TypeId id, std::string_view name) const {
        const auto& out = builder_.out;
        const Type& type = out.types[id];
        for (std::uint32_t i = 0; i < type.field_count; ++i)
            if (out.fields[type.first_field + i].name == name) return out.fields[type.first_field + i].type;
        return no_type;
    }
    TypeId group_of(TypeId header) const {
        const auto& types = builder_.out.types;
        if (const TypeId buckets = member_type(header, "buckets")) return types[buckets].elem;
        const TypeId tables = member_type(header, "dirPtr");
        return types[member_type(member_type(types[types[tables].elem].elem, "groups"), "data")].elem;
    }

    TypeTableBuilder& builder_;
    const ModuleData& module_;
    TypeTable::State::Module& into_;
    GoDebugTypes debug_;
    std::vector<TypeId> ids_;
};

}  // namespace

void TypeTableBuilder::add_dwarf(std::size_t module) {
    const ModuleData& data = runtime.modules()[module];
    if (data.image == nullptr) return;
    DwarfTypes(*this, data, out.modules[module]).run();
}

}  // namespace incident::go
