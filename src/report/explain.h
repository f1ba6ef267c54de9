// What each finding kind means, for `incident explain KIND` and for whoever prints a finding beside its rule.
#pragma once

#include <span>
#include <string_view>

#include "report/renderers.h"

namespace incident::report {

struct Explanation {
    std::string_view kind;
    std::string_view says;      ///< contract.md, one line
    std::string_view meaning;   ///< what went wrong in the program, for someone who never met it
    std::string_view proof;     ///< what the core must show, and how strong that makes the finding
    std::string_view innocent;  ///< healthy programs that look alike
    std::string_view remedy;
};

std::span<const Explanation> explanations();
const Explanation* find_explanation(std::string_view kind);
/// Is there a kind that `pattern` names, itself or as a prefix: "go.mutex", "go."?
bool names_a_kind(std::string_view pattern);

/// Prints the kind, or every kind below a prefix ("go.mutex"), or the list when `kind` is empty. False: no such kind.
bool explain(std::string_view kind, const RenderOptions& options, const Sink& sink);

}  // namespace incident::report
