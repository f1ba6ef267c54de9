#include "report/terminal/terminal.h"

#include "report/terminal/views.h"

namespace incident::report {

void render_terminal(const Report& report, const RenderOptions& options, const Sink& sink) {
    terminal::Canvas canvas(options, sink);
    terminal::Context context(canvas, report);
    terminal::print_header(context);
    terminal::print_answer(context);
    terminal::print_findings(context);
    terminal::print_gaps(context);
    terminal::print_detectors(context);
}

}  // namespace incident::report
