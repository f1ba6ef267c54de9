// Compile units by address, and the functions inside the units that were asked about. .debug_aranges answers first
// where it is there; clang and Go leave it out, and mixed links have it for some units only, so that a miss builds our
// own table from the units' ranges. A unit's functions are listed once, at the first question about it: a DIE tree has
// no index.
#include <dwarf.h>

#include <algorithm>
#include <map>

#include "image/dwarf_types.h"
#include "image/image_state.h"

namespace incident {
namespace {

constexpr unsigned deepest = 128;  ///< nested scopes

struct CodeRange {
    Dwarf_Addr begin = 0, end = 0;
    Dwarf_Off die = 0;
};

struct Scope {  ///< namespace or class, for qualified names
    Dwarf_Off begin = 0, end = 0;
    std::string name;
};

struct Unit {
    bool listed = false;
    std::vector<CodeRange> functions;  ///< by begin
    std::vector<Scope> scopes;         ///< as the DIEs stand: an inner one follows its outer one
};

void add_ranges(Dwarf_Die& die, std::vector<CodeRange>& out) {
    Dwarf_Addr base = 0, begin = 0, end = 0;
    std::ptrdiff_t at = 0;
    for (int i = 0; i < 100000 && (at = dwarf_ranges(&die, at, &base, &begin, &end)) > 0; ++i)
        if (begin < end) out.push_back({begin, end, dwarf_dieoffset(&die)});
}

const CodeRange* find_range(const std::vector<CodeRange>& sorted, Dwarf_Addr a) {
    auto it = std::ranges::upper_bound(sorted, a, {}, &CodeRange::begin);
    for (int steps = 0; it != sorted.begin() && steps < 16; ++steps) {  // nested ones are rare
        --it;
        if (a < it->end) return &*it;
    }
    return nullptr;
}

/// Lists functions with code and named scopes below `parent`, whose DIEs end at `end`.
void collect(Dwarf_Die& parent, Dwarf_Off end, unsigned depth, Unit& out) {
    Dwarf_Die child;
    if (depth > deepest || dwarf_child(&parent, &child) != 0) return;
    for (bool more = true; more;) {
        Dwarf_Die current = child;
        const int tag = dwarf_tag(&current);
        more = dwarf_siblingof(&current, &child) == 0;
        const Dwarf_Off current_end = more ? dwarf_dieoffset(&child) : end;
        switch (tag) {
            case DW_TAG_subprogram: add_ranges(current, out.functions); break;
            case DW_TAG_namespace:
            case DW_TAG_structure_type:
            case DW_TAG_class_type:
            case DW_TAG_union_type: {
                std::string_view name = die_name(current);
                if (name.empty() && tag == DW_TAG_namespace) name = "(anonymous namespace)";
                if (!name.empty() && dwarf_haschildren(&current) == 1)
                    out.scopes.push_back({dwarf_dieoffset(&current), current_end, std::string(name)});
                break;
            }
            // gcc leaves the code of lambdas and local classes where they were written.
            case DW_TAG_lexical_block:
            case DW_TAG_module: break;
            default: continue;
        }
        collect(current, current_end, depth + 1, out);
    }
}

}  // namespace

struct UnitIndex {
    bool has_own_table = false;
    std::vector<CodeRange> units;       ///< of all units, by begin; filled at the first miss of .debug_aranges
    std::map<Dwarf_Off, Unit> details;  ///< unit DIE -> its functions
};

void DropUnitIndex::operator()(UnitIndex* index) const { delete index; }

namespace {

UnitIndex& index_of(const ImageState& image) {
    if (!image.lazy.units) image.lazy.units.reset(new UnitIndex);
    return *image.lazy.units;
}

Unit& unit_of(const ImageState& image, Dwarf_Die& unit) {
    Unit& details = index_of(image).details[dwarf_dieoffset(&unit)];
    if (!details.listed) {
        details.listed = true;
        collect(unit, ~Dwarf_Off{0}, 0, details);
        std::ranges::stable_sort(details.functions, {}, &CodeRange::begin);
    }
    return details;
}

bool covers(Dwarf_Die& die, Dwarf_Addr a) { return dwarf_haspc(&die, a) == 1; }

/// The child of `parent` whose code holds `a`; looks through blocks that have no ranges of their own.
bool find_inner(Dwarf_Die& parent, Dwarf_Addr a, unsigned depth, Dwarf_Die& out) {
    Dwarf_Die child;
    if (depth > deepest || dwarf_child(&parent, &child) != 0) return false;
    do {
        const int tag = dwarf_tag(&child);
        if (tag != DW_TAG_lexical_block && tag != DW_TAG_inlined_subroutine && tag != DW_TAG_try_block &&
            tag != DW_TAG_catch_block)
            continue;
        if (covers(child, a)) {
            out = child;
            return true;
        }
        if (tag == DW_TAG_lexical_block && !dwarf_hasattr(&child, DW_AT_low_pc) &&
            !dwarf_hasattr(&child, DW_AT_ranges) && find_inner(child, a, depth + 1, out))
            return true;
    } while (dwarf_siblingof(&child, &child) == 0);
    return false;
}

}  // namespace

bool find_unit(const ImageState& image, Dwarf_Addr a, Dwarf_Die& unit) {
    Dwarf* dwarf = dwarf_of(image);
    if (dwarf == nullptr) return false;
    UnitIndex& index = index_of(image);
    if (!index.has_own_table) {
        if (dwarf_addrdie(dwarf, a, &unit) != nullptr) return true;
        index.has_own_table = true;
        Dwarf_CU* cu = nullptr;
        Dwarf_Die die, split;
        std::uint8_t type = 0;
        while (dwarf_get_units(dwarf, cu, &cu, nullptr, &type, &die, &split) == 0)
            if (type == DW_UT_compile || type == DW_UT_skeleton) add_ranges(die, index.units);
        std::ranges::stable_sort(index.units, {}, &CodeRange::begin);
    }
    const CodeRange* found = find_range(index.units, a);
    if (found == nullptr) return dwarf_addrdie(dwarf, a, &unit) != nullptr;
    return dwarf_offdie(dwarf, found->die, &unit) != nullptr;
}

std::vector<Dwarf_Die> scopes_at(const ImageState& image, Dwarf_Addr a) {
    std::vector<Dwarf_Die> out;
    Dwarf_Die unit;
    if (!find_unit(image, a, unit)) return out;
    const CodeRange* function = find_range(unit_of(image, unit).functions, a);
    Dwarf_Die die;
    if (function == nullptr || dwarf_offdie(dwarf_of(image), function->die, &die) == nullptr) return out;
    out.push_back(die);
    for (Dwarf_Die inner; out.size() < deepest && find_inner(out.back(), a, 0, inner);) out.push_back(inner);
    return out;
}

std::string qualified_name(const ImageState& image, Dwarf_Die die) {
    // A definition and an inlined copy point to the declaration, which stands where the source put it.
    for (unsigned i = 0; i < deepest; ++i) {
        Dwarf_Attribute attribute;
        Dwarf_Die origin;
        if ((dwarf_attr(&die, DW_AT_abstract_origin, &attribute) == nullptr &&
             dwarf_attr(&die, DW_AT_specification, &attribute) == nullptr) ||
            dwarf_formref_die(&attribute, &origin) == nullptr)
            break;
        die = origin;
    }
    std::string out;
    Dwarf_Die unit;
    if (dwarf_diecu(&die, &unit, nullptr, nullptr) != nullptr && dwarf_cu_getdwarf(die.cu) == dwarf_of(image)) {
        const Dwarf_Off at = dwarf_dieoffset(&die);
        for (const Scope& scope : unit_of(image, unit).scopes)
            if (scope.begin < at && at < scope.end) out += scope.name + "::";
    }
    return out.append(die_name(die));
}

std::string function_name(const ImageState& image, Dwarf_Die& die) {
    Dwarf_Attribute attribute;
    for (unsigned name : {DW_AT_linkage_name, DW_AT_MIPS_linkage_name})
        if (dwarf_attr_integrate(&die, name, &attribute) != nullptr)
            if (const char* mangled = dwarf_formstring(&attribute); mangled != nullptr && *mangled != '\0')
                return demangle(mangled);
    return qualified_name(image, die);  // C, Go, and C++ without linkage: local classes, lambdas
}

}  // namespace incident
