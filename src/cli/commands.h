// The commands of the contract, as a table: what they are called, what they take, whether they are built. A command
// that is not built yet is known by name, exits 2 and says so, and is not listed in --help.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string_view>

#include "analyze.h"

namespace incident::cli {

/// What may stand beside CORE and EXE.
enum class Extra : std::uint8_t { none, goroutine_id, thread_id, address, address_and_count };

struct CommandRow {
    std::string_view name;
    std::optional<Command> command;  ///< null: not a question to one core (explain, triage)
    Extra extra = Extra::none;
    std::string_view usage;  ///< what follows the name
    std::string_view summary;
    bool built = true;
};

std::span<const CommandRow> commands();
const CommandRow* find_command(std::string_view name);

}  // namespace incident::cli
