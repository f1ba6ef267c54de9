// One finding: its rule, its subject, its evidence, whom it concerns, and how a person checks it by hand.
#include <fmt/format.h>

#include <algorithm>

#include "base/text.h"
#include "report/terminal/views.h"

namespace incident::report::terminal {

namespace {

void print_rule(Context& context, const Finding& finding, std::size_t number, std::size_t of) {
    auto& canvas = context.canvas;
    auto ink = ink_of(finding.severity);
    Line tail = canvas.line(ink, to_string(finding.severity)).dot().add(to_string(finding.strength)).space().add(Ink::quiet, "━━");
    Line line = canvas.line(Ink::quiet, "━━ ").add(fmt::format("{} of {}", number, of)).add(Ink::quiet, " ━━ ");
    line.add(ink, finding.kind).space();
    unsigned end = canvas.width() > tail.width() + 1 ? canvas.width() - tail.width() - 1 : 0;
    line.fill_to(end, Ink::quiet, "━").space().add(tail);
    canvas.blank();
    canvas.print(line);
}

void print_evidence(Context& context, const Finding& finding) {
    auto& canvas = context.canvas;
    bool first = true;
    for (const auto& e : finding.evidence) {
        Line line = canvas.line(e.what);
        if (!e.value.empty()) line.add(": ").add(e.value);
        if (e.address) line.add(Ink::quiet, " at ").add(*e.address);
        if (!e.by.empty()) line.add(Ink::quiet, fmt::format("  by {}", e.by));
        canvas.row(first ? "evidence" : "", line);
        first = false;
    }
}

void print_finding(Context& context, const Finding& finding, std::size_t number, std::size_t of) {
    auto& canvas = context.canvas;
    print_rule(context, finding, number, of);
    if (number > 1) {
        canvas.row("what", canvas.line(Ink::strong, finding.title));
        if (!finding.where.empty()) canvas.row("where", canvas.line(finding.where));
        if (!finding.why.empty()) canvas.row("why", canvas.line(finding.why));
    }
    const auto& subject = finding.subject;
    Line line = canvas.line();
    if (!subject.symbol.empty()) line.add(Ink::strong, subject.symbol).space(2);
    if (!subject.type.empty()) line.add(Ink::type, subject.type).space(2);
    if (subject.address) line.add(*subject.address);
    if (!line.empty()) canvas.row(subject.what.empty() ? "subject" : subject.what, line);
    print_evidence(context, finding);
    if (!finding.explanation.empty()) canvas.row("", canvas.line(finding.explanation));
    for (std::size_t i = 0; i < finding.innocent.size(); ++i) canvas.row(i == 0 ? "innocent" : "", canvas.line(finding.innocent[i]));
    for (std::size_t i = 0; i < finding.verify.size(); ++i)
        canvas.row(i == 0 ? "check" : "", canvas.line(Ink::quiet, finding.verify[i].tool).space().add(finding.verify[i].command));
    if (!finding.remedy.empty()) canvas.row("next", canvas.line(finding.remedy));
}

}  // namespace

void print_findings(Context& context) {
    const auto& findings = context.report.findings;
    auto shown = [&](const Finding& f) { return f.severity >= context.options().min_severity; };
    auto of = static_cast<std::size_t>(std::ranges::count_if(findings, shown));
    std::size_t number = 0;
    for (const auto& finding : findings)
        if (shown(finding)) print_finding(context, finding, ++number, of);
}

}  // namespace incident::report::terminal
