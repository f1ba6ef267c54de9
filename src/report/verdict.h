// What a report amounts to: whether it judges at all, and its exit code, one rule for every front-end (contract.md,
// "Exit code").
#pragma once

#include "report/report.h"

namespace incident::report {

inline constexpr int exit_nothing = 0;
inline constexpr int exit_findings = 1;
inline constexpr int exit_unusable = 2;    ///< usage, or the core cannot be analysed at all
inline constexpr int exit_not_health = 3;  ///< silence that must not be read as health

/// Somebody looked for findings: every detector that was asked leaves a row. Not so for the lists.
bool judged(const Report& report);

int exit_code(const Report& report, Severity min_severity);

}  // namespace incident::report
