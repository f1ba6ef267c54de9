// SARIF 2.1.0: one run, one rule per finding kind that occurs, one result per finding.
#pragma once

#include "report/renderers.h"
#include "report/report.h"

namespace incident::report {

void render_sarif(const Report& report, const RenderOptions& options, const Sink& sink);

}  // namespace incident::report
