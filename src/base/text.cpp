#include "base/text.h"

#include <fmt/format.h>

namespace incident {

namespace {

/// Length of the well-formed UTF-8 sequence at the front of `s` (Unicode table 3-7), 0 when ill-formed.
std::size_t utf8_length(std::string_view s) {
    auto at = [&](std::size_t i) { return i < s.size() ? static_cast<unsigned char>(s[i]) : 0u; };
    auto continuation = [&](std::size_t i, unsigned low = 0x80, unsigned high = 0xbf) {
        return at(i) >= low && at(i) <= high;
    };
    unsigned lead = at(0);
    if (s.empty()) return 0;
    if (lead < 0x80) return 1;
    if (lead >= 0xc2 && lead <= 0xdf) return continuation(1) ? 2 : 0;
    if (lead >= 0xe0 && lead <= 0xef) {
        unsigned low = lead == 0xe0 ? 0xa0 : 0x80, high = lead == 0xed ? 0x9f : 0xbf;
        return continuation(1, low, high) && continuation(2) ? 3 : 0;
    }
    if (lead >= 0xf0 && lead <= 0xf4) {
        unsigned low = lead == 0xf0 ? 0x90 : 0x80, high = lead == 0xf4 ? 0x8f : 0xbf;
        return continuation(1, low, high) && continuation(2) && continuation(3) ? 4 : 0;
    }
    return 0;
}

/// C1 controls and the invisible marks that can reorder or hide text in a terminal.
bool is_hostile(std::string_view c) {
    if (c.size() == 1) return static_cast<unsigned char>(c[0]) < 0x20 || c[0] == 0x7f;
    if (c.size() == 2) return static_cast<unsigned char>(c[0]) == 0xc2 && static_cast<unsigned char>(c[1]) < 0xa0;
    if (c.size() == 3 && static_cast<unsigned char>(c[0]) == 0xe2) {
        auto second = static_cast<unsigned char>(c[1]), third = static_cast<unsigned char>(c[2]);
        if (second == 0x80) return (third >= 0x8b && third <= 0x8f) || (third >= 0xa8 && third <= 0xae);
        if (second == 0x81) return third >= 0xa0 && third <= 0xaf;
    }
    return c == "\xef\xbb\xbf";
}

}  // namespace

std::string escape_for_terminal(std::string_view raw) {
    std::string out;
    out.reserve(raw.size());
    while (!raw.empty()) {
        std::size_t length = utf8_length(raw);
        auto piece = raw.substr(0, length == 0 ? 1 : length);
        if (piece == "\n")
            out += "\\n";
        else if (piece == "\t")
            out += "\\t";
        else if (piece == "\r")
            out += "\\r";
        else if (length == 0 || is_hostile(piece))
            for (char c : piece) out += fmt::format("\\x{:02x}", static_cast<unsigned char>(c));
        else
            out += piece;
        raw.remove_prefix(piece.size());
    }
    return out;
}

bool is_valid_utf8(std::string_view raw) {
    while (!raw.empty()) {
        std::size_t length = utf8_length(raw);
        if (length == 0) return false;
        raw.remove_prefix(length);
    }
    return true;
}

std::string to_valid_utf8(std::string_view raw) {
    std::string out;
    out.reserve(raw.size());
    while (!raw.empty()) {
        std::size_t length = utf8_length(raw);
        if (length == 0)
            out += "\xef\xbf\xbd";
        else
            out += raw.substr(0, length);
        raw.remove_prefix(length == 0 ? 1 : length);
    }
    return out;
}

std::string human_size(std::uint64_t bytes) {
    if (bytes < 1000) return fmt::format("{} B", bytes);
    constexpr std::string_view units[] = {"kB", "MB", "GB", "TB", "PB", "EB"};
    auto value = static_cast<double>(bytes) / 1000;
    std::size_t unit = 0;
    while (value >= 999.95 && unit + 1 < std::size(units)) {
        value /= 1000;
        ++unit;
    }
    return fmt::format("{:.1f} {}", value, units[unit]);
}

std::string human_duration(std::uint64_t nanoseconds) {
    std::uint64_t ms = nanoseconds / 1'000'000, s = ms / 1000;
    if (nanoseconds < 1'000'000) return fmt::format("{}µs", nanoseconds / 1000);
    if (s == 0) return fmt::format("{}ms", ms);
    if (s < 60) return fmt::format("{}.{}s", s, ms % 1000 / 100);
    if (s < 3600) return fmt::format("{}m{}s", s / 60, s % 60);
    if (s < 86400) return fmt::format("{}h{}m", s / 3600, s % 3600 / 60);
    return fmt::format("{}d{}h", s / 86400, s % 86400 / 3600);
}

std::string hex(std::uint64_t value) { return fmt::format("{:#x}", value); }

std::string count_of(std::uint64_t count, std::string_view singular, std::string_view plural) {
    if (count == 1) return fmt::format("1 {}", singular);
    return plural.empty() ? fmt::format("{} {}s", count, singular) : fmt::format("{} {}", count, plural);
}

std::string shell_quoted(std::string_view text) {
    constexpr std::string_view plain = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_./+:=@%";
    if (!text.empty() && text.find_first_not_of(plain) == std::string_view::npos) return std::string(text);
    std::string out = "'";
    for (char c : text) out += c == '\'' ? std::string("'\\''") : std::string(1, c);
    return out + "'";
}

}  // namespace incident
