// A page of its own: the terminal report in a <pre>, its colours as classes, so that what is seen in a browser or a
// notebook is what was seen on the screen. No script, no link, nothing from elsewhere.
#pragma once

#include "report/renderers.h"

namespace incident::report {

void render_html(const Report& report, const RenderOptions& options, const Sink& sink);

}  // namespace incident::report
