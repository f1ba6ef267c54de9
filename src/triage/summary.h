// The summary of a triage: clusters, largest first, each with one annotated example; what could not be analysed; what
// was quiet. Terminal, Markdown and JSON ("incident-triage-summary/1").
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "report/renderers.h"
#include "triage/triage.h"

namespace incident::triage {

inline constexpr std::string_view summary_schema = "incident-triage-summary/1";

class Runbook;

struct Summary {
    const TriageResult& result;
    const Clustering& clustering;
    const Runbook* runbook = nullptr;
    double seconds = 0;  ///< wall clock; 0: nothing was run (merge)
    std::string version;
};

void render_summary_terminal(const Summary& summary, const report::RenderOptions& options, const report::Sink& sink);
void render_summary_markdown(const Summary& summary, const report::RenderOptions& options, const report::Sink& sink);
void render_summary_json(const Summary& summary, const report::Sink& sink);

}  // namespace incident::triage
