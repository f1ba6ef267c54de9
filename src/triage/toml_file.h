// The arrays of tables of a TOML file, as text: the only view of toml++ that the rest of the folder has (one file
// compiles it). Every value is a list of strings; a plain string is a list of one, numbers and booleans are spelled
// out.
#pragma once

#include <expected>
#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace incident::triage {

struct TomlTable {
    unsigned line = 0;  ///< where it begins, from 1
    std::map<std::string, std::vector<std::string>, std::less<>> values;

    /// The first value of `key`; empty when there is none.
    std::string_view get(std::string_view key) const;
    const std::vector<std::string>& list(std::string_view key) const;
};

/// The tables of `[[name]]`, in order. The error names `source`, line and column.
std::expected<std::vector<TomlTable>, std::string> toml_tables(std::string_view text, std::string_view name,
                                                               std::string_view source);

}  // namespace incident::triage
