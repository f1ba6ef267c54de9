// Renderers: a finished Report to bytes. One file per format, one row in `renderers()`; they read the Report and
// nothing else. Streaming: 10^5 goroutines never become one string or one DOM.
#pragma once

#include <functional>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "report/report.h"

namespace incident::report {

/// Receives output in pieces; returns false when the reader is gone (EPIPE) and rendering should stop.
using Sink = std::function<bool(std::string_view)>;

/// What the user's own runbook says about a finding (--runbook FILE).
struct RunbookStep {
    std::string title;
    std::string owner;
    std::vector<std::string> steps;
    std::vector<std::string> links;
};

/// By finding. Beside the report, not in it: it is the reader's, not the core's.
using RunbookSteps = std::map<const Finding*, RunbookStep>;

struct RenderOptions {
    unsigned width = 100;  ///< columns
    bool color = false;
    bool unicode = true;  ///< false: ASCII only
    bool all = false;     ///< show runtime frames, every goroutine, …
    bool group = false;   ///< goroutines: equal stacks together
    bool stacks = false;  ///< goroutines: with frames
    std::string language = "en";
    Severity min_severity = Severity::info;
    const RunbookSteps* runbook = nullptr;

    /// Null: no runbook, or no entry fits.
    const RunbookStep* runbook_for(const Finding& finding) const {
        if (runbook == nullptr) return nullptr;
        auto step = runbook->find(&finding);
        return step == runbook->end() ? nullptr : &step->second;
    }
};

struct Renderer {
    std::string_view name;  ///< terminal, markdown, json
    void (*render)(const Report&, const RenderOptions&, const Sink&);
};

std::span<const Renderer> renderers();
const Renderer* find_renderer(std::string_view name);

}  // namespace incident::report
