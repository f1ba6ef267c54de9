#include "triage/summary_totals.h"

#include <algorithm>
#include <iterator>

namespace incident::triage {

Totals totals_of(const Summary& s) {
    Totals t;
    for (std::size_t i = 0; i < s.result.records.size(); ++i) {
        const auto& r = s.result.records[i];
        ++t.cores;
        t.cpu += r.cpu_seconds;
        if (!r.copy_of.empty()) {
            ++t.copies;
        } else if (r.verdict) {
            ++t.analysed;
            t.with_findings += r.exit == 1 ? 1 : 0;
            if (r.exit == 3) t.doubtful.push_back(i);
        } else {
            t.lost[r.outcome].push_back(i);
        }
    }
    t.quiet = s.clustering.quiet.size();
    std::ranges::copy_if(s.clustering.quiet, std::back_inserter(t.awaited),
                         [&](std::size_t i) { return !s.result.records[i].verdict->awaited.empty(); });
    return t;
}

std::string_view words_of(Outcome outcome) {
    switch (outcome) {
        case Outcome::analysed: return "analysed";
        case Outcome::unusable: return "not a core that can be read";
        case Outcome::out_of_time: return "killed at the time limit";
        case Outcome::out_of_memory: return "killed at the memory limit";
        case Outcome::died: return "its reader died";
        case Outcome::failed: return "no verdict";
    }
    return "";
}

}  // namespace incident::triage
