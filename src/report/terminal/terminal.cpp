// Which command prints which sections.
#include "report/terminal/terminal.h"

#include <fmt/format.h>

#include "report/terminal/views.h"

namespace incident::report {

namespace terminal {
namespace {

void print_one_goroutine(Context& context) {
    if (!context.report.goroutines || context.report.goroutines->empty())
        return context.canvas.print(context.canvas.line("no such goroutine"));
    for (const auto& g : *context.report.goroutines) print_goroutine(context, g);
}

void print_one_thread(Context& context) {
    if (!context.report.threads || context.report.threads->empty())
        return context.canvas.print(context.canvas.line("no such thread"));
    for (const auto& t : *context.report.threads) print_thread(context, t);
}

/// True when a finding that is shown has printed the crash with it.
bool crash_is_in_findings(const Context& context) {
    for (const auto& f : context.report.findings)
        if (f.kind.starts_with("crash.") && f.severity >= context.options().min_severity) return true;
    return false;
}

}  // namespace

void print_crash_section(Context& context) {
    if (!context.report.crash || crash_is_in_findings(context)) return;
    const auto& crash = *context.report.crash;
    // Cored from outside: whatever ran at that moment is nobody's fault, and `crash` or --all still shows it.
    if (crash.kind == CrashKind::requested && context.report.command == "analyze" && !context.options().all) return;
    context.canvas.blank();
    print_crash(context, crash);
}

void print_view(Context& context) {
    const auto& command = context.report.command;
    if (command == "goroutines")
        return context.options().group ? print_goroutine_groups(context) : print_goroutine_list(context);
    if (command == "goroutine") return print_one_goroutine(context);
    if (command == "threads") return print_threads(context);
    if (command == "thread") return print_one_thread(context);
    if (command == "maps") return print_maps(context);
    if (command == "locate") return print_location(context);
    if (command == "read") return print_words(context);
    if (command == "heap") {
        print_heap(context);
        return print_findings(context);
    }
    if (command == "locks") {
        print_locks(context);
        return print_finding_titles(context);
    }
    print_answer(context);
    print_findings(context);
    print_crash_section(context);
    if (command != "analyze") return;
    print_goroutine_summary(context);
    print_thread_summary(context);
    print_wait_summary(context);
    print_heap_summary(context);
}

}  // namespace terminal

void render_terminal(const Report& report, const RenderOptions& options, const Sink& sink) {
    terminal::Canvas canvas(options, sink);
    terminal::Context context(canvas, report);
    terminal::print_header(context);
    terminal::print_view(context);
    terminal::print_gaps(context);
    terminal::print_detectors(context);
}

}  // namespace incident::report
