// `incident signature` for a person: the signature, then every frame with the rule that took it or left it.
#include <fmt/format.h>

#include "base/text.h"
#include "report/terminal/views.h"
#include "triage/record.h"

namespace incident::triage {

namespace {

using report::terminal::Canvas;
using report::terminal::Ink;
using report::terminal::Table;

Ink ink_of(std::string_view use) {
    if (use == "counts") return Ink::strong;
    return use == "library" ? Ink::plain : Ink::quiet;
}

void print_choices(Canvas& canvas, const Signature& signature) {
    std::string_view stack;
    Table table(canvas, 2, {8, 56, 0});
    std::string last, last_note;
    unsigned repeats = 0;
    auto flush = [&] { table.flush(); };
    for (const auto& choice : signature.choices) {
        if (choice.stack != stack || &choice == &signature.choices.front()) {
            flush();
            stack = choice.stack;
            canvas.blank();
            canvas.heading(stack.empty() ? std::string_view("frames") : stack);
            last.clear();
            last_note.clear();
        }
        // A recursion repeats its frames, and its reasons.
        if (choice.text == last) {
            if (++repeats > 1) continue;
        } else {
            repeats = 0;
        }
        last = choice.text;
        table.row(
            {canvas.line(ink_of(choice.use), choice.use), canvas.line(Ink::function, choice.text),
             canvas.line(Ink::quiet, choice.note == last_note && !choice.note.empty() ? "as above" : choice.note)});
        last_note = choice.note;
    }
    flush();
}

/// What the id is made of; and what else two signatures are compared by.
void print_parts(Canvas& canvas, const Signature& s, unsigned label) {
    auto row = [&](std::string_view name, std::string_view text, Ink ink = Ink::plain) {
        if (!text.empty()) canvas.row(name, canvas.line(ink, text), label);
    };
    row("class", s.klass);
    row("kind", s.kind);
    row(s.klass == "memory" ? "fault" : "message", s.message);
    std::string_view name = s.klass == "memory" ? "about" : s.ordered ? "frames" : "places";
    for (const auto& frame : s.frames) {
        row(name, frame.text, Ink::function);
        name = " ";
    }
    if (!s.shape.empty())
        row("compared", fmt::format("{}, in {}: with builds of it that have no names", s.shape, s.program), Ink::quiet);
}

}  // namespace

void explain_signature(const report::Report& report, const Signature& s, const report::RenderOptions& options,
                       const report::Sink& sink) {
    Canvas canvas(options, sink);
    report::terminal::Context context(canvas, report);
    report::terminal::print_header(context);
    canvas.blank();
    constexpr unsigned label = 11;
    canvas.row("SIGNATURE", canvas.line(Ink::strong, s.text), label);
    canvas.row("ID", canvas.line(s.id), label);
    canvas.blank();
    print_parts(canvas, s, label);
    if (!s.notes.empty()) canvas.blank();
    std::string_view name = "why";
    for (const auto& note : s.notes) {
        canvas.row(name, canvas.line(note), label);
        name = "";
    }
    print_choices(canvas, s);
}

void explain_signature_markdown(const report::Report& report, const Signature& s, const report::Sink& sink) {
    report::RenderOptions plain;
    std::string drawn;
    explain_signature(report, s, plain, [&](std::string_view text) { return drawn += text, true; });
    std::string fence = "```";
    while (drawn.contains(fence)) fence += '`';
    sink(fmt::format("# Signature {}\n\n{}text\n{}{}\n", s.id, fence, drawn, fence));
}

}  // namespace incident::triage
