// RuntimeLayout from tables: which generated table serves which version, and the list of all members as data.
//
// Surprising: struct layouts changed within Go 1.16 to 1.19, by backported fixes. A table is that of its minor
// version's last patch release; an overlay takes it back to an early one. Where the change falls between two releases
// that were measured, the fields it moves are absent in between: unknown is not guessed. Choices made when the program
// was built (GOEXPERIMENT) are overlays too.
#include "go/binary/layout.h"

#include <algorithm>
#include <charconv>
#include <cstddef>
#include <cstring>

namespace incident::go {
namespace {

struct Row {
    std::uint16_t where;  ///< byte offset of the number within RuntimeLayout
    std::int32_t value;
};

// A field's number is its only member; a struct's size sits beside its fields.
#define LAYOUT_STRUCT(id, bytes) {offsetof(RuntimeLayout, id.size), bytes},
#define LAYOUT_FIELD(id, field, bytes) {offsetof(RuntimeLayout, id.field), bytes},
constexpr Row go1_16[] = {
#include "go/binary/layouts/go1_16.inc"
};
constexpr Row go1_17[] = {
#include "go/binary/layouts/go1_17.inc"
};
constexpr Row go1_18[] = {
#include "go/binary/layouts/go1_18.inc"
};
constexpr Row go1_19[] = {
#include "go/binary/layouts/go1_19.inc"
};
constexpr Row go1_20[] = {
#include "go/binary/layouts/go1_20.inc"
};
constexpr Row go1_21[] = {
#include "go/binary/layouts/go1_21.inc"
};
constexpr Row go1_22[] = {
#include "go/binary/layouts/go1_22.inc"
};
constexpr Row go1_23[] = {
#include "go/binary/layouts/go1_23.inc"
};
constexpr Row go1_24[] = {
#include "go/binary/layouts/go1_24.inc"
};
constexpr Row go1_25[] = {
#include "go/binary/layouts/go1_25.inc"
};
constexpr Row go1_26[] = {
#include "go/binary/layouts/go1_26.inc"
};
constexpr Row go1_27[] = {
#include "go/binary/layouts/go1_27.inc"
};
constexpr Row go1_16_3[] = {
#include "go/binary/layouts/go1_16_3.inc"
};
constexpr Row go1_17_0[] = {
#include "go/binary/layouts/go1_17_0.inc"
};
constexpr Row go1_18_1[] = {
#include "go/binary/layouts/go1_18_1.inc"
};
constexpr Row go1_18_8[] = {
#include "go/binary/layouts/go1_18_8.inc"
};
constexpr Row go1_19_0[] = {
#include "go/binary/layouts/go1_19_0.inc"
};
constexpr Row go1_23_2[] = {
#include "go/binary/layouts/go1_23_2.inc"
};
constexpr Row go1_23_11[] = {
#include "go/binary/layouts/go1_23_11.inc"
};
constexpr Row go1_24_5[] = {
#include "go/binary/layouts/go1_24_5.inc"
};
constexpr Row go1_22_noallocheaders[] = {
#include "go/binary/layouts/go1_22_noallocheaders.inc"
};
constexpr Row go1_22_noexectracer2[] = {
#include "go/binary/layouts/go1_22_noexectracer2.inc"
};
constexpr Row go1_24_nospinbitmutex[] = {
#include "go/binary/layouts/go1_24_nospinbitmutex.inc"
};
constexpr Row go1_24_nosynchashtriemap[] = {
#include "go/binary/layouts/go1_24_nosynchashtriemap.inc"
};
constexpr Row go1_25_nosynchashtriemap[] = {
#include "go/binary/layouts/go1_25_nosynchashtriemap.inc"
};
constexpr Row go1_24_noswissmap[] = {
#include "go/binary/layouts/go1_24_noswissmap.inc"
};
constexpr Row go1_25_noswissmap[] = {
#include "go/binary/layouts/go1_25_noswissmap.inc"
};
constexpr Row go1_25_greenteagc[] = {
#include "go/binary/layouts/go1_25_greenteagc.inc"
};
constexpr Row go1_26_nogreenteagc[] = {
#include "go/binary/layouts/go1_26_nogreenteagc.inc"
};
constexpr Row go1_27_nogreenteagc[] = {
#include "go/binary/layouts/go1_27_nogreenteagc.inc"
};
#undef LAYOUT_STRUCT
#undef LAYOUT_FIELD

/// Patch releases whose layout was measured and differs from that of their minor version's last one.
struct PatchOverlay {
    int minor;
    int first, last;  ///< patches; equal at both ends, so also between
    std::span<const Row> rows;
};
constexpr PatchOverlay patch_overlays[] = {
    {16, 0, 3, go1_16_3},    // m.mFixup grew after 1.16.3
    {17, 0, 0, go1_17_0},    // pollDesc.atomicInfo
    {18, 0, 1, go1_18_1},    // memstats alone
    {18, 8, 8, go1_18_8},    // mspan.freeIndexForScan
    {19, 0, 0, go1_19_0},    // the same
    {23, 0, 2, go1_23_2},    // timer.isSending, work.strongFromWeak, m.g0StackAccurate
    {23, 5, 11, go1_23_11},  // m.allpSnapshot came with 1.23.12 and 1.24.6
    {24, 0, 5, go1_24_5},
};
/// From this patch on the plain table was measured to hold.
struct PlainFrom {
    int minor, patch;
};
constexpr PlainFrom plain_from[] = {{16, 15}, {17, 13}, {18, 10}, {19, 4}, {23, 12}, {24, 6}};

/// Builds that differ from their release's default.
struct ExperimentOverlay {
    int minor;
    std::string_view name;
    std::span<const Row> rows;
};
constexpr ExperimentOverlay experiment_overlays[] = {
    {22, "noallocheaders", go1_22_noallocheaders},
    {22, "noexectracer2", go1_22_noexectracer2},
    {24, "nospinbitmutex", go1_24_nospinbitmutex},
    {24, "nosynchashtriemap", go1_24_nosynchashtriemap},
    {25, "nosynchashtriemap", go1_25_nosynchashtriemap},
    {24, "noswissmap", go1_24_noswissmap},
    {25, "noswissmap", go1_25_noswissmap},
    {25, "greenteagc", go1_25_greenteagc},
    {26, "nogreenteagc", go1_26_nogreenteagc},
    {27, "nogreenteagc", go1_27_nogreenteagc},
};

/// Experiments that move fields of the list, and for which there is no overlay. (The others of Go 1.19 to 1.27 concern
/// the compiler alone, or were measured on a release that has them: they move none.)
constexpr std::string_view unmeasured_experiments[] = {"staticlockranking", "pagetrace"};

constexpr std::span<const Row> tables[] = {go1_16, go1_17, go1_18, go1_19, go1_20, go1_21,
                                           go1_22, go1_23, go1_24, go1_25, go1_26, go1_27};
static_assert(std::size(tables) == newest_table - oldest_table + 1);
static_assert(sizeof(RuntimeLayout) <= 0xffff);

void apply(RuntimeLayout& layout, std::span<const Row> rows) {
    auto* bytes = reinterpret_cast<std::byte*>(&layout);
    for (const Row& row : rows) std::memcpy(bytes + row.where, &row.value, sizeof row.value);
}

/// What two layouts agree on; a field that they place differently is absent.
RuntimeLayout agreement(const RuntimeLayout& before, RuntimeLayout after) {
    for (const LayoutMember& member : layout_members())
        if (!member.field_name.empty() && get_member(before, member) != get_member(after, member))
            set_member(after, member, -1);
    return after;
}

int plain_since(int minor) {
    for (const PlainFrom& row : plain_from)
        if (row.minor == minor) return row.patch;
    return 0;
}

RuntimeLayout with_overlay(const RuntimeLayout& table, const PatchOverlay* overlay) {
    RuntimeLayout layout = table;
    if (overlay != nullptr) apply(layout, overlay->rows);
    return layout;
}

/// The measured layouts on both sides of a patch release; the same one twice when it was measured itself. null: the
/// plain table.
struct Neighbours {
    const PatchOverlay *before = nullptr, *after = nullptr;
};
Neighbours neighbours_of(const Version& version) {
    Neighbours found;
    if (version.patch >= plain_since(version.minor)) return found;
    for (const PatchOverlay& overlay : patch_overlays) {
        if (overlay.minor != version.minor) continue;
        if (overlay.first <= version.patch) found.before = &overlay;
        if (overlay.last >= version.patch) {
            found.after = &overlay;
            break;
        }
    }
    if (found.before == nullptr) found.before = found.after;
    return found;
}

bool has_experiment(const Version& version, std::string_view name) {
    return std::find(version.experiments.begin(), version.experiments.end(), name) != version.experiments.end();
}

std::vector<LayoutMember> list_members() {
    std::vector<LayoutMember> out;
#define INCIDENT_STRUCT(id, go_name)                              \
    {                                                             \
        using Fields = RuntimeLayout::id##_fields;                \
        constexpr std::string_view name = #id;                    \
        constexpr std::size_t base = offsetof(RuntimeLayout, id); \
        out.push_back({name, {}, go_name, 0, base + offsetof(Fields, size)});
#define INCIDENT_FIELD(id, path, type) out.push_back({name, #id, path, sizeof(type), base + offsetof(Fields, id)});
#define INCIDENT_PLACE(id, path) out.push_back({name, #id, path, 0, base + offsetof(Fields, id)});
#define INCIDENT_END(id) }
#include "go/binary/runtime_fields.def"
#undef INCIDENT_STRUCT
#undef INCIDENT_FIELD
#undef INCIDENT_PLACE
#undef INCIDENT_END
    return out;
}

}  // namespace

std::span<const LayoutMember> layout_members() {
    static const std::vector<LayoutMember> members = list_members();
    return members;
}

std::int32_t get_member(const RuntimeLayout& layout, const LayoutMember& member) {
    std::int32_t value;
    std::memcpy(&value, reinterpret_cast<const std::byte*>(&layout) + member.where, sizeof value);
    return value;
}

void set_member(RuntimeLayout& layout, const LayoutMember& member, std::int32_t value) {
    std::memcpy(reinterpret_cast<std::byte*>(&layout) + member.where, &value, sizeof value);
}

std::optional<Version> parse_version(std::string_view text) {
    Version version;
    version.text =
        std::string(text.substr(0, std::min<std::size_t>(text.find('\n'), 256)));  // bytes from a core: bounded
    version.devel = text.starts_with("devel");
    const std::size_t at = text.find("go1.");
    if (at == std::string_view::npos || (at != 0 && text[at - 1] != ' ')) return std::nullopt;
    const char* end = text.data() + text.size();
    auto minor = std::from_chars(text.data() + at + 4, end, version.minor);
    if (minor.ec != std::errc{} || version.minor < 0 || version.minor > 999) return std::nullopt;
    if (minor.ptr != end && *minor.ptr == '.') std::from_chars(minor.ptr + 1, end, version.patch);
    // A blank up to Go 1.25, a dash since: "go1.26.8-X:nogreenteagc".
    if (auto x = text.find("X:"); x != std::string_view::npos && x > 0 && (text[x - 1] == ' ' || text[x - 1] == '-')) {
        std::string_view list = text.substr(x + 2);
        list = list.substr(0, list.find(' '));
        while (!list.empty()) {
            auto comma = std::min(list.find(','), list.size());
            if (comma != 0) version.experiments.emplace_back(list.substr(0, comma));
            list.remove_prefix(std::min(comma + 1, list.size()));
        }
    }
    return version;
}

LayoutVariant variant_of(const Version& version) {
    LayoutVariant variant;
    variant.classic_maps = version.minor <= 23 || has_experiment(version, "noswissmap");
    variant.green_tea =
        version.minor >= 26 ? !has_experiment(version, "nogreenteagc") : has_experiment(version, "greenteagc");
    return variant;
}

Result<RuntimeLayout> layout_from_table(const Version& version) {
    return layout_from_table(version, variant_of(version));
}

Result<RuntimeLayout> layout_from_table(const Version& version, const LayoutVariant& variant) {
    if (version.minor < oldest_table)
        return fail(ErrorKind::unsupported, version.text + " is older than go1." + std::to_string(oldest_table));
    if (version.minor > newest_table)
        return fail(ErrorKind::unsupported,
                    version.text + " is newer than go1." + std::to_string(newest_table) +
                        ", the newest layout known here, and the executable has no DWARF to read it from");
    RuntimeLayout layout;
    apply(layout, tables[version.minor - oldest_table]);
    const Neighbours neighbours = neighbours_of(version);
    const RuntimeLayout before = with_overlay(layout, neighbours.before),
                        after = with_overlay(layout, neighbours.after);
    layout = neighbours.before == neighbours.after ? before : agreement(before, after);
    for (const ExperimentOverlay& overlay : experiment_overlays) {
        const bool green_tea = overlay.name.ends_with("greenteagc");
        const bool chosen = overlay.name == "noswissmap" ? variant.classic_maps
                            : green_tea                  ? (overlay.name == "greenteagc") == variant.green_tea
                                                         : has_experiment(version, overlay.name);
        if (overlay.minor == version.minor && chosen) apply(layout, overlay.rows);
    }
    layout.source = LayoutSource::table;
    return layout;
}

std::optional<std::string_view> unmeasured_experiment(const Version& version) {
    for (std::string_view name : unmeasured_experiments)
        if (has_experiment(version, name)) return name;
    return std::nullopt;
}

bool table_is_exact(const Version& version) {
    if (version.minor < oldest_table || version.minor > newest_table || version.devel || unmeasured_experiment(version))
        return false;
    const Neighbours neighbours = neighbours_of(version);
    if (neighbours.before == neighbours.after) return true;
    RuntimeLayout table;
    apply(table, tables[version.minor - oldest_table]);
    const RuntimeLayout before = with_overlay(table, neighbours.before), after = with_overlay(table, neighbours.after);
    for (const LayoutMember& member : layout_members())
        if (!member.field_name.empty() && get_member(before, member) != get_member(after, member)) return false;
    return true;
}

}  // namespace incident::go
