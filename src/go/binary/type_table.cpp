#include "go/binary/type_table.h"

#include <algorithm>

#include "go/binary/type_table_state.h"

namespace incident::go {

namespace {
constexpr std::uint64_t largest_section = 1ull << 30;  // bytes of rtypes
}

TypeTable TypeTable::read(const Memory& memory, const Runtime& runtime, bool ignore_dwarf) {
    auto state = std::make_shared<State>();
    state->memory = &memory;
    state->itab_type = runtime.layout().itab.type;
    TypeTableBuilder builder{memory, runtime, *state};
    const auto modules = runtime.modules();
    state->modules.resize(modules.size());
    for (std::size_t i = 0; i < modules.size(); ++i) {
        auto& module = state->modules[i];
        module.types = modules[i].types;
        if (module.types.size() > largest_section) module.types.end = module.types.begin;
        module.by_word.resize(module.types.size() / 8 + 1);
        if (!ignore_dwarf) builder.add_dwarf(i);
    }
    const bool named_by_dwarf = !state->globals.empty();
    for (std::size_t i = 0; i < modules.size(); ++i) builder.add_rtypes(i);
    state->by_name.reserve(state->types.size());
    for (TypeId id = 1; id < state->types.size(); ++id) state->by_name.try_emplace(state->types[id].name, id);
    for (std::size_t i = 0; i < modules.size() && !named_by_dwarf; ++i) builder.add_variables_by_code(i);
    builder.add_runtime_structs();
    builder.add_headers();
    state->byte = builder.basic("uint8", Kind::uint8, 1);
    std::ranges::stable_sort(state->globals, {}, &GlobalOfType::address);
    return TypeTable(std::move(state));
}

std::size_t TypeTable::size() const { return state_->types.size(); }
const Type& TypeTable::operator[](TypeId id) const { return state_->types[id < state_->types.size() ? id : no_type]; }
std::span<const TypeField> TypeTable::fields(const Type& type) const {
    return std::span(state_->fields).subspan(type.first_field, type.field_count);
}
const TypeField* TypeTable::field(TypeId id, std::string_view name) const {
    for (const TypeField& field : fields((*this)[id]))
        if (field.name == name) return &field;
    return nullptr;
}
TypeId TypeTable::find(Address rtype) const noexcept { return state_->find(rtype); }
TypeId TypeTable::find(std::string_view name) const {
    auto found = state_->by_name.find(name);
    return found == state_->by_name.end() ? no_type : found->second;
}
TypeId TypeTable::find_die(std::uint64_t die, std::size_t module) const {
    if (module >= state_->modules.size()) return no_type;
    const auto& dies = state_->modules[module].dies;
    auto found = std::ranges::lower_bound(dies, die, {}, &std::pair<std::uint64_t, TypeId>::first);
    return found == dies.end() || found->first != die ? no_type : found->second;
}
bool TypeTable::has_dwarf() const { return state_->dwarf; }
std::span<const GlobalOfType> TypeTable::globals() const { return state_->globals; }
const GlobalOfType* TypeTable::global_at(Address a) const {
    auto after = std::ranges::upper_bound(state_->globals, a, {}, &GlobalOfType::address);
    if (after == state_->globals.begin()) return nullptr;
    const GlobalOfType& global = *--after;
    return a - global.address < static_cast<std::int64_t>(std::max<std::uint64_t>((*this)[global.type].size, 1))
               ? &global
               : nullptr;
}
const GlobalOfType* TypeTable::find_global(std::string_view name) const {
    auto found = std::ranges::find(state_->globals, name, &GlobalOfType::name);
    return found == state_->globals.end() ? nullptr : &*found;
}
TypeId TypeTable::dynamic_type(Address word, bool empty_interface) const noexcept {
    if (word.is_null()) return no_type;
    if (empty_interface) return find(word);
    if (!state_->itab_type.present()) return no_type;
    const std::byte* at = state_->memory->data_at(word + static_cast<std::uint64_t>(state_->itab_type.offset), 8);
    if (at == nullptr) return no_type;
    Address type;
    std::memcpy(&type, at, sizeof(type));
    return find(type);
}
TypeId TypeTable::bytes() const { return state_->byte; }

}  // namespace incident::go
