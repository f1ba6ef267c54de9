#include "image/go_types.h"

#include <dwarf.h>

#include <algorithm>
#include <cstring>

#include "image/dwarf_types.h"
#include "image/image_state.h"

namespace incident {
namespace {

constexpr std::size_t most_rows = 8'000'000;

// go1.27 src/cmd/internal/dwarf/dwarf.go, DW_AT_go_*.
constexpr unsigned at_go_kind = 0x2900, at_go_key = 0x2901, at_go_elem = 0x2902, at_go_embedded_field = 0x2903,
                   at_go_runtime_type = 0x2904;

/// DIE offset that a reference names; 0: none. Go's linker writes DW_FORM_ref_addr, which needs no look-up.
std::uint64_t reference(Dwarf_Attribute& attribute) {
    if (attribute.form == DW_FORM_ref_addr) {
        std::uint32_t offset = 0;
        Dwarf_Half version = 0;
        std::uint8_t offset_size = 4;
        dwarf_cu_info(attribute.cu, &version, nullptr, nullptr, nullptr, nullptr, nullptr, &offset_size);
        if (version >= 3 && offset_size == 4) {
            std::memcpy(&offset, attribute.valp, sizeof(offset));
            return offset;
        }
    }
    Dwarf_Die die;
    return dwarf_formref_die(&attribute, &die) == nullptr ? 0 : dwarf_dieoffset(&die);
}

std::uint64_t number(Dwarf_Attribute& attribute) {
    Dwarf_Word value = 0;
    if (attribute.form == DW_FORM_addr) {
        Dwarf_Addr address = 0;
        return dwarf_formaddr(&attribute, &address) == 0 ? address : 0;
    }
    return dwarf_formudata(&attribute, &value) == 0 ? value : 0;
}

std::string_view text(Dwarf_Attribute& attribute) {
    const char* string = dwarf_formstring(&attribute);
    return string == nullptr ? std::string_view() : string;
}

int take_type(Dwarf_Attribute* attribute, void* argument) {
    auto& row = *static_cast<GoTypeDie*>(argument);
    switch (dwarf_whatattr(attribute)) {
        case DW_AT_name: row.name = text(*attribute); break;
        case DW_AT_byte_size: row.size = number(*attribute); break;
        case DW_AT_type: row.type = reference(*attribute); break;
        case at_go_kind: row.kind = static_cast<std::uint8_t>(number(*attribute) & 0x1f); break;
        case at_go_elem: row.elem = reference(*attribute); break;
        case at_go_key: row.key = reference(*attribute); break;
        case at_go_runtime_type: row.runtime_type = number(*attribute); break;
        default: break;
    }
    return DWARF_CB_OK;
}

int take_member(Dwarf_Attribute* attribute, void* argument) {
    auto& row = *static_cast<GoMember*>(argument);
    switch (dwarf_whatattr(attribute)) {
        case DW_AT_name: row.name = text(*attribute); break;
        case DW_AT_type: row.type = reference(*attribute); break;
        case DW_AT_data_member_location: row.offset = number(*attribute); break;
        case at_go_embedded_field: row.embedded = number(*attribute) != 0; break;
        default: break;
    }
    return DWARF_CB_OK;
}

void take_children(Dwarf_Die& die, GoTypeDie& row, GoDebugTypes& out) {
    Dwarf_Die child;
    if (dwarf_child(&die, &child) != 0) return;
    row.first_member = static_cast<std::uint32_t>(out.members.size());
    do {
        const int tag = dwarf_tag(&child);
        if (tag == DW_TAG_member && out.members.size() < most_rows) {
            GoMember member;
            dwarf_getattrs(&child, take_member, &member, 0);
            out.members.push_back(member);
        } else if (tag == DW_TAG_subrange_type) {
            Dwarf_Attribute attribute;
            if (dwarf_attr(&child, DW_AT_count, &attribute) != nullptr)
                row.count = number(attribute);
            else if (dwarf_attr(&child, DW_AT_upper_bound, &attribute) != nullptr)
                row.count = number(attribute) + 1;
        }
    } while (dwarf_siblingof(&child, &child) == 0);
    row.member_count = static_cast<std::uint32_t>(out.members.size()) - row.first_member;
}

void take_die(const ImageState& image, Dwarf_Die& die, GoDebugTypes& out) {
    GoTypeDie row;
    bool children = false;
    switch (dwarf_tag(&die)) {
        case DW_TAG_variable: {
            Dwarf_Attribute attribute;
            const auto address = static_address(die);
            if (!address || dwarf_attr(&die, DW_AT_type, &attribute) == nullptr || out.variables.size() >= most_rows)
                return;
            out.variables.push_back({die_name(die), Address{*address + image.bias}, reference(attribute)});
            return;
        }
        case DW_TAG_base_type: row.form = GoTypeDie::Form::base; break;
        case DW_TAG_structure_type:
            row.form = GoTypeDie::Form::structure;
            children = true;
            break;
        case DW_TAG_array_type:
            row.form = GoTypeDie::Form::array;
            children = true;
            break;
        case DW_TAG_pointer_type: row.form = GoTypeDie::Form::pointer; break;
        case DW_TAG_subroutine_type: row.form = GoTypeDie::Form::function; break;
        case DW_TAG_typedef: row.form = GoTypeDie::Form::alias; break;
        default: return;
    }
    if (out.types.size() >= most_rows) return;
    row.die = dwarf_dieoffset(&die);
    dwarf_getattrs(&die, take_type, &row, 0);
    if (children) take_children(die, row, out);
    out.types.push_back(row);
}

}  // namespace

GoDebugTypes read_go_types(const Image& image) {
    GoDebugTypes out;
    const ImageState& state = ImageAccess::state(image);
    if (!has_dwarf_sections(state)) return out;
    Dwarf* dwarf = types_dwarf_of(state);
    if (dwarf == nullptr) return out;
    Dwarf_CU* cu = nullptr;
    Dwarf_Die unit;
    while (dwarf_get_units(dwarf, cu, &cu, nullptr, nullptr, &unit, nullptr) == 0) {
        if (dwarf_srclang(&unit) != DW_LANG_Go) continue;
        Dwarf_Die child;
        if (dwarf_child(&unit, &child) != 0) continue;
        do {
            if (dwarf_tag(&child) != DW_TAG_subprogram) take_die(state, child, out);
        } while (dwarf_siblingof(&child, &child) == 0);
    }
    std::ranges::sort(out.types, {}, &GoTypeDie::die);
    std::ranges::stable_sort(out.variables, {}, &GoVariable::address);
    return out;
}

}  // namespace incident
