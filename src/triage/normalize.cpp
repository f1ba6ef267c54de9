#include "triage/normalize.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cctype>

#include "base/text.h"

namespace incident::triage {

namespace {

bool is_digit(char c) { return c >= '0' && c <= '9'; }
bool is_hex(char c) { return is_digit(c) || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F'); }

/// Ends with `word` and digits ("deferwrap12"): where `word` begins, or npos.
std::size_t numbered_suffix(std::string_view name, std::string_view word) {
    std::size_t end = name.size();
    while (end > 0 && is_digit(name[end - 1])) --end;
    if (end == name.size() || !name.substr(0, end).ends_with(word)) return std::string_view::npos;
    return end - word.size();
}

/// "example.com/x/v2/y.F" -> "example.com/x/y.F", "gopkg.in/yaml.v3.F" -> "gopkg.in/yaml.F".
std::string without_major_versions(std::string_view path) {
    std::string out;
    for (std::size_t i = 0; i < path.size();) {
        bool begins = path[i] == '/' || (path[i] == '.' && path.starts_with("gopkg.in/"));
        std::size_t end = i + 2;
        while (end < path.size() && is_digit(path[end])) ++end;
        bool version = begins && i + 1 < path.size() && path[i + 1] == 'v' && end > i + 2 &&
                       (end == path.size() || path[end] == '/' || path[end] == '.');
        if (version) {
            i = end;
        } else {
            out += path[i++];
        }
    }
    return out;
}

/// Drops what stands between `open` and its `close`, at any depth; `mark` stays in its place.
std::string without_brackets(std::string_view text, char open, char close, std::string_view mark) {
    std::string out;
    int depth = 0;
    for (char c : text) {
        if (c == open && depth++ == 0) out += mark;
        if (depth == 0) out += c;
        if (c == close && depth > 0) --depth;
    }
    return out;
}

/// The C function behind cgo's wrapper of either side: main._Cfunc_update, _cgo_5a847027aa6a_Cfunc_update. A stripped
/// program still has the first of them.
std::string_view behind_cgo(std::string_view name) {
    constexpr std::string_view mark = "_Cfunc_";
    auto at = name.find(mark);
    bool wrapper = at != std::string_view::npos && at > 0 && (name[at - 1] == '.' || name.starts_with("_cgo_"));
    return wrapper && at + mark.size() < name.size() ? name.substr(at + mark.size()) : name;
}

}  // namespace

std::string normal_go_name(std::string_view name) {
    if (auto target = behind_cgo(name); target != name) return std::string(target);
    if (auto at = name.rfind("/vendor/"); at != std::string_view::npos) name.remove_prefix(at + 8);
    std::string out = without_brackets(name, '[', ']', "[...]");
    for (bool again = true; again;) {
        again = false;
        if (out.ends_with("-fm")) {
            out.resize(out.size() - 3);
            again = true;
        }
        for (std::string_view word : {".deferwrap", ".gowrap", "\u00b7dwrap\u00b7"}) {
            auto at = numbered_suffix(out, word);
            if (at == std::string_view::npos || at == 0) continue;
            out.resize(at);
            again = true;
        }
    }
    out = without_major_versions(out);
    if (auto at = out.find(".glob..func"); at != std::string::npos) out.replace(at, 11, ".init.func");
    return out;
}

std::string normal_native_name(std::string_view name) {
    name = behind_cgo(name);
    if (auto at = name.find('@'); at != std::string_view::npos && at > 0) name = name.substr(0, at);
    if (auto at = name.find(" [clone"); at != std::string_view::npos) name = name.substr(0, at);
    std::string out(name);
    for (std::string_view part : {".cold", ".part.", ".isra.", ".constprop.", ".lto_priv."})
        if (auto at = out.find(part); at != std::string::npos && at > 0) out.resize(at);
    for (auto at = out.find("[abi:"); at != std::string::npos; at = out.find("[abi:")) {
        auto end = out.find(']', at);
        out.erase(at, end == std::string::npos ? end : end - at + 1);
    }
    bool is_operator = out.find("operator") != std::string::npos;  // operator<, operator()
    if (!is_operator) {
        constexpr std::string_view unnamed = "(anonymous namespace)";
        for (auto at = out.find(unnamed); at != std::string::npos; at = out.find(unnamed))
            out.replace(at, unnamed.size(), "{anonymous}");
        out = without_brackets(out, '<', '>', "<...>");
        if (auto at = out.find('('); at != std::string::npos && at > 0) out.resize(at);
    }
    for (std::string_view prefix : {"__GI___libc_", "__GI_", "__libc_"}) {
        if (!out.starts_with(prefix) || out.size() == prefix.size()) continue;
        if (prefix == "__libc_" && (out.starts_with("__libc_start") || out.starts_with("__libc_message"))) continue;
        out.erase(0, prefix.size());
        break;
    }
    return out;
}

std::string normal_message(std::string_view message) {
    constexpr std::size_t most = 200;
    message = message.substr(0, std::min(message.find('\n'), std::size_t{4096}));
    std::string out;
    for (std::size_t i = 0; i < message.size() && out.size() < most;) {
        char c = message[i];
        bool in_word =
            i > 0 && (std::isalpha(static_cast<unsigned char>(message[i - 1])) != 0 || message[i - 1] == '_');
        if (c == '0' && i + 2 < message.size() && message[i + 1] == 'x' && is_hex(message[i + 2])) {
            i += 2;
            while (i < message.size() && is_hex(message[i])) ++i;
            out += "0xN";
        } else if (is_digit(c) && !in_word) {
            while (i < message.size() &&
                   (is_digit(message[i]) || (message[i] == '.' && i + 1 < message.size() && is_digit(message[i + 1]))))
                ++i;
            out += 'N';
        } else if (c == '"' || c == '`') {
            auto end = message.find(c, i + 1);
            if (end == std::string_view::npos) {
                out += c;
                ++i;
            } else {
                out += "\"…\"";
                i = end + 1;
            }
        } else {
            out += c;
            ++i;
        }
    }
    return to_valid_utf8(out);
}

std::string normal_program(std::string_view name) {
    auto dot = name.find('.');
    return std::string(name.substr(0, dot == 0 ? std::string_view::npos : dot));
}

std::string frame_text(const report::Frame& frame, std::string_view build_id) {
    if (!frame.function.empty())
        return frame.kind == report::FrameKind::go ? normal_go_name(frame.function)
                                                   : normal_native_name(frame.function);
    if (frame.module.empty()) return "?";
    auto name = base_name(frame.module);
    return fmt::format("{}@{}+{:#x}", name, build_id.substr(0, 12), frame.module_offset);
}

}  // namespace incident::triage
