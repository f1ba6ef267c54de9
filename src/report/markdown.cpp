// Markdown: prose as paragraphs and lists, drawings (stacks, registers, tables of goroutines) as the terminal draws
// them, in fenced blocks. Hostile strings are escaped twice over: for the terminal that may show the file, and for
// Markdown, so that a function name such as main.(*T).m_x is no emphasis and a panic's text is no heading, link or
// HTML.
#include "report/markdown.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <utility>

#include "base/text.h"
#include "report/answer.h"
#include "report/mermaid.h"
#include "report/terminal/views.h"

namespace incident::report {

namespace {

using terminal::Canvas;
using terminal::Context;

std::string escaped(std::string_view raw) {
    constexpr std::string_view special = "\\`*{}[]<>#|~&";
    auto text = escape_for_terminal(raw);
    auto in_word = [&](std::size_t i) {
        return i < text.size() && (std::isalnum(static_cast<unsigned char>(text[i])) != 0 || text[i] == '_');
    };
    std::string out;
    for (std::size_t i = 0; i < text.size(); ++i) {
        // An underscore inside a word is no emphasis anywhere that matters, and main.my_func stays readable as text.
        bool emphasis = text[i] == '_' && !(i > 0 && in_word(i - 1) && in_word(i + 1));
        if (emphasis || special.contains(text[i])) out += '\\';
        out += text[i];
    }
    return out;
}

/// As a code span; the fence is longer than any run of backticks inside.
std::string code(std::string_view raw) {
    auto text = escape_for_terminal(raw);
    std::string fence = "`";
    while (text.contains(fence)) fence += '`';
    return fence.size() == 1 ? fmt::format("`{}`", text) : fmt::format("{} {} {}", fence, text, fence);
}

std::string code(Address a) { return fmt::format("`{}`", hex(a.value)); }

class Writer {
public:
    Writer(const Report& report, const RenderOptions& options, const Sink& sink)
        : report_(report),
          plain_(options),
          out_(sink),
          drawing_([this](std::string_view text) { return drawn_ += text, true; }),
          canvas_(prepare(plain_), drawing_),
          context_(canvas_, report) {}

    void write();

private:
    static const RenderOptions& prepare(RenderOptions& options) {
        options.color = false;
        options.unicode = true;
        options.width = 100;
        return options;
    }
    void line(std::string_view text) { out_(fmt::format("{}\n", text)); }
    void paragraph(std::string_view text) { line(fmt::format("\n{}", text)); }
    /// A view of the terminal report in a fence; nothing when it printed nothing.
    template <class View>
    void draw(View view) {
        view();
        canvas_.flush();
        auto text = std::exchange(drawn_, {});
        canvas_.blank();  // the next view's blank line on top is this fence's
        canvas_.flush();
        drawn_.clear();
        text.erase(0, std::min(text.find_first_not_of('\n'), text.size()));
        while (text.ends_with('\n')) text.pop_back();
        if (!text.empty()) fence("text", text);
    }
    void fence(std::string_view language, std::string_view text) {
        std::string mark = "```";
        while (text.contains(mark)) mark += '`';
        line(fmt::format("\n{}{}\n{}\n{}", mark, language, text, mark));
    }

    void answer(const Answer& answer);
    void head();
    void finding(const Finding& finding, std::size_t number);
    void diagram();
    void closing();
    std::string_view view_title() const;

    const Report& report_;
    RenderOptions plain_;
    const Sink& out_;
    std::string drawn_;
    Sink drawing_;
    Canvas canvas_;
    Context context_;
};

void Writer::answer(const Answer& answer) {
    std::string text;
    auto row = [&](std::string_view label, std::string_view value) {
        if (!value.empty()) text += fmt::format("{}**{}** {}", text.empty() ? "" : "  \n", label, escaped(value));
    };
    row("What", answer.what);
    row("Where", answer.where);
    row("Why", answer.why);
    row("Also", answer.also);
    row("Next", answer.next);
    if (!text.empty()) paragraph(text);
}

void Writer::head() {
    const auto& core = report_.input.core;
    paragraph(
        fmt::format("Core {}, {}{}{}; executable {}{}.", code(core.path), human_size(core.size),
                    core.compression.empty() ? "" : ", " + core.compression,
                    core.truncated ? fmt::format(", **cut off at byte {}, {} missing**", core.truncated->at,
                                                 human_size(core.truncated->missing_bytes))
                                   : "",
                    report_.input.executable ? code(report_.input.executable->path) : "unknown",
                    report_.input.executable ? fmt::format(" ({})", to_string(report_.input.executable->status)) : ""));
    std::string process;
    auto part = [&](const std::string& text) { process += (process.empty() ? "" : ", ") + text; };
    if (!core.program.empty()) part("process " + code(core.program));
    if (core.pid) part(fmt::format("pid {}", *core.pid));
    if (report_.runtime.go) {
        part(escaped(report_.runtime.go->version));
        if (report_.runtime.go->debug_info == "stripped") part("stripped");
    }
    if (!report_.tool.version.empty()) part(fmt::format("read by {} {}", report_.tool.name, report_.tool.version));
    if (!process.empty())
        paragraph(process.replace(0, 1, 1, static_cast<char>(std::toupper(static_cast<unsigned char>(process[0])))) +
                  ".");
}

void Writer::finding(const Finding& f, std::size_t number) {
    paragraph(fmt::format("## {}. {} ({}, {})", number, code(f.kind), to_string(f.severity), to_string(f.strength)));
    if (number > 1) answer({.accused = &f, .what = f.title, .where = f.where, .why = f.why});
    std::string subject = f.subject.symbol.empty() ? std::string() : code(f.subject.symbol);
    auto add = [&](const std::string& text) { subject += (subject.empty() ? "" : " ") + text; };
    if (!f.subject.type.empty()) add(code(f.subject.type));
    if (f.subject.address) add("at " + code(*f.subject.address));
    if (!subject.empty())
        paragraph(fmt::format("**{}** {}", f.subject.what.empty() ? "Subject" : escaped(f.subject.what), subject));
    if (!f.explanation.empty()) paragraph(escaped(f.explanation));
    if (!f.evidence.empty()) {
        paragraph("**Evidence**\n");
        for (const auto& e : f.evidence) {
            std::string text = escaped(e.what);
            if (!e.value.empty()) text += ": " + code(e.value);
            if (e.address && !e.value.contains(hex(e.address->value))) text += " at " + code(*e.address);
            if (!e.by.empty()) text += fmt::format(" (by {})", escaped(e.by));
            line("- " + text);
        }
    }
    if (!f.innocent.empty()) {
        paragraph("**Not ruled out**\n");
        for (const auto& text : f.innocent) line("- " + escaped(text));
    }
    if (f.kind.starts_with("crash.") && report_.crash) {
        draw([&] { terminal::print_crash(context_, *report_.crash, &f); });
    } else {
        draw([&] { terminal::print_concerned(context_, f); });
        draw([&] { terminal::print_own_cycle(context_, f); });
        draw([&] { terminal::print_snapshots(context_, f.snapshots); });
    }
    if (!f.verify.empty()) {
        paragraph("**Check by hand**");
        std::string commands;
        for (const auto& v : f.verify) {
            if (!commands.empty()) commands += '\n';
            if (!v.tool.empty() && !v.command.starts_with(v.tool)) commands += escape_for_terminal(v.tool) + ": ";
            commands += escape_for_terminal(v.command);
        }
        fence("sh", commands);
    }
    if (!f.remedy.empty()) paragraph("**Next** " + escaped(f.remedy));
    if (const auto* step = plain_.runbook_for(f)) {
        auto title = escaped(step->title);
        if (!step->owner.empty()) title += (title.empty() ? "" : " · ") + escaped(step->owner);
        paragraph("**Runbook** " + title + "\n");
        for (std::size_t i = 0; i < step->steps.size(); ++i)
            line(fmt::format("{}. {}", i + 1, escaped(step->steps[i])));
        for (const auto& link : step->links) line(fmt::format("- <{}>", escape_for_terminal(link)));
    }
}

void Writer::diagram() {
    const auto graph = mermaid_wait_graph(report_);
    if (graph.text.empty()) return;
    paragraph("## Who waits for whom");
    fence("mermaid", graph.text.substr(0, graph.text.size() - 1));
    if (!graph.left_out.empty()) paragraph(graph.left_out);
}

void Writer::closing() {
    if (!report_.gaps.empty()) {
        paragraph("## Not known\n");
        for (const auto& gap : report_.gaps) {
            std::string text = escaped(gap.what);
            if (!gap.why.empty()) text += ": " + escaped(gap.why);
            if (!gap.weakens.empty()) text += fmt::format(" (weakens {})", escaped(gap.weakens));
            line("- " + text);
        }
    }
    if (report_.detectors.empty()) return;
    paragraph("## Detectors\n");
    for (const auto& d : report_.detectors) {
        if (d.outcome == Outcome::not_applicable && !plain_.all) continue;
        std::string text = fmt::format("{} {}", code(d.id), to_string(d.outcome));
        if (d.checked + d.unchecked != 0) text += fmt::format(", {} of {} checked", d.checked, d.checked + d.unchecked);
        if (!d.reason.empty()) text += ": " + escaped(d.reason);
        line("- " + text);
    }
}

std::string_view Writer::view_title() const {
    if (report_.command == "goroutines" || report_.command == "goroutine") return "Goroutines";
    if (report_.command == "threads" || report_.command == "thread") return "Threads";
    if (report_.command == "maps") return "Mappings";
    if (report_.command == "locks") return "Locks";
    if (report_.command == "heap") return "Heap";
    return "Address";
}

void Writer::write() {
    bool whole = report_.command == "analyze" || report_.command == "crash" || report_.command.empty();
    if (!whole) {
        line(fmt::format("# {}", view_title()));
        head();
        draw([&] { terminal::print_view(context_); });
        if (report_.command == "locks") diagram();
        closing();
        return;
    }
    auto shown = [&](const Finding& f) { return f.severity >= plain_.min_severity; };
    const Answer opening = answer_of(report_, plain_.min_severity);
    const bool looked = report_.command != "crash";  // which asks how it ended, no more
    line("# " + (opening.accused == nullptr && (looked || opening.what.empty())
                     ? looked ? "No defect was found" : "How it ended"
                     : escaped(opening.what)));
    answer(opening);
    head();
    std::size_t number = 0;
    for (const auto& f : report_.findings)
        if (shown(f)) finding(f, ++number);
    draw([&] { terminal::print_crash_section(context_); });
    if (report_.command == "analyze" && report_.goroutines && !report_.goroutines->empty()) {
        paragraph("## Goroutines");
        draw([&] { terminal::print_goroutine_summary(context_); });
    }
    if (report_.command == "analyze" && terminal::has_thread_summary(context_)) {
        paragraph("## Threads");
        draw([&] { terminal::print_thread_summary(context_); });
    }
    if (report_.command == "analyze" && report_.heap) {
        paragraph("## Heap");
        draw([&] { terminal::print_heap_summary(context_); });
    }
    if (report_.wait_graph && !report_.wait_graph->cycles.empty()) diagram();
    closing();
}

}  // namespace

void render_markdown(const Report& report, const RenderOptions& options, const Sink& sink) {
    Writer(report, options, sink).write();
}

}  // namespace incident::report
