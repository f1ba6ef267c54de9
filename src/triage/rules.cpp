// The data files are compiled in (CMake writes data.h's arrays from them). A test holds that they parse, that every
// entry has a note and that every entry matches something real.
#include "triage/rules.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <cstdlib>

#include "triage/data.h"
#include "triage/toml_file.h"

namespace incident::triage {

namespace {

std::vector<TomlTable> tables(std::string_view text, std::string_view name) {
    auto parsed = toml_tables(text, name, name);
    // Our own file, checked by a test: no tables rather than an exit.
    return parsed ? std::move(*parsed) : std::vector<TomlTable>();
}

FrameUse use_of(std::string_view word) {
    for (auto use : {FrameUse::library, FrameUse::skip, FrameUse::stop})
        if (to_string(use) == word) return use;
    return FrameUse::own;
}

Rules load() {
    Rules rules;
    for (const auto& t : tables(data::frames, "frame"))
        rules.frames.push_back({t.list("match"), use_of(t.get("do")), std::string(t.get("note"))});
    for (const auto& t : tables(data::messages, "message"))
        rules.messages.push_back({t.list("match"), std::string(t.get("class")), std::string(t.get("note"))});
    return rules;
}

template <class Rule>
const Rule* first_match(const std::vector<Rule>& rules, std::string_view text) {
    for (const auto& rule : rules)
        if (std::ranges::any_of(rule.patterns, [&](const std::string& pattern) { return matches(pattern, text); }))
            return &rule;
    return nullptr;
}

}  // namespace

std::string_view to_string(FrameUse use) {
    constexpr std::array<std::string_view, 4> words{"own", "library", "skip", "stop"};
    return words[static_cast<std::size_t>(use)];
}

bool matches(std::string_view pattern, std::string_view text) {
    // Greedy with one point of return: linear in practice, quadratic at worst, and names are short.
    std::size_t p = 0, t = 0, star = std::string_view::npos, resume = 0;
    while (t < text.size()) {
        if (p < pattern.size() && pattern[p] == '*') {
            star = p++;
            resume = t;
        } else if (p < pattern.size() && pattern[p] == text[t]) {
            ++p;
            ++t;
        } else if (star != std::string_view::npos) {
            p = star + 1;
            t = ++resume;
        } else {
            return false;
        }
    }
    while (p < pattern.size() && pattern[p] == '*') ++p;
    return p == pattern.size();
}

const FrameRule* Rules::find_frame(std::string_view text) const { return first_match(frames, text); }

const MessageRule* Rules::find_message(std::string_view message) const {
    std::string lower(message.substr(0, 4096));
    for (char& c : lower) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
    return first_match(messages, lower);
}

const Rules& built_in_rules() {
    static const Rules rules = load();
    return rules;
}

}  // namespace incident::triage
