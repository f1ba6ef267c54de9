#include "report/answer.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/text.h"
#include "report/actors.h"
#include "report/wait_summary.h"

namespace incident::report {

namespace {

/// Names, variables and types of the program are in there.
bool without_executable(const Report& report) {
    if (!report.input.executable) return false;
    const ModuleStatus status = report.input.executable->status;
    return status == ModuleStatus::missing || status == ModuleStatus::mismatched;
}

/// What the detectors looked at: said where they found nothing.
std::string quiet_why(const Report& report) {
    auto with = [&](Outcome o) {
        return static_cast<std::size_t>(std::ranges::count(report.detectors, o, &DetectorOutcome::outcome));
    };
    std::string text;
    // Only remarks are left where this is said; what the program did itself is told as what happened.
    const auto remarks = static_cast<std::size_t>(
        std::ranges::count_if(report.findings, [](const Finding& f) { return !f.kind.starts_with("crash."); }));
    const std::size_t clean = with(Outcome::clean) + (remarks != 0 ? with(Outcome::found) : 0);
    const std::size_t partial = with(Outcome::partial);
    if (clean != 0)
        text = fmt::format("{} looked at {} and found {}", count_of(clean, "detector"),
                           without_executable(report) ? "what is there" : "everything",
                           remarks == 0 ? "nothing" : fmt::format("no defect, but {}", count_of(remarks, "remark")));
    if (partial != 0 && clean != 0) text += fmt::format(", {} could not check everything", partial);
    if (partial != 0 && clean == 0)
        text = fmt::format("{} looked, none could check everything", count_of(partial, "detector"));
    auto damage = static_cast<std::size_t>(std::ranges::count_if(report.gaps, &Gap::damage));
    if (damage != 0)
        text += fmt::format("{}{} in the input: silence is not health here", text.empty() ? "" : "; ",
                            count_of(damage, "gap"));
    return text;
}

/// "sync.Mutex main.db.mu", "sync.Mutex 0xc000012340"
std::string object_text(const WaitEdge& edge) {
    const std::string what = edge.what.substr(0, edge.what.find(','));  // a channel says how full it is
    const bool unnamed = edge.object && what.find(' ') == std::string::npos;
    return unnamed ? fmt::format("{} {:#x}", what, edge.object->value) : what;
}

/// "goroutine 21 (sync.Mutex main.db.mu, main.flush will release it)": who it is, and of what, if for one thing only.
std::string awaited_name(const WaitGraph& graph, const Blocker& blocker) {
    std::string name = name_of(blocker.who);
    const auto edge = std::ranges::find(graph.edges, blocker.who, &WaitEdge::to);
    if (blocker.objects != 1 || edge == graph.edges.end()) return name;
    return fmt::format("{} ({}{}{})", name, object_text(*edge), edge->basis.empty() ? "" : ", ", edge->basis);
}

/// What it does, and where: ": IO wait in main.flush db.go:33".
std::string doing(const Report& report, const Blocker& blocker) {
    std::string text;
    if (blocker.who.goroutine && report.goroutines) {
        auto g = std::ranges::find(*report.goroutines, *blocker.who.goroutine, &Goroutine::id);
        if (g != report.goroutines->end())
            text = fmt::format(": {}", g->wait_reason.empty() ? g->status : g->wait_reason);
    }
    const Frame* frame = telling_frame(report, blocker.who);
    const std::string place = frame == nullptr ? std::string() : place_text(*frame);
    return place.empty() ? text : fmt::format("{}{} in {}", text, blocker.who.goroutine ? "" : ",", place);
}

/// An edge of the one thing for which all of them are waited on, an RWMutex with several readers; null: several things.
const WaitEdge* only_object(const WaitGraph& graph, std::span<const Blocker> blockers) {
    const WaitEdge* common = nullptr;
    for (const Blocker& blocker : blockers) {
        const auto edge = std::ranges::find(graph.edges, blocker.who, &WaitEdge::to);
        if (blocker.objects != 1 || edge == graph.edges.end() || !edge->object) return nullptr;
        if (common != nullptr && common->object != edge->object) return nullptr;
        common = &*edge;
    }
    return common;
}

/// "goroutine 21 and goroutine 22", "goroutine 21 and 19 more"
std::string names_of(std::span<const Blocker> blockers) {
    const std::string first = name_of(blockers[0].who);
    if (blockers.size() == 2) return fmt::format("{} and {}", first, name_of(blockers[1].who));
    return fmt::format("{} and {}{} more", first, blockers.size() < most_blockers ? "" : "at least ",
                       blockers.size() - 1);
}

/// What all of them do; empty: not the same.
std::string all_doing(const Report& report, std::span<const Blocker> blockers) {
    const std::string first = doing(report, blockers[0]);
    const bool all = std::ranges::all_of(blockers, [&](const Blocker& b) { return doing(report, b) == first; });
    return all ? first : std::string();
}

/// Titles count alike what differs in its place only: then the place tells them apart.
std::string title_of(const std::vector<Finding>& findings, const Finding& finding) {
    const auto alike = std::ranges::count(findings, finding.title, &Finding::title);
    if (alike < 2 || finding.where.empty()) return finding.title;
    return fmt::format("{} in {}", finding.title, finding.where.substr(0, finding.where.find(" (")));
}

/// A long first finding hides those below it.
std::string others(const std::vector<Finding>& findings, const Finding& first, Severity min_severity) {
    constexpr std::size_t most = 3;
    std::string text;
    std::size_t count = 0;
    for (const Finding& f : findings) {
        if (&f == &first || f.severity < min_severity) continue;
        if (count++ < most) text += (text.empty() ? "" : "; ") + title_of(findings, f);
    }
    return count > most ? fmt::format("{}; {} more", text, count - most) : text;
}

}  // namespace

std::string most_awaited(const Report& report) {
    if (!report.wait_graph || report.wait_graph->blockers.empty()) return {};
    const std::span<const Blocker> blockers = report.wait_graph->blockers;
    const auto waiters = [](const Blocker& b) { return b.total.value_or(b.direct); };
    const Blocker& first = blockers.front();
    if (waiters(first) < 2) return {};
    const auto less = std::ranges::find_if(blockers, [&](const Blocker& b) { return waiters(b) != waiters(first); });
    const auto tied = blockers.first(static_cast<std::size_t>(less - blockers.begin()));
    const std::string count = fmt::format("{}{} others wait for ", first.total ? "" : "at least ", waiters(first));
    const auto whole = [&](const Blocker& b) { return awaited_name(*report.wait_graph, b) + doing(report, b); };
    if (tied.size() == 1) return count + whole(first);
    if (const WaitEdge* common = only_object(*report.wait_graph, tied)) {
        const bool all = common->alternatives == Alternatives::none;
        return fmt::format("{}{}{} ({}){}", count, all ? "" : "one of ", names_of(tied), object_text(*common),
                           all_doing(report, tied));
    }
    if (tied.size() == 2) return fmt::format("{}{}; {} for {}", count, whole(tied[0]), waiters(first), whole(tied[1]));
    return fmt::format("{}each of {}{}", count, names_of(tied), all_doing(report, tied));
}

Answer answer_of(const Report& report, Severity min_severity) {
    auto first = std::ranges::find_if(report.findings, [&](const Finding& f) { return f.severity >= min_severity; });
    if (first != report.findings.end())
        return {.accused = &*first,
                .what = first->title,
                .where = first->where,
                .why = first->why,
                .also = others(report.findings, *first, min_severity)};
    // Nothing to accuse: say how the process ended, and what was looked at.
    Answer answer;
    auto ended = std::ranges::find_if(report.findings, [](const Finding& f) { return f.kind.starts_with("crash."); });
    const bool known = ended != report.findings.end();
    if (known) answer = {.what = ended->title, .where = ended->where, .why = ended->why, .next = ended->remedy};
    if (!known && report.crash) answer.what = report.crash->cause;
    if (report.command == "analyze") {
        answer.what += answer.what.empty() ? "No defect was found" : "; no defect was found";
        const bool blind = without_executable(report);
        if (blind) answer.what += ", but its executable was not there to look with";
        answer.why = quiet_why(report);
        const auto before = [&](const std::string& text) {
            if (!text.empty()) answer.why = answer.why.empty() ? text : text + "; " + answer.why;
        };
        if (known) before(ended->explanation);
        before(most_awaited(report));
        if (known && blind) before(ended->why);
    }
    return answer;
}

}  // namespace incident::report
