// The wait-for graph as a Mermaid flowchart, for Markdown that GitHub, GitLab and the like draw.
#pragma once

#include <string>

#include "report/report.h"

namespace incident::report {

struct MermaidGraph {
    std::string text;      ///< without its fence; empty: nobody waits for anybody
    std::string left_out;  ///< one sentence; empty: nothing
};

MermaidGraph mermaid_wait_graph(const Report& report);

/// As the text of a node or an edge, between quotes: names from a core cannot end the quotes, become markup, or begin a
/// directive.
std::string mermaid_label(std::string_view raw);

}  // namespace incident::report
