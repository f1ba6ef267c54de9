#include "go/binary/field_path.h"

#include <fmt/format.h>

#include <algorithm>

namespace incident::go {

namespace {
constexpr unsigned deepest = 16;  // structs in structs; damaged types may consist of each other
}

FieldPath field_path(const TypeTable& types, TypeId id, std::uint64_t offset, Until until) {
    FieldPath path{{}, id, offset};
    for (unsigned depth = 0; depth < deepest && (path.rest != 0 || until == Until::leaf); ++depth) {
        const Type& type = types[path.type];
        if (type.kind == Kind::array && types[type.elem].size != 0) {
            const std::uint64_t size = types[type.elem].size;
            path = {fmt::format("{}[{}]", path.text, path.rest / size), type.elem, path.rest % size, path.type};
            continue;
        }
        if (type.kind != Kind::struct_) break;
        const auto fields = types.fields(type);
        const auto found = std::ranges::find_if(fields, [&](const TypeField& field) {
            return path.rest >= field.offset &&
                   path.rest - field.offset < std::max<std::uint64_t>(types[field.type].size, 1);
        });
        if (found == fields.end()) break;
        path = {fmt::format("{}.{}", path.text, found->name), found->type, path.rest - found->offset, path.type};
    }
    if (path.rest != 0) path.text += fmt::format("+{:#x}", path.rest);
    return path;
}

std::string variable_path(const TypeTable& types, Address word, std::optional<std::uint64_t> behind) {
    const GlobalOfType* global = types.global_at(word);
    if (global == nullptr || global->name.empty()) return {};
    const auto offset = static_cast<std::uint64_t>(word - global->address);
    const FieldPath path = field_path(types, global->type, offset, behind ? Until::leaf : Until::first);
    std::string text = std::string(global->name) + path.text;
    if (!behind) return text;
    const Type& pointer = types[path.type];
    if (pointer.kind != Kind::pointer || path.rest != 0 || *behind >= types[pointer.elem].size) return {};
    return text + field_path(types, pointer.elem, *behind, Until::first).text;
}

}  // namespace incident::go
