// The report as Markdown, to paste into an incident document.
#pragma once

#include "report/renderers.h"

namespace incident::report {

void render_markdown(const Report& report, const RenderOptions& options, const Sink& sink);

}  // namespace incident::report
