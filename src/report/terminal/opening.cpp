// The first lines: which input this is, then what, where and why in three rows.
#include <fmt/format.h>

#include <algorithm>

#include "base/text.h"
#include "report/terminal/views.h"

namespace incident::report::terminal {

namespace {

/// " · text", in one piece: the line may break before it.
void add_part(Line& line, Ink ink, std::string_view text) {
    Line part(line.unicode());
    line.dot().add(part.add(ink, text).keep());
}

void add_core(Line& line, const CoreInput& core) {
    std::string text = core.path == "-" ? "core on stdin" : std::string(base_name(core.path));
    if (core.size != 0) text += " " + human_size(core.size);
    if (!core.compression.empty()) text += fmt::format(" ({})", core.compression);
    add_part(line, Ink::plain, text);
    if (!core.arch.empty() && core.arch != "x86-64") add_part(line, Ink::plain, core.arch);
    if (core.truncated)
        add_part(line, Ink::warning,
                 fmt::format("cut off at {}, {} missing", human_size(core.truncated->at),
                             human_size(core.truncated->missing_bytes)));
    if (core.program.empty() && !core.pid) return;
    std::string process = core.program;
    if (core.pid) process += fmt::format("{}pid {}", process.empty() ? "" : ", ", *core.pid);
    add_part(line, Ink::strong, process);
}

void add_go(Line& line, const GoRuntime& go) {
    std::string text = go.version.empty() ? "Go of unknown version" : go.version;
    if (go.debug_info == "stripped") text += ", stripped";
    if (go.debug_info == "symbols") text += ", no DWARF";
    if (!go.variant.empty()) text += ", " + go.variant;
    add_part(line, Ink::plain, text);
}

void add_executable(Line& line, const std::optional<Module>& executable) {
    if (!executable) {
        add_part(line, Ink::warning, "executable unknown");
        return;
    }
    auto ink = executable->status == ModuleStatus::verified ? Ink::plain : Ink::warning;
    add_part(line, ink, fmt::format("executable {}", to_string(executable->status)));
}

/// Rows WHAT, WHERE, WHY; an empty one is left out.
void print_rows(Context& context, Ink ink, std::string_view what, std::string_view where, std::string_view why) {
    auto& canvas = context.canvas;
    auto row = [&](std::string_view label, Ink text_ink, std::string_view text) {
        if (text.empty()) return;
        canvas.wrap(canvas.line(Ink::strong, label).to_column(7).add(text_ink, text), 7);
    };
    row("WHAT", ink, what);
    row("WHERE", Ink::plain, where);
    row("WHY", Ink::plain, why);
}

std::string quiet_why(const Report& report) {
    auto with = [&](Outcome o) {
        return static_cast<std::size_t>(std::ranges::count(report.detectors, o, &DetectorOutcome::outcome));
    };
    std::size_t clean = with(Outcome::clean) + with(Outcome::found), partial = with(Outcome::partial);
    std::string text;
    if (clean != 0) text = fmt::format("{} looked at everything and found nothing", count_of(clean, "detector"));
    if (partial != 0 && clean != 0) text += fmt::format(", {} could not check everything", partial);
    if (partial != 0 && clean == 0)
        text = fmt::format("{} looked, none could check everything", count_of(partial, "detector"));
    auto damage = static_cast<std::size_t>(std::ranges::count_if(report.gaps, &Gap::damage));
    if (damage != 0)
        text += fmt::format("{}{} in the input: silence is not health here", text.empty() ? "" : "; ",
                            count_of(damage, "gap"));
    return text;
}

}  // namespace

void print_header(Context& context) {
    const auto& report = context.report;
    Line line = context.canvas.line(
        Ink::quiet, report.tool.version.empty() ? report.tool.name : report.tool.name + " " + report.tool.version);
    add_core(line, report.input.core);
    if (report.runtime.go)
        add_go(line, *report.runtime.go);
    else if (report.runtime.libc)
        add_part(line, Ink::plain,
                 report.runtime.libc->name + (report.runtime.libc->version ? " " + *report.runtime.libc->version : ""));
    add_executable(line, report.input.executable);
    context.canvas.wrap(line, 2);
}

void print_answer(Context& context) {
    const auto& report = context.report;
    context.canvas.blank();
    auto first = std::ranges::find_if(report.findings,
                                      [&](const Finding& f) { return f.severity >= context.options().min_severity; });
    if (first != report.findings.end())
        return print_rows(context, ink_of(first->severity), first->title, first->where, first->why);
    // Nothing to accuse: say how the process ended, and what was looked at.
    auto ended = std::ranges::find_if(report.findings, [](const Finding& f) { return f.kind.starts_with("crash."); });
    bool known = ended != report.findings.end();
    std::string what = known ? ended->title : report.crash ? report.crash->cause : std::string();
    if (report.command == "analyze") what += what.empty() ? "No defect was found" : "; no defect was found";
    print_rows(context, Ink::strong, what, known ? ended->where : "",
               report.command == "analyze" ? quiet_why(report)
               : known                     ? ended->why
                                           : "");
}

}  // namespace incident::report::terminal
