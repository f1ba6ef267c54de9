// The first lines: which input this is, then what, where and why, a row each.
#include <fmt/format.h>

#include "base/text.h"
#include "report/answer.h"
#include "report/terminal/views.h"

namespace incident::report::terminal {

namespace {

/// " · text", in one piece: the line may break before it.
void add_part(Line& line, Ink ink, std::string_view text) {
    Line part(line.unicode());
    line.dot().add(part.add(ink, text).keep());
}

void add_core(Line& line, const CoreInput& core) {
    std::string text = std::string(base_name(core.path));
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
    // "go1.25.12 X:noswissmap", "go1.26.8-X:nogreenteagc": the variant says it in words.
    if (const auto x = text.find("X:"); x != text.npos && x > 0 && !go.variant.empty()) text.resize(x - 1);
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
    auto& canvas = context.canvas;
    const Answer answer = answer_of(context.report, context.options().min_severity);
    canvas.blank();
    auto row = [&](std::string_view label, Ink ink, std::string_view text) {
        if (text.empty()) return;
        canvas.wrap(canvas.line(Ink::strong, label).to_column(7).add(ink, text), 7);
    };
    row("WHAT", answer.accused != nullptr ? ink_of(answer.accused->severity) : Ink::strong, answer.what);
    row("WHERE", Ink::plain, answer.where);
    row("WHY", Ink::plain, answer.why);
    row("ALSO", Ink::plain, answer.also);
    row("NEXT", Ink::plain, answer.next);
}

}  // namespace incident::report::terminal
