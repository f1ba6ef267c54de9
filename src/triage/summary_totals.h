// What a summary counts, whatever it is written as. Private to triage.
#pragma once

#include <cstddef>
#include <map>
#include <string_view>
#include <vector>

#include "triage/summary.h"

namespace incident::triage {

struct Totals {
    std::size_t cores = 0, copies = 0, analysed = 0, with_findings = 0, quiet = 0;
    std::vector<std::size_t> doubtful;  ///< quiet, but the input was incomplete
    std::vector<std::size_t> awaited;   ///< quiet, and others wait for somebody in it
    std::map<Outcome, std::vector<std::size_t>> lost;
    double cpu = 0;
};

Totals totals_of(const Summary& summary);
std::string_view words_of(Outcome outcome);

}  // namespace incident::triage
