#include "report/verdict.h"

#include <algorithm>

namespace incident::report {

bool judged(const Report& report) { return !report.detectors.empty() || !report.findings.empty(); }

int exit_code(const Report& report, Severity min_severity) {
    auto counts = [&](const Finding& f) { return f.severity >= min_severity; };
    if (std::ranges::any_of(report.findings, counts)) return exit_findings;
    if (std::ranges::any_of(report.gaps, &Gap::damage) || report.input.core.truncated) return exit_not_health;
    return exit_nothing;
}

}  // namespace incident::report
