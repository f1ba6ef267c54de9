#include "triage/toml_file.h"

#include <fmt/format.h>
#include <toml++/toml.h>

#include <sstream>

namespace incident::triage {

namespace {

std::string spelled(const toml::node& node) {
    if (const auto* text = node.as_string()) return text->get();
    std::ostringstream out;
    if (node.is_integer()) out << node.as_integer()->get();
    if (node.is_boolean()) out << (node.as_boolean()->get() ? "true" : "false");
    if (node.is_floating_point()) out << node.as_floating_point()->get();
    return out.str();
}

TomlTable table_of(const toml::table& table) {
    TomlTable out{.line = table.source().begin.line, .values = {}};
    for (const auto& [key, node] : table) {
        auto& list = out.values[std::string(key.str())];
        if (const auto* array = node.as_array())
            for (const auto& element : *array) list.push_back(spelled(element));
        else
            list.push_back(spelled(node));
    }
    return out;
}

}  // namespace

std::string_view TomlTable::get(std::string_view key) const {
    const auto& found = list(key);
    return found.empty() ? std::string_view() : found.front();
}

const std::vector<std::string>& TomlTable::list(std::string_view key) const {
    static const std::vector<std::string> none;
    auto found = values.find(key);
    return found == values.end() ? none : found->second;
}

std::expected<std::vector<TomlTable>, std::string> toml_tables(std::string_view text, std::string_view name,
                                                               std::string_view source) {
    try {
        auto document = toml::parse(text, source);
        std::vector<TomlTable> out;
        const auto* array = document[name].as_array();
        if (document.contains(name) && array == nullptr)
            return std::unexpected(fmt::format("{}: '{}' is no array of tables: write [[{}]]", source, name, name));
        if (array == nullptr) return out;
        for (const auto& element : *array) {
            if (const auto* table = element.as_table())
                out.push_back(table_of(*table));
            else
                return std::unexpected(fmt::format("{}: an element of '{}' is no table", source, name));
        }
        return out;
    } catch (const toml::parse_error& e) {
        return std::unexpected(fmt::format("{}: line {}, column {}: {}", source, e.source().begin.line,
                                           e.source().begin.column, e.description()));
    }
}

}  // namespace incident::triage
