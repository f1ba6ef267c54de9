#include "go/binary/made_types.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <optional>

namespace incident::go {

namespace {

struct Row {
    std::string_view prefix;  ///< up to and with the bracket
    MadeType type;
    std::string_view spoken;  ///< before "map[K]V" or the element
};
constexpr std::array rows{
    Row{"hchan<", MadeType::channel, "chan "},
    Row{"hash<", MadeType::map_header, ""},
    Row{"map<", MadeType::map_header, ""},
    Row{"table<", MadeType::map_table, "table of "},
    Row{"bucket<", MadeType::map_cells, "bucket of "},
    Row{"map.bucket[", MadeType::map_cells, "bucket of "},
    Row{"group<", MadeType::map_cells, "group of "},
    Row{"map.group[", MadeType::map_cells, "group of "},
};

const Row* row_of(std::string_view name) {
    auto at = std::ranges::find_if(rows, [&](const Row& row) { return name.starts_with(row.prefix); });
    return at == rows.end() ? nullptr : &*at;
}

/// "*", "[]" and "[8]" before a name; not the key of "[K]V", which follows a prefix of ours.
std::size_t length_of_modifiers(std::string_view name) {
    std::size_t at = 0;
    for (;;) {
        if (at < name.size() && name[at] == '*') {
            ++at;
            continue;
        }
        if (at >= name.size() || name[at] != '[') return at;
        const auto end = name.find_first_not_of("0123456789", at + 1);
        if (end == std::string_view::npos || name[end] != ']') return at;
        at = end + 1;
    }
}

/// "string,int" → "map[string]int"; keys and elements may hold commas of their own.
std::optional<std::string> map_of(std::string_view arguments) {
    int depth = 0;
    for (std::size_t i = 0; i < arguments.size(); ++i) {
        const char c = arguments[i];
        if (c == '[' || c == '(' || c == '{' || c == '<') ++depth;
        // The arrow of a channel's direction closes nothing.
        if (c == ']' || c == ')' || c == '}' || (c == '>' && (i == 0 || arguments[i - 1] != '-'))) --depth;
        if (c == '<' && i + 1 < arguments.size() && arguments[i + 1] == '-') --depth;
        if (c == ',' && depth == 0) return fmt::format("map[{}]{}", arguments.substr(0, i), arguments.substr(i + 1));
    }
    return std::nullopt;
}

}  // namespace

MadeType made_type(std::string_view name) {
    const Row* row = row_of(name);
    return row == nullptr ? MadeType::none : row->type;
}

std::string spoken_type(std::string_view name) {
    const std::size_t modifiers = length_of_modifiers(name);
    const std::string_view own = name.substr(modifiers);
    const Row* row = row_of(own);
    if (row == nullptr) return std::string(name);
    std::string_view inside = own.substr(row->prefix.size());
    std::optional<std::string> spoken;
    if (row->prefix.ends_with('[')) {
        spoken = "map[" + std::string(inside);
    } else if (inside.ends_with('>')) {
        inside.remove_suffix(1);
        spoken = row->type == MadeType::channel ? std::optional(std::string(inside)) : map_of(inside);
    }
    return spoken ? fmt::format("{}{}{}", name.substr(0, modifiers), row->spoken, *spoken) : std::string(name);
}

}  // namespace incident::go
