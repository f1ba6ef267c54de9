#include "report/answer.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/text.h"

namespace incident::report {

namespace {

/// What the detectors looked at: said where they found nothing.
std::string quiet_why(const Report& report) {
    auto with = [&](Outcome o) {
        return static_cast<std::size_t>(std::ranges::count(report.detectors, o, &DetectorOutcome::outcome));
    };
    std::size_t clean = with(Outcome::clean) + with(Outcome::found), partial = with(Outcome::partial);
    std::string text;
    if (clean != 0) text = fmt::format("{} looked at everything and found nothing", count_of(clean, "detector"));
    if (partial != 0 && clean != 0) text += fmt::format(", {} could not check everything", partial);
    if (partial != 0 && clean == 0)
        text = fmt::format("{} looked, none could check everything", count_of(partial, "detector"));
    auto damage = static_cast<std::size_t>(std::ranges::count_if(report.gaps, &Gap::damage));
    if (damage != 0)
        text += fmt::format("{}{} in the input: silence is not health here", text.empty() ? "" : "; ",
                            count_of(damage, "gap"));
    return text;
}

}  // namespace

Answer answer_of(const Report& report, Severity min_severity) {
    auto first = std::ranges::find_if(report.findings, [&](const Finding& f) { return f.severity >= min_severity; });
    if (first != report.findings.end()) return {&*first, first->title, first->where, first->why, {}};
    // Nothing to accuse: say how the process ended, and what was looked at.
    Answer answer;
    auto ended = std::ranges::find_if(report.findings, [](const Finding& f) { return f.kind.starts_with("crash."); });
    const bool known = ended != report.findings.end();
    if (known) answer = {nullptr, ended->title, ended->where, ended->why, ended->remedy};
    if (!known && report.crash) answer.what = report.crash->cause;
    if (report.command == "analyze") {
        answer.what += answer.what.empty() ? "No defect was found" : "; no defect was found";
        answer.why = quiet_why(report);
    }
    return answer;
}

}  // namespace incident::report
