#include "report/explain.h"

#include <algorithm>

#include "report/terminal/canvas.h"

namespace incident::report {

std::span<const Explanation> explanations();

const Explanation* find_explanation(std::string_view kind) {
    auto rows = explanations();
    auto row = std::ranges::find(rows, kind, &Explanation::kind);
    return row == rows.end() ? nullptr : &*row;
}

namespace {

bool is_below(std::string_view kind, std::string_view prefix) {
    return kind.starts_with(prefix) &&
           (kind.size() == prefix.size() || prefix.ends_with('.') || kind[prefix.size()] == '.');
}

void print(terminal::Canvas& canvas, const Explanation& e) {
    using terminal::Ink;
    canvas.blank();
    canvas.heading(e.kind);
    canvas.wrap(canvas.line().space(2).add(e.says), 2);
    auto part = [&](std::string_view label, std::string_view text) {
        if (text.empty()) return;
        canvas.blank();
        canvas.row(label, canvas.line(text), 12);
    };
    part("  means", e.meaning);
    part("  proof", e.proof);
    part("  innocent", e.innocent);
    part("  remedy", e.remedy);
}

}  // namespace

bool names_a_kind(std::string_view pattern) {
    return !pattern.empty() &&
           std::ranges::any_of(explanations(), [&](const Explanation& e) { return is_below(e.kind, pattern); });
}

bool explain(std::string_view kind, const RenderOptions& options, const Sink& sink) {
    terminal::Canvas canvas(options, sink);
    if (kind.empty()) {
        canvas.heading("Finding kinds", "incident explain KIND says more");
        canvas.blank();
        terminal::Table table(canvas, 2, {0, 0});
        for (const auto& e : explanations())
            table.row({canvas.line(terminal::Ink::strong, e.kind), canvas.line(e.says)});
        table.flush();
        return true;
    }
    bool any = false;
    for (const auto& e : explanations()) {
        const bool below = is_below(e.kind, kind);
        if (below) print(canvas, e);
        any = any || below;
    }
    return any;
}

}  // namespace incident::report
