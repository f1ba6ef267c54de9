// The last lines: what is not known and what that weakens, and what each detector looked at.
#include <fmt/format.h>

#include <algorithm>

#include "base/text.h"
#include "report/terminal/views.h"

namespace incident::report::terminal {

void print_gaps(Context& context) {
    const auto& gaps = context.report.gaps;
    if (gaps.empty()) return;
    auto& canvas = context.canvas;
    canvas.blank();
    canvas.heading("not known");
    constexpr std::size_t most = 12;
    std::size_t shown = context.options().all ? gaps.size() : std::min(gaps.size(), most);
    for (std::size_t i = 0; i < shown; ++i) {
        const auto& gap = gaps[i];
        Line line = canvas.line().space(2).add(gap.damage ? Ink::warning : Ink::plain, gap.what);
        if (!gap.why.empty()) line.add(": ").add(gap.why);
        canvas.wrap(line, 6);
        if (!gap.weakens.empty()) canvas.wrap(canvas.line().space(4).add(Ink::quiet, "weakens ").add(gap.weakens), 6);
    }
    if (shown < gaps.size())
        canvas.print(canvas.line().space(2).add(Ink::quiet, fmt::format("… {} more (--all)", gaps.size() - shown)));
}

void print_detectors(Context& context) {
    const auto& detectors = context.report.detectors;
    if (detectors.empty()) return;
    auto& canvas = context.canvas;
    Line line = canvas.line();
    for (auto outcome : {Outcome::found, Outcome::clean, Outcome::partial, Outcome::skipped, Outcome::not_applicable}) {
        auto count = std::ranges::count(detectors, outcome, &DetectorOutcome::outcome);
        if (count == 0) continue;
        auto word = outcome == Outcome::not_applicable ? std::string_view("not applicable") : to_string(outcome);
        line.dot().add(outcome == Outcome::partial ? Ink::warning : Ink::plain, fmt::format("{} {}", count, word));
    }
    canvas.blank();
    canvas.row("detectors", line, 11);
    for (const auto& d : detectors) {
        bool says = context.options().all ? d.outcome != Outcome::found : d.outcome == Outcome::partial;
        if (!says) continue;
        Line detail = canvas.line(Ink::strong, d.id).space().add(to_string(d.outcome));
        if (d.checked + d.unchecked != 0)
            detail.add(fmt::format(", {} of {} checked", grouped(d.checked), grouped(d.checked + d.unchecked)));
        if (!d.reason.empty()) detail.add(": ").add(d.reason);
        canvas.row("", detail, 11);
    }
}

}  // namespace incident::report::terminal
