// Where a Go frame's variables lie, independent of any one frame: the locations are evaluated for a made-up CFA, and
// what comes out relative to it holds for every frame that stands at this pc.
#include <dwarf.h>

#include "core/machine.h"
#include "image/dwarf_types.h"
#include "image/go_types.h"
#include "image/image_state.h"
#include "image/location.h"

namespace incident {
namespace {

constexpr std::uint64_t made_up_cfa = 1ull << 46;
constexpr std::int64_t farthest = 1 << 30;  // bytes between a variable and its frame's CFA
constexpr std::size_t most_variables = 1000;
constexpr unsigned at_go_closure_offset = 0x2907;  // go1.22 src/cmd/internal/dwarf/dwarf.go

std::uint64_t type_offset(Dwarf_Die& die) {
    auto type = type_of(die);
    return type ? dwarf_dieoffset(&*type) : 0;
}

std::string_view variable_name(Dwarf_Die& die) {
    Dwarf_Attribute attribute;
    const char* name =
        dwarf_attr_integrate(&die, DW_AT_name, &attribute) == nullptr ? nullptr : dwarf_formstring(&attribute);
    return name == nullptr ? std::string_view() : name;
}

}  // namespace

std::vector<GoFrameVariable> go_frame_variables(const Image& image, Address pc) {
    std::vector<GoFrameVariable> out;
    const ImageState& state = ImageAccess::state(image);
    const Dwarf_Addr at = pc.value - state.bias;
    auto scopes = scopes_at(state, at);
    if (scopes.empty() || !is_go(scopes.front())) return out;
    LocationContext context{.cfa = Address{made_up_cfa}, .bias = state.bias};
    context.frame_base = [&] { return frame_base_of(scopes.front(), at, context); };
    for (Dwarf_Die& scope : scopes) {
        Dwarf_Die child;
        if (dwarf_child(&scope, &child) != 0) continue;
        do {
            const int tag = dwarf_tag(&child);
            Dwarf_Attribute attribute;
            if ((tag != DW_TAG_formal_parameter && tag != DW_TAG_variable) || out.size() >= most_variables ||
                dwarf_attr(&child, DW_AT_location, &attribute) == nullptr)
                continue;
            accept_go_location(attribute);
            Dwarf_Op* ops = nullptr;
            std::size_t count = 0;
            if (dwarf_getlocation_addr(&attribute, at, &ops, &count, 1) != 1 || count == 0) continue;
            LocationContext own = context;
            own.attribute = &attribute;
            auto location = evaluate_location(ops, count, own);
            if (!location || location->count == 0) continue;
            const LocationPiece& first = location->pieces[0];
            const auto offset = static_cast<std::int64_t>(first.where - made_up_cfa);
            if (first.kind != LocationPiece::Kind::memory || offset > farthest || offset < -farthest) continue;
            auto type = type_of(child);
            const std::uint64_t whole = type ? size_of(*type).value_or(0) : 0;
            out.push_back({variable_name(child), type_offset(child), offset,
                           location->whole() ? whole : std::min(first.size, whole)});
        } while (dwarf_siblingof(&child, &child) == 0);
    }
    return out;
}

std::vector<GoCapture> go_captures(const Image& image, Address entry) {
    std::vector<GoCapture> out;
    const ImageState& state = ImageAccess::state(image);
    auto scopes = scopes_at(state, entry.value - state.bias);
    Dwarf_Die child;
    if (scopes.empty() || !is_go(scopes.front()) || dwarf_child(&scopes.front(), &child) != 0) return out;
    do {
        Dwarf_Attribute attribute;
        Dwarf_Word offset = 0;
        if (dwarf_tag(&child) == DW_TAG_variable && out.size() < most_variables &&
            dwarf_attr(&child, at_go_closure_offset, &attribute) != nullptr &&
            dwarf_formudata(&attribute, &offset) == 0)
            out.push_back({variable_name(child), type_offset(child), offset});
    } while (dwarf_siblingof(&child, &child) == 0);
    return out;
}

}  // namespace incident
