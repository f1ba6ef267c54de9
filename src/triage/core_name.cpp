#include "triage/core_name.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <charconv>
#include <vector>

namespace incident::triage {

namespace {

std::optional<std::int64_t> number(std::string_view text) {
    std::int64_t value = 0;
    auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (error != std::errc() || end != text.data() + text.size() || text.empty() || value < 0) return std::nullopt;
    return value;
}

bool is_boot_id(std::string_view text) {
    return text.size() == 32 && std::ranges::all_of(text, [](unsigned char c) { return std::isxdigit(c) != 0; });
}

/// systemd writes the bytes that a file name should not have as \xNN.
std::string unescaped(std::string_view text) {
    std::string out;
    for (std::size_t i = 0; i < text.size(); ++i) {
        unsigned value = 0;
        if (text.substr(i).starts_with("\\x") && i + 4 <= text.size() &&
            std::from_chars(text.data() + i + 2, text.data() + i + 4, value, 16).ptr == text.data() + i + 4) {
            out += static_cast<char>(value);
            i += 3;
        } else {
            out += text[i];
        }
    }
    return out;
}

std::vector<std::string_view> split(std::string_view text) {
    std::vector<std::string_view> out;
    for (std::size_t at = 0;;) {
        auto dot = text.find('.', at);
        out.push_back(text.substr(at, dot == std::string_view::npos ? dot : dot - at));
        if (dot == std::string_view::npos) return out;
        at = dot + 1;
    }
}

/// A number is a time when it lies between 2001 and 2100, in seconds or microseconds.
std::optional<std::int64_t> as_time(std::int64_t value) {
    constexpr std::int64_t earliest = 1'000'000'000, latest = 4'102'444'800;
    if (value >= earliest && value < latest) return value;
    if (value >= earliest * 1'000'000 && value < latest * 1'000'000) return value / 1'000'000;
    return std::nullopt;
}

}  // namespace

CoreName parse_core_name(std::string_view name) {
    for (std::string_view suffix : {".zst", ".xz", ".lz4", ".gz"})
        if (name.ends_with(suffix)) name.remove_suffix(suffix.size());
    CoreName out;
    auto parts = split(name);
    out.looks_like_core = name == "core" || parts.front() == "core" || parts.back() == "core" ||
                          name.starts_with("core-") || name.starts_with("core_") || name.ends_with("_core");
    if (parts.size() < 2 || parts.front() != "core") return out;
    // systemd: the last four are UID, boot, PID, TIME; what stands before them is the name, dots and all.
    if (parts.size() >= 6 && is_boot_id(parts[parts.size() - 3])) {
        out.boot = std::string(parts[parts.size() - 3]);
        out.uid = number(parts[parts.size() - 4]);
        out.pid = number(parts[parts.size() - 2]);
        if (auto value = number(parts.back())) out.time = as_time(*value).value_or(0);
        std::string_view comm = name.substr(5);
        comm = comm.substr(0, static_cast<std::size_t>(parts[parts.size() - 4].data() - comm.data() - 1));
        out.program = unescaped(comm);
        return out;
    }
    // core.PID, core.COMM.PID, core.COMM.PID.TIME: numbers by their size, words are the name.
    for (auto part : std::vector(parts.begin() + 1, parts.end())) {
        auto value = number(part);
        if (value && as_time(*value))
            out.time = *as_time(*value);
        else if (value && !out.pid)
            out.pid = value;
        else if (!value && !part.empty())
            out.program += (out.program.empty() ? "" : ".") + unescaped(part);
    }
    return out;
}

std::string make_core_name(std::string_view program, std::int64_t uid, std::string_view boot, std::int64_t pid,
                           std::int64_t seconds) {
    std::string comm;
    constexpr std::size_t most = 64;
    for (unsigned char c : program.substr(0, most)) {
        bool plain = std::isalnum(c) != 0 || c == '-' || c == '_' || c == '+' || (c == '.' && !comm.empty());
        if (plain)
            comm += static_cast<char>(c);
        else
            fmt::format_to(std::back_inserter(comm), "\\x{:02x}", c);
    }
    if (comm.empty()) comm = "unknown";
    return fmt::format("core.{}.{}.{}.{}.{}000000", comm, uid, boot.empty() ? std::string(32, '0') : std::string(boot),
                       pid, seconds);
}

}  // namespace incident::triage
