// The table of output formats: one row per renderer.
#include "report/renderers.h"

#include <algorithm>
#include <array>

#include "report/html.h"
#include "report/json.h"
#include "report/markdown.h"
#include "report/sarif.h"
#include "report/terminal/terminal.h"

namespace incident::report {

std::span<const Renderer> renderers() {
    static constexpr std::array rows{
        Renderer{"terminal", render_terminal}, Renderer{"json", render_json}, Renderer{"markdown", render_markdown},
        Renderer{"sarif", render_sarif},       Renderer{"html", render_html},
    };
    return rows;
}

const Renderer* find_renderer(std::string_view name) {
    auto rows = renderers();
    auto row = std::ranges::find(rows, name, &Renderer::name);
    return row == rows.end() ? nullptr : &*row;
}

}  // namespace incident::report
