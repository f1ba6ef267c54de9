#include "image/dwarf_types.h"

#include <dwarf.h>

#include <string_view>

#include "image/image_state.h"

namespace incident {
namespace {

constexpr unsigned at_go_dict_index = 0x2906;  // go1.18 src/cmd/internal/dwarf/dwarf.go
constexpr unsigned deepest = 64;               ///< links of a type chain: hostile DWARF may be cyclic

std::string array_bounds(Dwarf_Die& array) {
    std::string out;
    Dwarf_Die child;
    if (dwarf_child(&array, &child) != 0) return "[]";
    do {
        if (dwarf_tag(&child) != DW_TAG_subrange_type) continue;
        Dwarf_Attribute attribute;
        Dwarf_Word value = 0;
        if (dwarf_attr(&child, DW_AT_count, &attribute) != nullptr && dwarf_formudata(&attribute, &value) == 0)
            out += "[" + std::to_string(value) + "]";
        else if (dwarf_attr(&child, DW_AT_upper_bound, &attribute) != nullptr &&
                 dwarf_formudata(&attribute, &value) == 0)
            out += "[" + std::to_string(value + 1) + "]";
        else
            out += "[]";
    } while (dwarf_siblingof(&child, &child) == 0);
    return out.empty() ? "[]" : out;
}

std::string subroutine_name(Dwarf_Die& type, const char* declarator, const ImageState* image, unsigned depth) {
    std::string out = type_name(type_of(type), image, depth + 1) + " " + declarator + "(";
    bool first = true;
    Dwarf_Die child;
    if (dwarf_child(&type, &child) == 0) do {
            const int tag = dwarf_tag(&child);
            if (tag != DW_TAG_formal_parameter && tag != DW_TAG_unspecified_parameters) continue;
            if (!first) out += ", ";
            first = false;
            out += tag == DW_TAG_formal_parameter ? type_name(type_of(child), image, depth + 1) : "...";
        } while (dwarf_siblingof(&child, &child) == 0);
    return out + (first ? "void)" : ")");
}

std::string with_suffix(std::string text, std::string_view suffix) {
    if (text.empty() || (text.back() != '*' && text.back() != '&')) text += ' ';
    return text.append(suffix);
}

/// "struct " and the like, which C needs and C++ does not.
std::string_view elaborated(int tag, Dwarf_Die& die) {
    Dwarf_Die unit;
    if (dwarf_diecu(&die, &unit, nullptr, nullptr) == nullptr) return "";
    switch (dwarf_srclang(&unit)) {
        case DW_LANG_C:
        case DW_LANG_C89:
        case DW_LANG_C99:
        case DW_LANG_C11: break;
        default: return "";
    }
    switch (tag) {
        case DW_TAG_structure_type: return "struct ";
        case DW_TAG_union_type: return "union ";
        case DW_TAG_enumeration_type: return "enum ";
        default: return "";
    }
}

}  // namespace

std::string_view die_name(Dwarf_Die& die) {
    const char* name = dwarf_diename(&die);
    return name == nullptr ? std::string_view() : name;
}

bool is_go(Dwarf_Die& die) {
    Dwarf_Die unit;
    return dwarf_diecu(&die, &unit, nullptr, nullptr) != nullptr && dwarf_srclang(&unit) == DW_LANG_Go;
}

std::optional<Dwarf_Die> type_of(Dwarf_Die& die) {
    Dwarf_Attribute attribute;
    Dwarf_Die type;
    if (dwarf_attr_integrate(&die, DW_AT_type, &attribute) == nullptr ||
        dwarf_formref_die(&attribute, &type) == nullptr)
        return std::nullopt;
    return type;
}

std::optional<Dwarf_Die> peel(Dwarf_Die type) {
    for (unsigned i = 0; i < deepest; ++i) {
        switch (dwarf_tag(&type)) {
            case DW_TAG_typedef:
            case DW_TAG_const_type:
            case DW_TAG_volatile_type:
            case DW_TAG_restrict_type:
            case DW_TAG_atomic_type: {
                auto next = type_of(type);
                if (!next) return std::nullopt;
                type = *next;
                break;
            }
            default: return type;
        }
    }
    return std::nullopt;
}

std::optional<std::uint64_t> size_of(Dwarf_Die type) {
    auto bare = peel(type);
    if (!bare) return std::nullopt;
    Dwarf_Word size = 0;
    if (dwarf_aggregate_size(&*bare, &size) != 0) return std::nullopt;
    return size;
}

bool is_aggregate(Dwarf_Die& die) {
    const int tag = dwarf_tag(&die);
    return tag == DW_TAG_structure_type || tag == DW_TAG_class_type || tag == DW_TAG_union_type;
}

bool is_pointer(Dwarf_Die type) {
    auto bare = peel(type);
    if (!bare) return false;
    switch (dwarf_tag(&*bare)) {
        case DW_TAG_pointer_type:
        case DW_TAG_reference_type:
        case DW_TAG_rvalue_reference_type: return true;
        case DW_TAG_subroutine_type: return is_go(*bare);
        default: return false;
    }
}

std::string type_name(std::optional<Dwarf_Die> type, const ImageState* image, unsigned depth) {
    if (!type) return "void";
    if (depth > 16) return "…";
    const int tag = dwarf_tag(&*type);
    const std::string_view name = die_name(*type);
    // A type parameter's typedef (".param0") says nothing; the type behind it does.
    if (tag == DW_TAG_typedef && dwarf_hasattr(&*type, at_go_dict_index) && is_go(*type))
        return type_name(type_of(*type), image, depth + 1);
    if (!name.empty()) {
        const bool nested =
            image != nullptr && tag != DW_TAG_base_type && elaborated(tag, *type).empty() && !is_go(*type);
        return nested ? qualified_name(*image, *type) : std::string(elaborated(tag, *type)).append(name);
    }
    const auto target = [&] { return type_of(*type); };
    switch (tag) {
        case DW_TAG_pointer_type:
            if (auto pointee = target(); pointee && dwarf_tag(&*pointee) == DW_TAG_subroutine_type)
                return subroutine_name(*pointee, "(*)", image, depth);
            return with_suffix(type_name(target(), image, depth + 1), "*");
        case DW_TAG_reference_type: return with_suffix(type_name(target(), image, depth + 1), "&");
        case DW_TAG_rvalue_reference_type: return with_suffix(type_name(target(), image, depth + 1), "&&");
        case DW_TAG_const_type:
        case DW_TAG_volatile_type: {
            const std::string word = tag == DW_TAG_const_type ? "const" : "volatile";
            auto inner = target();
            if (inner && is_pointer(*inner) && dwarf_tag(&*inner) == DW_TAG_pointer_type)
                return with_suffix(type_name(inner, image, depth + 1), word);
            return word + " " + type_name(inner, image, depth + 1);
        }
        case DW_TAG_restrict_type:
        case DW_TAG_atomic_type: return type_name(target(), image, depth + 1);
        case DW_TAG_array_type: return type_name(target(), image, depth + 1) + " " + array_bounds(*type);
        case DW_TAG_subroutine_type: return subroutine_name(*type, "", image, depth);
        case DW_TAG_structure_type:
        case DW_TAG_class_type: return "struct {…}";
        case DW_TAG_union_type: return "union {…}";
        case DW_TAG_enumeration_type: return "enum {…}";
        case DW_TAG_ptr_to_member_type: return type_name(target(), image, depth + 1) + " ::*";
        default: return "?";
    }
}

std::optional<std::uint64_t> member_offset(Dwarf_Die& member) {
    Dwarf_Attribute attribute;
    Dwarf_Word value = 0;
    if (dwarf_attr(&member, DW_AT_data_member_location, &attribute) == nullptr) {
        if (dwarf_attr(&member, DW_AT_data_bit_offset, &attribute) != nullptr &&
            dwarf_formudata(&attribute, &value) == 0)
            return value / 8;
        return 0;
    }
    if (dwarf_formudata(&attribute, &value) == 0) return value;
    Dwarf_Op* ops = nullptr;  // old form: DW_OP_plus_uconst n
    std::size_t count = 0;
    if (dwarf_getlocation(&attribute, &ops, &count) == 0 && count == 1 && ops[0].atom == DW_OP_plus_uconst)
        return ops[0].number;
    return std::nullopt;
}

void accept_go_location(Dwarf_Attribute& location) {
    const unsigned form = dwarf_whatform(&location);
    if (form == DW_FORM_block || (form == DW_FORM_block1 && *location.valp < 0x80)) location.form = DW_FORM_exprloc;
}

bool tells_of_one_word(Dwarf_Attribute& location, std::uint64_t size) {
    constexpr unsigned most_entries = 1000;
    const unsigned form = dwarf_whatform(&location);
    if (size <= 8 || (form != DW_FORM_sec_offset && form != DW_FORM_loclistx)) return false;
    Dwarf_Addr base = 0, begin = 0, end = 0;
    Dwarf_Op* ops = nullptr;
    std::size_t count = 0;
    std::ptrdiff_t at = 0;
    for (unsigned n = 0; n < most_entries; ++n) {
        if ((at = dwarf_getlocations(&location, at, &base, &begin, &end, &ops, &count)) <= 0) return false;
        if (count == 1 && ((ops[0].atom >= DW_OP_reg0 && ops[0].atom <= DW_OP_reg31) || ops[0].atom == DW_OP_regx))
            return true;
    }
    return false;
}

std::optional<std::uint64_t> static_address(Dwarf_Die& variable) {
    Dwarf_Attribute attribute;
    Dwarf_Op* ops = nullptr;
    std::size_t count = 0;
    if (dwarf_attr(&variable, DW_AT_location, &attribute) == nullptr) return std::nullopt;
    accept_go_location(attribute);
    if (dwarf_getlocation(&attribute, &ops, &count) != 0 || count != 1) return std::nullopt;
    if (ops[0].atom == DW_OP_addr) return ops[0].number;
    if (ops[0].atom == DW_OP_addrx || ops[0].atom == DW_OP_GNU_addr_index) {
        Dwarf_Attribute indexed;
        Dwarf_Addr address = 0;
        if (dwarf_getlocation_attr(&attribute, &ops[0], &indexed) == 0 && dwarf_formaddr(&indexed, &address) == 0)
            return address;
    }
    return std::nullopt;
}

}  // namespace incident
