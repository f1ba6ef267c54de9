// One pass over the units that can hold the wanted names. Go's linker collects all types in one of the units named
// "runtime" (its own, with hardly a function in it) and leaves variables and constants in the unit of their package:
// other Go units are not entered at all. A big Go binary has hundreds of units and millions of DIEs, and only skipping
// keeps this at milliseconds.
#include "image/types.h"

#include <dwarf.h>

#include <algorithm>
#include <functional>
#include <unordered_set>

#include "image/dwarf_types.h"
#include "image/image_state.h"

namespace incident {
namespace {

constexpr std::size_t most_members = 20000;
constexpr unsigned deepest_nesting = 32;

/// Package of a Go name: "internal/abi" of "internal/abi.TFlagDirectIface". Type arguments do not count.
std::string_view go_package(std::string_view name) {
    name = name.substr(0, name.find('['));
    const auto slash = name.rfind('/');
    const auto dot = name.find('.', slash == name.npos ? 0 : slash);
    return dot == name.npos ? std::string_view() : name.substr(0, dot);
}

/// Calls `visit(die, qualified name)` for named children of the unit, and of its namespaces; stops when it returns
/// false.
bool walk_names(Dwarf_Die& parent, const std::string& prefix, unsigned depth, bool go,
                const std::function<bool(Dwarf_Die&, std::string_view)>& visit) {
    Dwarf_Die child;
    if (depth > deepest_nesting || dwarf_child(&parent, &child) != 0) return true;
    std::string qualified;
    do {
        const int tag = dwarf_tag(&child);
        if (tag == DW_TAG_subprogram) continue;
        const std::string_view name = die_name(child);
        if (tag == DW_TAG_namespace) {
            if (!walk_names(child, prefix + (name.empty() ? "(anonymous namespace)" : std::string(name)) + "::",
                            depth + 1, go, visit))
                return false;
            continue;
        }
        if (tag == DW_TAG_enumeration_type) {  // its constants live in the scope around it
            Dwarf_Die constant;
            if (dwarf_child(&child, &constant) == 0) do {
                    if (dwarf_tag(&constant) != DW_TAG_enumerator) continue;
                    if (!visit(constant, prefix.empty() ? std::string(die_name(constant))
                                                        : prefix + std::string(die_name(constant))))
                        return false;
                } while (dwarf_siblingof(&constant, &constant) == 0);
        }
        if (name.empty()) continue;
        if (prefix.empty()) {
            if (!visit(child, name)) return false;
        } else {
            qualified.assign(prefix).append(name);
            if (!visit(child, qualified)) return false;
        }
        if (!go && is_aggregate(child) && dwarf_haschildren(&child) == 1 &&
            !walk_names(child, prefix + std::string(name) + "::", depth + 1, go, visit))
            return false;
    } while (dwarf_siblingof(&child, &child) == 0);
    return true;
}

/// The linker's unit has its types at the start, behind at most some assembly functions (41 in go1.16). In the unit of
/// package runtime's code, thousands of functions come first and no type at all.
bool holds_go_types(Dwarf_Die& unit) {
    Dwarf_Die child;
    if (dwarf_child(&unit, &child) != 0) return false;
    int looked_at = 0;
    do {
        switch (dwarf_tag(&child)) {
            case DW_TAG_structure_type:
            case DW_TAG_typedef:
            case DW_TAG_base_type:
            case DW_TAG_pointer_type: return true;
            default: break;
        }
    } while (++looked_at < 256 && dwarf_siblingof(&child, &child) == 0);
    return false;
}

/// Visits the named DIEs of each unit that may define one of `names`.
void for_each_candidate(const Image& image, std::span<const std::string> names, bool types,
                        const std::function<bool(Dwarf_Die&, std::string_view)>& visit) {
    Dwarf* dwarf = types_dwarf_of(ImageAccess::state(image));
    if (dwarf == nullptr || names.empty()) return;
    std::unordered_set<std::string_view> packages;
    bool plain_names = false;
    for (const auto& name : names) {
        const auto package = name.contains("::") ? std::string_view() : go_package(name);
        if (package.empty())
            plain_names = true;
        else
            packages.insert(types ? "runtime" : package);
    }
    Dwarf_CU* cu = nullptr;
    Dwarf_Die unit;
    while (dwarf_get_units(dwarf, cu, &cu, nullptr, nullptr, &unit, nullptr) == 0) {
        const bool go = dwarf_srclang(&unit) == DW_LANG_Go;
        if (go ? !packages.contains(die_name(unit)) : !plain_names) continue;
        if (go && types && !holds_go_types(unit)) continue;
        if (!walk_names(unit, {}, 0, go, visit)) return;
    }
}

void add_members(Dwarf_Die& aggregate, std::uint64_t base, unsigned depth, std::vector<StructMember>& out) {
    Dwarf_Die child;
    if (depth > deepest_nesting || dwarf_child(&aggregate, &child) != 0) return;
    do {
        const int tag = dwarf_tag(&child);
        if ((tag != DW_TAG_member && tag != DW_TAG_inheritance) || out.size() >= most_members) continue;
        if (dwarf_hasattr(&child, DW_AT_external) || dwarf_hasattr(&child, DW_AT_declaration))
            continue;  // static members
        const auto offset = member_offset(child);
        auto type = type_of(child);
        if (!offset || !type) continue;
        const std::string_view name = die_name(child);
        if (name.empty() ||
            tag == DW_TAG_inheritance) {  // anonymous struct or union, or a base class: its members are ours
            if (auto inner = peel(*type); inner && is_aggregate(*inner))
                add_members(*inner, base + *offset, depth + 1, out);
            continue;
        }
        out.push_back(
            {std::string(name), base + *offset, size_of(*type).value_or(0), type_name(type), is_pointer(*type)});
    } while (dwarf_siblingof(&child, &child) == 0);
}

}  // namespace

const StructMember* StructLayout::find(std::string_view member) const {
    for (const auto& m : members)
        if (m.name == member) return &m;
    return nullptr;
}

std::unordered_map<std::string, StructLayout> find_structs(const Image& image, std::span<const std::string> names) {
    std::unordered_map<std::string, StructLayout> out;
    const std::unordered_set<std::string_view> wanted(names.begin(), names.end());
    for_each_candidate(image, names, true, [&](Dwarf_Die& die, std::string_view name) {
        const int tag = dwarf_tag(&die);
        if ((tag != DW_TAG_typedef && !is_aggregate(die)) || !wanted.contains(name)) return true;
        auto bare = peel(die);
        if (!bare || !is_aggregate(*bare) || dwarf_hasattr(&*bare, DW_AT_declaration)) return true;
        auto [row, fresh] = out.try_emplace(std::string(name));
        if (!fresh) return true;
        row->second.name = name;
        row->second.size = size_of(*bare).value_or(0);
        add_members(*bare, 0, 0, row->second.members);
        return out.size() < wanted.size();
    });
    return out;
}

std::unordered_map<std::string, Address> find_globals(const Image& image, std::span<const std::string> names) {
    std::unordered_map<std::string, Address> out;
    const std::unordered_set<std::string_view> wanted(names.begin(), names.end());
    for_each_candidate(image, names, false, [&](Dwarf_Die& die, std::string_view name) {
        if (dwarf_tag(&die) != DW_TAG_variable || !wanted.contains(name)) return true;
        if (const auto address = static_address(die))
            out.try_emplace(std::string(name), Address{*address + image.bias()});
        return out.size() < wanted.size();
    });
    return out;
}

namespace {

/// Visits the named DIEs of all C and C++ units.
void for_each_native(const Image& image, const std::function<bool(Dwarf_Die&, std::string_view)>& visit) {
    Dwarf* dwarf = image.dwarf();
    if (dwarf == nullptr) return;
    Dwarf_CU* cu = nullptr;
    Dwarf_Die unit;
    while (dwarf_get_units(dwarf, cu, &cu, nullptr, nullptr, &unit, nullptr) == 0)
        if (dwarf_srclang(&unit) != DW_LANG_Go && !walk_names(unit, {}, 0, false, visit)) return;
}

/// nullopt: it has no fixed address.
std::optional<GlobalVariable> static_variable(const Image& image, Dwarf_Die& die) {
    const auto address = static_address(die);
    const auto type = type_of(die);
    if (!address || !type) return std::nullopt;
    const ImageState& state = ImageAccess::state(image);
    // The definition of a namespace's variable stands outside, and points to its declaration.
    GlobalVariable variable{qualified_name(state, die),       type_name(type, &state),    {},
                            Address{*address + image.bias()}, size_of(*type).value_or(0), is_pointer(*type),
                            TypeRef{type->addr, type->cu}};
    if (auto bare = peel(*type); bare && is_aggregate(*bare)) variable.layout = qualified_name(state, *bare);
    return variable;
}

/// Functions, the blocks in them, and the scopes that hold functions; false when `left` is used up.
bool walk_blocks(const Image& image, Dwarf_Die& parent, const std::string& function, unsigned depth, std::size_t& left,
                 std::vector<GlobalVariable>& out) {
    Dwarf_Die child;
    if (depth > deepest_nesting || dwarf_child(&parent, &child) != 0) return true;
    do {
        if (left-- == 0) return false;
        switch (dwarf_tag(&child)) {
            case DW_TAG_variable:
                if (function.empty()) break;
                if (auto variable = static_variable(image, child)) {
                    variable->name = function + "::" + std::string(die_name(child));
                    out.push_back(std::move(*variable));
                }
                break;
            case DW_TAG_subprogram:
                if (dwarf_haschildren(&child) == 1 &&
                    !walk_blocks(image, child, qualified_name(ImageAccess::state(image), child), depth + 1, left, out))
                    return false;
                break;
            case DW_TAG_lexical_block:
            case DW_TAG_namespace:
            case DW_TAG_structure_type:
            case DW_TAG_class_type:
                if (dwarf_haschildren(&child) == 1 && !walk_blocks(image, child, function, depth + 1, left, out))
                    return false;
                break;
            default: break;
        }
    } while (dwarf_siblingof(&child, &child) == 0);
    return true;
}

}  // namespace

std::vector<GlobalVariable> list_globals(const Image& image, std::size_t limit) {
    std::vector<GlobalVariable> out;
    for_each_native(image, [&](Dwarf_Die& die, std::string_view) {
        if (dwarf_tag(&die) != DW_TAG_variable) return true;
        if (auto variable = static_variable(image, die)) out.push_back(std::move(*variable));
        return out.size() < limit;
    });
    return out;
}

std::vector<GlobalVariable> list_local_statics(const Image& image, std::size_t most_dies) {
    std::vector<GlobalVariable> out;
    Dwarf* dwarf = image.dwarf();
    if (dwarf == nullptr) return out;
    Dwarf_CU* cu = nullptr;
    Dwarf_Die unit;
    while (dwarf_get_units(dwarf, cu, &cu, nullptr, nullptr, &unit, nullptr) == 0)
        if (dwarf_srclang(&unit) != DW_LANG_Go && !walk_blocks(image, unit, {}, 0, most_dies, out)) break;
    return out;
}

}  // namespace incident
