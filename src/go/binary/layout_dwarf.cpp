// RuntimeLayout from DWARF: resolves the paths of runtime_fields.def against the program's own struct descriptions.
//
// A path crosses structs ("sched.sp": g, then gobuf), so the reading goes in rounds: the structs that are named, then
// those that their members lead to. Go's string, slice and interface headers are structs like any other
// ("writebuf.len").
#include <algorithm>

#include "go/binary/layout.h"
#include "image/types.h"

namespace incident::go {
namespace {

constexpr int most_rounds = 5;  // depth of the deepest path

using Structs = std::unordered_map<std::string, StructLayout>;

std::vector<std::string_view> split(std::string_view text, char separator) {
    std::vector<std::string_view> parts;
    while (true) {
        const auto at = text.find(separator);
        parts.push_back(text.substr(0, at));
        if (at == std::string_view::npos) return parts;
        text.remove_prefix(at + 1);
    }
}

/// Offset of `path` in `type`. A struct on the way that was not read yet goes into `wanted`.
std::optional<std::int64_t> resolve(const Structs& structs, std::string type, std::string_view path, std::uint8_t size,
                                    std::vector<std::string>& wanted) {
    std::int64_t offset = 0;
    const auto parts = split(path, '.');
    for (std::size_t i = 0; i < parts.size(); ++i) {
        auto found = structs.find(type);
        if (found == structs.end()) {
            wanted.push_back(type);
            return std::nullopt;
        }
        const StructMember* member = found->second.find(parts[i]);
        if (member == nullptr) return std::nullopt;
        offset += static_cast<std::int64_t>(member->offset);
        if (i + 1 == parts.size()) return member->size >= size ? std::optional(offset) : std::nullopt;
        if (member->pointer || member->type.empty()) return std::nullopt;
        type = member->type;
    }
    return std::nullopt;
}

}  // namespace

Result<RuntimeLayout> layout_from_dwarf_only(const Image& executable) {
    if (!executable.has_dwarf()) return fail(ErrorKind::absent, executable.path() + " has no DWARF");
    std::vector<std::string> wanted;
    for (const LayoutMember& member : layout_members())
        if (member.field_name.empty())
            for (std::string_view name : split(member.path, '|')) wanted.emplace_back(name);
    Structs structs;
    RuntimeLayout layout;
    for (int round = 0; round < most_rounds && !wanted.empty(); ++round) {
        std::sort(wanted.begin(), wanted.end());
        wanted.erase(std::unique(wanted.begin(), wanted.end()), wanted.end());
        for (const std::string& name : wanted) structs.try_emplace(name);  // empty: looked for, not there
        wanted.push_back("runtime.g");  // or plain names ("[]uint8") alone would not be looked for in Go's unit
        for (auto& [name, found] : find_structs(executable, wanted)) structs.insert_or_assign(name, std::move(found));
        wanted.clear();

        layout = {};
        const StructLayout* current = nullptr;
        for (const LayoutMember& member : layout_members()) {
            if (member.field_name.empty()) {
                current = nullptr;
                for (std::string_view name : split(member.path, '|'))
                    if (auto found = structs.find(std::string(name));
                        current == nullptr && found != structs.end() && found->second.size != 0)
                        current = &found->second;
                if (current != nullptr) set_member(layout, member, static_cast<std::int32_t>(current->size));
                continue;
            }
            if (current == nullptr) continue;
            for (std::string_view path : split(member.path, '|'))
                if (auto offset = resolve(structs, current->name, path, member.size, wanted)) {
                    set_member(layout, member, static_cast<std::int32_t>(*offset));
                    break;
                }
        }
    }
    if (layout.g.size == 0)
        return fail(ErrorKind::absent, "the DWARF of " + executable.path() + " does not describe runtime.g");
    layout.source = LayoutSource::dwarf;
    return layout;
}

Result<RuntimeLayout> layout_from_dwarf(const Image& executable, const Version& version) {
    RuntimeLayout layout = TRY(layout_from_dwarf_only(executable));
    auto table = layout_from_table(version);
    if (!table) return layout;
    const LayoutMember* owner = nullptr;
    bool missing = false;
    for (const LayoutMember& member : layout_members()) {
        if (member.field_name.empty()) {
            owner = &member;
            missing = get_member(layout, member) == 0;
        }
        if (owner != nullptr && missing) set_member(layout, member, get_member(*table, member));
    }
    return layout;
}

}  // namespace incident::go
