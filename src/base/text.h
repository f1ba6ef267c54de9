// Words for people: escaping of hostile strings, sizes, durations.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace incident {

/// Strings from a core are hostile: control characters, escape sequences and bytes that are not UTF-8 become visible
/// escapes (\n, \x1b, \xff). Valid printable UTF-8 passes through.
std::string escape_for_terminal(std::string_view raw);

bool is_valid_utf8(std::string_view raw);
/// Each maximal ill-formed subsequence becomes U+FFFD.
std::string to_valid_utf8(std::string_view raw);

/// "46.5 MB", powers of 1000 as df and ls -h --si do; exact bytes below 1000.
std::string human_size(std::uint64_t bytes);
/// "4m12s", "1.5s", "310ms".
std::string human_duration(std::uint64_t nanoseconds);
/// "0x1b00cd1b7f40"
std::string hex(std::uint64_t value);

/// "bank.go" of "/src/bank.go".
constexpr std::string_view base_name(std::string_view path) { return path.substr(path.rfind('/') + 1); }
/// As one word of a POSIX shell's command line.
std::string shell_quoted(std::string_view text);

/// "1 goroutine", "3 goroutines"
std::string count_of(std::uint64_t count, std::string_view singular, std::string_view plural = {});

}  // namespace incident
