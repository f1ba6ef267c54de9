// The human report: three lines that answer what, where and why, then the findings with their evidence, annotated
// frames, and what is not known. Read canvas.h and parts.h first: escaping, width and colour live there, and no view
// repeats them.
#pragma once

#include "report/renderers.h"

namespace incident::report {

void render_terminal(const Report& report, const RenderOptions& options, const Sink& sink);

}  // namespace incident::report
