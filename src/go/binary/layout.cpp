// RuntimeLayout from tables: which generated table serves which version, and the list of all members as data.
//
// Surprising: tables belong to minor versions. Struct layouts have not changed within a minor so far (checked for the first
// and the last patch releases at hand); if one ever does, its table gets a patch number. Choices made when the toolchain was
// built (GOEXPERIMENT) are short overlays on the table of their version.
#include "go/binary/layout.h"

#include <algorithm>
#include <charconv>
#include <cstddef>
#include <cstring>

namespace incident::go {
namespace {

struct Row {
    std::uint16_t where;   ///< byte offset of the number within RuntimeLayout
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
#undef LAYOUT_STRUCT
#undef LAYOUT_FIELD

constexpr std::span<const Row> tables[] = {go1_16, go1_17, go1_18, go1_19, go1_20, go1_21,
                                           go1_22, go1_23, go1_24, go1_25, go1_26, go1_27};
static_assert(std::size(tables) == newest_table - oldest_table + 1);
static_assert(sizeof(RuntimeLayout) <= 0xffff);

void apply(RuntimeLayout& layout, std::span<const Row> rows) {
    auto* bytes = reinterpret_cast<std::byte*>(&layout);
    for (const Row& row : rows) std::memcpy(bytes + row.where, &row.value, sizeof row.value);
}

bool has_experiment(const Version& version, std::string_view name) {
    return std::find(version.experiments.begin(), version.experiments.end(), name) != version.experiments.end();
}

std::vector<LayoutMember> list_members() {
    std::vector<LayoutMember> out;
#define INCIDENT_STRUCT(id, go_name)                                                     \
    {                                                                                    \
        using Fields = RuntimeLayout::id##_fields;                                       \
        constexpr std::string_view name = #id;                                           \
        constexpr std::size_t base = offsetof(RuntimeLayout, id);                        \
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
    version.text = std::string(text.substr(0, text.find('\n')));
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
    variant.green_tea = version.minor >= 26 ? !has_experiment(version, "nogreenteagc") : has_experiment(version, "greenteagc");
    return variant;
}

Result<RuntimeLayout> layout_from_table(const Version& version) { return layout_from_table(version, variant_of(version)); }

Result<RuntimeLayout> layout_from_table(const Version& version, const LayoutVariant& variant) {
    (void)variant;
    if (version.minor < oldest_table)
        return fail(ErrorKind::unsupported, version.text + " is older than go1." + std::to_string(oldest_table));
    if (version.minor > newest_table)
        return fail(ErrorKind::unsupported, version.text + " is newer than go1." + std::to_string(newest_table) +
                                                ", the newest layout known here, and the executable has no DWARF to read it from");
    RuntimeLayout layout;
    apply(layout, tables[version.minor - oldest_table]);
    layout.source = LayoutSource::table;
    return layout;
}

}  // namespace incident::go
