// The answer that a report opens with, the same words in every format.
#pragma once

#include <string>

#include "report/report.h"

namespace incident::report {

struct Answer {
    const Finding* accused = nullptr;    ///< it is told in full below; null: nothing at or above the severity asked for
    std::string what{}, where{}, why{};  ///< empty: nothing to say
    std::string also{};                  ///< what the other findings say
    std::string next{};                  ///< only where no finding is told, which has its own
};

/// On whom the others hang: "200 others wait for goroutine 21 (sync.Mutex main.db.mu, main.flush will release it): IO
/// wait in main.flush db.go:33". Where somebody begins who asks why a process hung; no accusation. Of several that hold
/// up as many, the others too. Empty: fewer than two wait.
std::string most_awaited(const Report& report);

/// Of `analyze` and `crash`.
Answer answer_of(const Report& report, Severity min_severity);

}  // namespace incident::report
