// Where a Go frame's variables lie, independent of any one frame: the locations are evaluated for a made-up CFA, and
// what comes out relative to it holds for every frame that stands at this pc.
#include <dwarf.h>

#include <algorithm>
#include <span>

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
constexpr std::size_t most_locations = 1000;  // of one variable
constexpr unsigned deepest_scope = 64;
constexpr unsigned at_go_kind = 0x2900;            // go1.16–1.27 src/cmd/internal/dwarf/dwarf.go
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

bool is_slice_or_string(Dwarf_Die type) {
    auto bare = peel(type);
    Dwarf_Attribute attribute;
    Dwarf_Word kind = 0;
    if (!bare || dwarf_attr(&*bare, at_go_kind, &attribute) == nullptr || dwarf_formudata(&attribute, &kind) != 0)
        return false;
    return (kind & 0x1f) == 23 || (kind & 0x1f) == 24;  // go1.16–1.27 src/reflect/type.go: Slice, String
}

/// What a location says of a variable's place on the stack; nullopt: it says another place, or none.
std::optional<GoFrameVariable> on_stack(Dwarf_Die& variable, Dwarf_Attribute& attribute, const Dwarf_Op* ops,
                                        std::size_t count, const LocationContext& context) {
    LocationContext own = context;
    own.attribute = &attribute;
    auto location = evaluate_location(ops, count, own);
    if (!location || location->count == 0) return std::nullopt;
    const LocationPiece& first = location->pieces[0];
    const auto offset = static_cast<std::int64_t>(first.where - made_up_cfa);
    if (first.kind != LocationPiece::Kind::memory || offset > farthest || offset < -farthest) return std::nullopt;
    auto type = type_of(variable);
    const std::uint64_t whole = type ? size_of(*type).value_or(0) : 0;
    std::uint64_t known = location->whole() ? whole : std::min(first.size, whole);
    if (location->whole() && tells_of_one_word(attribute, whole)) {
        if (!type || !is_slice_or_string(*type)) return std::nullopt;
        known = 8;  // the data, or a number, which the stack maps tell from a pointer
    }
    return GoFrameVariable{variable_name(variable), type_offset(variable), offset, known};
}

/// Calls fn(variable, its location attribute) for those that stand right in this scope.
template <class Fn>
void for_each_variable(Dwarf_Die& scope, Fn&& fn) {
    Dwarf_Die child;
    if (dwarf_child(&scope, &child) != 0) return;
    do {
        const int tag = dwarf_tag(&child);
        Dwarf_Attribute attribute;
        if ((tag != DW_TAG_formal_parameter && tag != DW_TAG_variable) ||
            dwarf_attr(&child, DW_AT_location, &attribute) == nullptr)
            continue;
        accept_go_location(attribute);
        fn(child, attribute);
    } while (dwarf_siblingof(&child, &child) == 0);
}

void add_slots(Dwarf_Die& scope, const LocationContext& context, unsigned depth, std::vector<GoFrameVariable>& out) {
    if (depth > deepest_scope) return;
    for_each_variable(scope, [&](Dwarf_Die& variable, Dwarf_Attribute& attribute) {
        Dwarf_Addr base = 0, begin = 0, end = 0;
        Dwarf_Op* ops = nullptr;
        std::size_t count = 0;
        std::ptrdiff_t at = 0;
        for (std::size_t n = 0; n < most_locations && out.size() < most_variables; ++n) {
            if ((at = dwarf_getlocations(&attribute, at, &base, &begin, &end, &ops, &count)) <= 0) return;
            const auto found = count == 0 ? std::nullopt : on_stack(variable, attribute, ops, count, context);
            if (found && std::ranges::find(out, *found) == out.end()) out.push_back(*found);
        }
    });
    Dwarf_Die child;
    if (dwarf_child(&scope, &child) != 0) return;
    do {
        const int tag = dwarf_tag(&child);
        if (tag == DW_TAG_lexical_block || tag == DW_TAG_inlined_subroutine) add_slots(child, context, depth + 1, out);
    } while (dwarf_siblingof(&child, &child) == 0);
}

/// Calls fn(scopes around `pc`, the function first; what their locations are evaluated in; pc in the file) for Go code.
template <class Fn>
void in_function(const Image& image, Address pc, Fn&& fn) {
    const ImageState& state = ImageAccess::state(image);
    const Dwarf_Addr at = pc.value - state.bias;
    auto scopes = scopes_at(state, at);
    if (scopes.empty() || !is_go(scopes.front())) return;
    LocationContext context{.cfa = Address{made_up_cfa}, .bias = state.bias};
    context.frame_base = [&] { return frame_base_of(scopes.front(), at, context); };
    fn(std::span(scopes), context, at);
}

}  // namespace

std::vector<GoFrameVariable> go_frame_variables(const Image& image, Address pc) {
    std::vector<GoFrameVariable> out;
    in_function(image, pc, [&](std::span<Dwarf_Die> scopes, const LocationContext& context, Dwarf_Addr at) {
        for (Dwarf_Die& scope : scopes)
            for_each_variable(scope, [&](Dwarf_Die& variable, Dwarf_Attribute& attribute) {
                Dwarf_Op* ops = nullptr;
                std::size_t count = 0;
                if (out.size() >= most_variables || dwarf_getlocation_addr(&attribute, at, &ops, &count, 1) != 1 ||
                    count == 0)
                    return;
                if (const auto found = on_stack(variable, attribute, ops, count, context)) out.push_back(*found);
            });
    });
    return out;
}

std::vector<GoFrameVariable> go_slot_variables(const Image& image, Address pc) {
    std::vector<GoFrameVariable> out;
    in_function(image, pc, [&](std::span<Dwarf_Die> scopes, const LocationContext& context, Dwarf_Addr) {
        add_slots(scopes.front(), context, 0, out);
    });
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
