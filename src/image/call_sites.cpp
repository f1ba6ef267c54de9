// Call sites: optimised code forgets its arguments, but the caller's DWARF often says how it had computed them from
// what it keeps on its own stack. That holds only when the call there really went to this function and not through a
// tail call.
#include <dwarf.h>

#include "image/dwarf_types.h"
#include "image/image_state.h"
#include "image/location.h"

namespace incident {
namespace {

/// The attribute by its DWARF 5 or its older GNU number.
bool find_attribute(Dwarf_Die& die, unsigned standard, unsigned gnu, Dwarf_Attribute& out) {
    return dwarf_attr(&die, standard, &out) != nullptr || dwarf_attr(&die, gnu, &out) != nullptr;
}

/// The call-site DIE whose call returns to `a`, among the children of the scopes around it.
bool find_call_site(std::vector<Dwarf_Die>& scopes, Dwarf_Addr a, Dwarf_Die& site) {
    for (Dwarf_Die& scope : scopes) {
        if (dwarf_child(&scope, &site) != 0) continue;
        do {
            const int tag = dwarf_tag(&site);
            if (tag != DW_TAG_call_site && tag != DW_TAG_GNU_call_site) continue;
            Dwarf_Attribute attribute;
            Dwarf_Addr back = 0;
            if (find_attribute(site, DW_AT_call_return_pc, DW_AT_low_pc, attribute) &&
                dwarf_formaddr(&attribute, &back) == 0 && back == a)
                return true;
        } while (dwarf_siblingof(&site, &site) == 0);
    }
    return false;
}

bool is_tail_call(Dwarf_Die& site) {
    Dwarf_Attribute attribute;
    bool tail = false;
    return find_attribute(site, DW_AT_call_tail_call, DW_AT_GNU_tail_call, attribute) &&
           dwarf_formflag(&attribute, &tail) == 0 && tail;
}

}  // namespace

std::optional<Image::Callee> Image::function_at(Address pc) const {
    auto scopes = scopes_at(*state_, pc.value - state_->bias);
    Dwarf_Addr entry = 0;
    if (scopes.empty() || dwarf_entrypc(&scopes.front(), &entry) != 0) return std::nullopt;
    return Callee{function_name(*state_, scopes.front()), Address{entry + state_->bias}};
}

std::optional<std::uint64_t> Image::call_site_value(Address return_pc, int dwarf_register, const Image& callee_image,
                                                    const Callee& callee, const Registers& registers,
                                                    std::optional<Address> cfa, const Memory& memory,
                                                    const EntryValue& entry_value) const {
    const Dwarf_Addr a = return_pc.value - state_->bias;
    auto scopes = scopes_at(*state_, a - 1);
    Dwarf_Die site;
    if (!find_call_site(scopes, a, site) || is_tail_call(site)) return std::nullopt;

    LocationContext context{.registers = &registers, .memory = &memory, .cfa = cfa, .bias = state_->bias};
    context.entry_value = entry_value;
    context.frame_base = [&] { return frame_base_of(scopes.front(), a - 1, context); };
    const auto value_of = [&](Dwarf_Attribute& attribute) -> std::optional<std::uint64_t> {
        Dwarf_Op* ops = nullptr;
        std::size_t count = 0;
        if (dwarf_getlocation(&attribute, &ops, &count) != 0 || count == 0) return std::nullopt;
        context.attribute = &attribute;
        auto value = evaluate_value(ops, count, context, /*location_is_value=*/true);
        return value ? std::optional(*value) : std::nullopt;
    };

    Dwarf_Attribute attribute;
    Dwarf_Die origin;
    if (find_attribute(site, DW_AT_call_origin, DW_AT_abstract_origin, attribute) &&
        dwarf_formref_die(&attribute, &origin) != nullptr) {
        if (function_name(*state_, origin) != callee.name) {
            const auto alias = callee_image.find_symbol(die_name(origin));
            if (!alias || alias->address != callee.entry) return std::nullopt;
        }
    } else if (find_attribute(site, DW_AT_call_target, DW_AT_GNU_call_site_target, attribute)) {
        if (value_of(attribute) != callee.entry.value) return std::nullopt;
    } else {
        return std::nullopt;
    }

    Dwarf_Die parameter;
    if (dwarf_child(&site, &parameter) != 0) return std::nullopt;
    do {
        const int tag = dwarf_tag(&parameter);
        Dwarf_Op* ops = nullptr;
        std::size_t count = 0;
        if ((tag != DW_TAG_call_site_parameter && tag != DW_TAG_GNU_call_site_parameter) ||
            dwarf_attr(&parameter, DW_AT_location, &attribute) == nullptr ||
            dwarf_getlocation(&attribute, &ops, &count) != 0 || count != 1 ||
            ops[0].atom != DW_OP_reg0 + static_cast<unsigned>(dwarf_register))
            continue;
        if (!find_attribute(parameter, DW_AT_call_value, DW_AT_GNU_call_site_value, attribute)) return std::nullopt;
        return value_of(attribute);
    } while (dwarf_siblingof(&parameter, &parameter) == 0);
    return std::nullopt;
}

}  // namespace incident
