// Operands: which of the words after a command is CORE, EXE, an id, an address, a count. EXE may be left out and may
// stand before CORE: the two are told apart by their ELF type, not by position. Compressed files and stdin count as
// cores.
#pragma once

#include <cstdint>
#include <expected>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "cli/commands.h"

namespace incident::cli {

enum class FileKind : std::uint8_t { core, elf_other, other, unreadable };
/// By the first bytes of the file. "-" and compressed files are cores.
FileKind file_kind(const std::string& path);

struct Operands {
    std::string core, exe;
    std::optional<std::uint64_t> number;  ///< ID, TID or ADDR
    std::optional<std::uint64_t> count;   ///< N of read
};

/// The error is one sentence for the user.
std::expected<Operands, std::string> sort_operands(const CommandRow& command, const std::vector<std::string>& words);

/// Decimal, 0x hex, or (for addresses) bare hex that no decimal could be, as debuggers print it: c000012345.
std::optional<std::uint64_t> parse_number(std::string_view text, bool bare_hex);
/// "64G", "500M", "1024": powers of 1024.
std::optional<std::uint64_t> parse_size(std::string_view text);

}  // namespace incident::cli
