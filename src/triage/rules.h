// The skip and prefix lists of data/*.toml, built into the program: what a frame's text and a death's message count
// for.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace incident::triage {

enum class FrameUse : std::uint8_t { own, library, skip, stop };
std::string_view to_string(FrameUse use);

struct FrameRule {
    std::vector<std::string> patterns;
    FrameUse use = FrameUse::own;
    std::string note;
};

struct MessageRule {
    std::vector<std::string> patterns;
    std::string klass;
    std::string note;
};

struct Rules {
    std::vector<FrameRule> frames;
    std::vector<MessageRule> messages;

    /// Null: no rule names it, it is the program's own.
    const FrameRule* find_frame(std::string_view text) const;
    const MessageRule* find_message(std::string_view message) const;
};

/// The built-in rules, parsed once.
const Rules& built_in_rules();

/// '*' stands for any run of characters; everything else for itself.
bool matches(std::string_view pattern, std::string_view text);

}  // namespace incident::triage
