#include "image/type_places.h"

#include <dwarf.h>

#include "image/dwarf_types.h"
#include "image/image_state.h"

namespace incident {

namespace {

constexpr unsigned deepest = 32;  // members within members
constexpr std::size_t most_members = 4096;

Dwarf_Die die_of(TypeRef type) {
    Dwarf_Die die{};
    die.addr = const_cast<void*>(type.die);
    die.cu = static_cast<Dwarf_CU*>(const_cast<void*>(type.unit));
    return die;
}

TypeRef ref_of(const std::optional<Dwarf_Die>& die) { return die ? TypeRef{die->addr, die->cu} : TypeRef{}; }

/// A declaration ("struct conn;") leads nowhere.
std::optional<Dwarf_Die> bare(TypeRef type) {
    if (!type) return std::nullopt;
    auto die = peel(die_of(type));
    if (die && dwarf_hasattr(&*die, DW_AT_declaration)) return std::nullopt;
    return die;
}

TypeRef target_of(Dwarf_Die pointer) {
    auto target = type_of(pointer);
    return target ? ref_of(peel(*target)) : TypeRef{};
}

/// Calls `visit(member, its type, offset, is a base class)` for data members; stops when it returns true.
template <class Visit>
void for_each_member(Dwarf_Die& aggregate, Visit&& visit) {
    Dwarf_Die child;
    if (dwarf_child(&aggregate, &child) != 0) return;
    std::size_t count = 0;
    do {
        const int tag = dwarf_tag(&child);
        if (tag != DW_TAG_member && tag != DW_TAG_inheritance) continue;
        if (dwarf_hasattr(&child, DW_AT_external) || dwarf_hasattr(&child, DW_AT_declaration)) continue;  // static
        if (++count > most_members) return;
        auto at = member_offset(child);
        auto type = type_of(child);
        if (at && type && visit(child, *type, *at, tag == DW_TAG_inheritance)) return;
    } while (dwarf_siblingof(&child, &child) == 0);
}

bool is_integer(Dwarf_Die& die) {
    Dwarf_Attribute attribute;
    Dwarf_Word encoding = 0;
    return dwarf_tag(&die) == DW_TAG_base_type &&
           dwarf_formudata(dwarf_attr(&die, DW_AT_encoding, &attribute), &encoding) == 0 &&
           (encoding == DW_ATE_signed || encoding == DW_ATE_unsigned);
}

bool descend(Dwarf_Die type, std::uint64_t offset, unsigned depth, TypedPlace& out) {
    auto die = peel(type);
    if (!die || depth > deepest || dwarf_hasattr(&*die, DW_AT_declaration)) return false;
    if (is_aggregate(*die)) {
        bool found = false;
        for_each_member(*die, [&](Dwarf_Die& member, Dwarf_Die& inner, std::uint64_t at, bool base) {
            const std::uint64_t size = size_of(inner).value_or(0);
            if (offset < at || offset >= at + (size == 0 ? 1 : size)) return false;
            TypedPlace deeper = out;
            const std::string_view name = base ? std::string_view() : die_name(member);
            if (!name.empty()) {
                deeper.path.append(".").append(name);
                deeper.member = name;
                deeper.owner = die_name(*die);
                deeper.element = false;
            }
            if (!descend(inner, offset - at, depth + 1, deeper)) return false;  // an empty base class, padding
            out = std::move(deeper);
            return found = true;
        });
        return found;
    }
    if (dwarf_tag(&*die) == DW_TAG_array_type) {
        auto element = type_of(*die);
        const std::uint64_t size = element ? size_of(*element).value_or(0) : 0;
        if (size == 0) return false;
        out.path += "[" + std::to_string(offset / size) + "]";
        out.element = true;
        out.index = offset / size;
        out.count = size_of(*die).value_or(0) / size;
        return descend(*element, offset % size, depth + 1, out);
    }
    out.type = type_name(type);
    out.offset = offset;
    out.pointer = is_pointer(*die);
    out.pointee = out.pointer ? target_of(*die) : TypeRef{};
    out.integer = is_integer(*die) ? size_of(*die).value_or(0) : 0;
    return true;
}

}  // namespace

std::optional<TypedPlace> place_in(TypeRef type, std::uint64_t offset) {
    if (!type) return std::nullopt;
    TypedPlace out;
    return descend(die_of(type), offset, 0, out) ? std::optional(std::move(out)) : std::nullopt;
}

std::uint64_t size_of(TypeRef type) { return type ? size_of(die_of(type)).value_or(0) : 0; }

std::string name_of(const Image& image, TypeRef type) {
    return type ? type_name(die_of(type), &ImageAccess::state(image)) : std::string();
}

bool is_pointer(TypeRef type) { return type && is_pointer(die_of(type)); }

std::optional<std::uint64_t> self_link(TypeRef type) {
    auto die = bare(type);
    if (!die || !is_aggregate(*die)) return std::nullopt;
    std::optional<std::uint64_t> link;
    for_each_member(*die, [&](Dwarf_Die&, Dwarf_Die& inner, std::uint64_t at, bool) {
        auto pointer = peel(inner);
        if (!pointer || dwarf_tag(&*pointer) != DW_TAG_pointer_type) return false;
        if (target_of(*pointer) != ref_of(die)) return false;
        link = at;
        return true;
    });
    return link;
}

}  // namespace incident
