// Renderers: a finished Report to bytes. One file per format, one row in `renderers()`; they read the Report and
// nothing else. Streaming: 10^5 goroutines never become one string or one DOM.
#pragma once

#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "report/report.h"

namespace incident::report {

/// Receives output in pieces; returns false when the reader is gone (EPIPE) and rendering should stop.
using Sink = std::function<bool(std::string_view)>;

struct RenderOptions {
    unsigned width = 100;  ///< columns
    bool color = false;
    bool unicode = true;  ///< false: ASCII only
    bool all = false;     ///< show runtime frames, every goroutine, …
    bool group = false;   ///< goroutines: equal stacks together
    bool stacks = false;  ///< goroutines: with frames
    std::string language = "en";
    Severity min_severity = Severity::info;
};

struct Renderer {
    std::string_view name;  ///< terminal, markdown, json
    void (*render)(const Report&, const RenderOptions&, const Sink&);
};

std::span<const Renderer> renderers();
const Renderer* find_renderer(std::string_view name);

}  // namespace incident::report
