// The commands of the contract, as a table: what they are called and what they take.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>

#include "analyze.h"

namespace incident::cli {

/// What may stand beside CORE and EXE.
enum class Extra : std::uint8_t { none, goroutine_id, thread_id, address, address_and_count };

/// Groups of options. A command has those that change what it does.
enum Options : unsigned {
    no_options = 0,
    input_options = 1,    ///< --sysroot, --jobs …
    output_options = 2,   ///< --format, -o …
    finding_options = 4,  ///< --only, --min-severity …
    runbook_option = 8,
    report_options = input_options | output_options,                      ///< lists: they look for no findings
    judging_options = report_options | finding_options | runbook_option,  ///< report or count findings
};

/// A command has the first few of these.
inline constexpr std::array<std::string_view, 5> all_formats{"terminal", "json", "markdown", "html", "sarif"};

struct CommandRow {
    std::string_view name;
    std::optional<Command> command;  ///< null: not a question to one core (explain, triage)
    Extra extra = Extra::none;
    std::string_view usage;  ///< what follows the name
    std::string_view summary;
    unsigned options = report_options;
    unsigned formats = all_formats.size();  ///< how many of them
};

std::span<const CommandRow> commands();
const CommandRow* find_command(std::string_view name);

}  // namespace incident::cli
