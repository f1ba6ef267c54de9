// One cluster is a heading that says how many, the signature, when, and where it ran; then its example as the report
// draws it. What could not be analysed is listed by reason: a core that killed its reader is news of its own.
#include "triage/summary.h"

#include <fmt/chrono.h>
#include <fmt/format.h>

#include <algorithm>
#include <ctime>
#include <map>
#include <ranges>
#include <unordered_map>

#include "base/text.h"
#include "report/terminal/parts.h"
#include "triage/runbook.h"
#include "triage/summary_totals.h"

namespace incident::triage {

namespace {

using report::terminal::Canvas;
using report::terminal::grouped;
using report::terminal::Ink;
using report::terminal::Line;

std::string date(std::int64_t seconds) {
    if (seconds <= 0) return "unknown";
    auto time = static_cast<std::time_t>(seconds);
    std::tm utc{};
    if (::gmtime_r(&time, &utc) == nullptr) return "unknown";  // a file's time may lie anywhere
    return fmt::format("{:%Y-%m-%d %H:%M:%S}Z", utc);
}

std::string duration(double seconds) {
    constexpr double most = 1e10;  // in nanoseconds it still fits
    return human_duration(static_cast<std::uint64_t>(std::min(seconds, most) * 1e9));
}

/// "ledger (12), settle (3)": who appears, most often first, at most `most` of them.
std::string census(const std::vector<Record>& records, const std::vector<std::size_t>& of,
                   std::string (*what)(const Record&), std::size_t most = 4) {
    std::map<std::string, std::size_t> count;
    for (auto i : of)
        if (auto text = what(records[i]); !text.empty()) ++count[text];
    std::vector<std::pair<std::size_t, std::string>> order;
    for (auto& [text, n] : count) order.emplace_back(n, text);
    std::ranges::stable_sort(order, [](auto& a, auto& b) { return a.first > b.first; });
    std::string out;
    for (std::size_t i = 0; i < order.size() && i < most; ++i) {
        if (!out.empty()) out += ", ";
        out += order.size() == 1 ? order[i].second : fmt::format("{} ({})", order[i].second, order[i].first);
    }
    if (order.size() > most) out += fmt::format(", {} more", order.size() - most);
    return out;
}

std::string program_of(const Record& r) { return r.verdict ? r.verdict->program : r.name.program; }
std::string go_of(const Record& r) { return r.verdict ? r.verdict->go : ""; }

std::string head_line(const Summary& s, const Totals& t) {
    std::size_t lost = 0;
    for (const auto& [outcome, records] : t.lost) lost += records.size();
    auto fresh = std::ranges::count_if(s.clustering.clusters, &Cluster::is_new);
    std::string text =
        fmt::format("{}: {}", count_of(t.cores, "core"), count_of(s.clustering.clusters.size(), "problem"));
    if (fresh != 0) text += fmt::format(" ({} new)", fresh);
    if (t.quiet != 0) text += fmt::format(", {} quiet", t.quiet);
    if (lost != 0) text += fmt::format(", {} not analysed", lost);
    if (t.copies != 0) text += fmt::format(", {}", count_of(t.copies, "copy", "copies"));
    return text;
}

class TerminalSummary {
public:
    TerminalSummary(const Summary& s, const report::RenderOptions& options, const report::Sink& sink)
        : s_(s), canvas_(options, sink) {}
    void write();

private:
    void cluster(const Cluster& c, std::size_t number);
    void variants(const Cluster& c);
    void runbook(const Verdict& v);
    void lost(const Totals& t);
    void awaited(const std::vector<std::size_t>& which);
    void doubtful(const std::vector<std::size_t>& which);
    void row(std::string_view label, std::string_view text, Ink ink = Ink::plain) {
        if (!text.empty()) canvas_.row(label, canvas_.line(ink, text));
    }

    const Summary& s_;
    Canvas canvas_;
};

void TerminalSummary::variants(const Cluster& c) {
    constexpr std::size_t most = 6;
    for (std::size_t i = 1; i < c.variants.size() && i <= most; ++i) {
        const auto& v = c.variants[i];
        canvas_.row(i == 1 ? "also" : "", canvas_.line(fmt::format("{} × {}", v.records.size(), v.reason)));
    }
    if (c.variants.size() > most + 1)
        canvas_.row("", canvas_.line(fmt::format("and {} more variants", c.variants.size() - most - 1)));
}

void TerminalSummary::runbook(const Verdict& v) {
    if (s_.runbook == nullptr) return;
    const auto* entry = s_.runbook->find(v.signature.kind, &v.signature);
    if (entry == nullptr) return;
    report::terminal::print_runbook(canvas_, entry->step);
}

void TerminalSummary::cluster(const Cluster& c, std::size_t number) {
    const auto& records = s_.result.records;
    const auto& example = records[c.example];
    const auto& v = *example.verdict;
    std::string_view rule = canvas_.options().unicode ? "━" : "=";
    canvas_.blank();
    Line title = canvas_.line();
    title.fill_to(2, Ink::quiet, rule).space();
    title.add(Ink::quiet, fmt::format("{} of {}", number, s_.clustering.clusters.size())).space();
    title.fill_to(title.width() + 2, Ink::quiet, rule).space();
    title.add(Ink::strong, count_of(c.records.size(), "core")).dot().add(Ink::error, v.signature.kind).space();
    if (c.is_new) title.add(Ink::warning, "NEW").space();
    title.fill_to(canvas_.width(), Ink::quiet, rule);
    canvas_.print(title);
    row("what", v.what, Ink::strong);
    row("where", v.where);
    row("why", v.why);
    row("signature", fmt::format("{}  {}", v.signature.id, v.signature.text));
    variants(c);
    auto when = c.first_seen == c.last_seen ? date(c.last_seen)
                                            : fmt::format("{} to {}", date(c.first_seen), date(c.last_seen));
    if (c.last_seen > 0) row("seen", when);
    auto who = census(records, c.records, program_of);
    if (auto go = census(records, c.records, go_of); !go.empty()) who += " · " + go;
    row("in", who);
    runbook(v);
    row("example", fmt::format("incident analyze {}", shell_quoted(example.path)), Ink::source);
    if (v.excerpt.empty()) return;
    canvas_.blank();
    for (std::size_t at = 0; at < v.excerpt.size();) {
        auto end = std::min(v.excerpt.find('\n', at), v.excerpt.size());
        canvas_.print(canvas_.line(Ink::quiet, canvas_.options().unicode ? "│ " : "| ")
                          .add(std::string_view(v.excerpt).substr(at, end - at)));
        at = end + 1;
    }
}

/// Of hangs: on whom they hang.
void TerminalSummary::awaited(const std::vector<std::size_t>& which) {
    constexpr std::size_t most = 8;
    for (std::size_t i = 0; i < which.size() && i < most; ++i) {
        const auto& r = s_.result.records[which[i]];
        canvas_.wrap(canvas_.line("    ").add(Ink::source, r.path).space(2).add(r.verdict->awaited), 6);
    }
    if (which.size() > most) canvas_.print(canvas_.line(fmt::format("    … {} more", which.size() - most)));
}

void TerminalSummary::doubtful(const std::vector<std::size_t>& which) {
    constexpr std::size_t most = 8;
    canvas_.print(canvas_.line(Ink::warning,
                               fmt::format("  of {} the input was damaged or a file was missing: silence is no health",
                                           count_of(which.size(), "core"))));
    for (std::size_t i = 0; i < which.size() && i < most; ++i) {
        const auto& r = s_.result.records[which[i]];
        auto line = canvas_.line("    ").add(Ink::source, r.path);
        if (!r.verdict->gaps.empty()) line.space().add(Ink::quiet, r.verdict->gaps.front());
        canvas_.wrap(line, 6);
    }
    if (which.size() > most) canvas_.print(canvas_.line(fmt::format("    … {} more", which.size() - most)));
}

void TerminalSummary::lost(const Totals& t) {
    if (t.lost.empty()) return;
    canvas_.blank();
    canvas_.heading("Not analysed");
    constexpr std::size_t most = 20;
    for (const auto& [outcome, which] : t.lost) {
        canvas_.blank();
        canvas_.print(canvas_.line("  ").add(Ink::warning, fmt::format("{}: {}", words_of(outcome), which.size())));
        report::terminal::Table table(canvas_, 4, {60, 0});
        for (std::size_t i = 0; i < which.size() && i < most; ++i)
            table.row({canvas_.line(Ink::source, s_.result.records[which[i]].path),
                       canvas_.line(Ink::quiet, s_.result.records[which[i]].reason)});
        table.flush();
        if (which.size() > most) canvas_.print(canvas_.line(fmt::format("    … {} more", which.size() - most)));
    }
}

void TerminalSummary::write() {
    auto t = totals_of(s_);
    Line head = canvas_.line(Ink::quiet, "incident " + s_.version).dot().add(Ink::strong, head_line(s_, t));
    if (s_.seconds > 0)
        head.dot().add(fmt::format("{} wall, {} of processor time", duration(s_.seconds), duration(t.cpu)));
    canvas_.wrap(head, 2);
    if (s_.result.other_shards != 0)
        canvas_.print(canvas_.line(fmt::format("{} belong to other shards", count_of(s_.result.other_shards, "core"))));
    if (s_.result.known_before != 0)
        canvas_.print(
            canvas_.line(fmt::format("{} stood in the store already", count_of(s_.result.known_before, "core"))));
    if (!s_.clustering.clusters.empty()) {
        canvas_.blank();
        report::terminal::Table table(canvas_, 2, {0, 0, 0, 30, 0});
        table.right(0).right(1).one_line();
        table.row({canvas_.line(), canvas_.line(Ink::quiet, "cores"), canvas_.line(), canvas_.line(Ink::quiet, "kind"),
                   canvas_.line(Ink::quiet, "what, in its newest example")});
        // Where several say the same words, the places that tell them apart come first.
        std::unordered_map<std::string_view, std::size_t> alike;
        for (const auto& c : s_.clustering.clusters) ++alike[s_.result.records[c.example].verdict->what];
        std::size_t number = 0;
        for (const auto& c : s_.clustering.clusters) {
            const auto& v = *s_.result.records[c.example].verdict;
            std::string what;
            if (alike[v.what] > 1)
                for (const auto& place : v.signature.frames) what += (what.empty() ? "" : ", ") + place.text;
            what += (what.empty() ? "" : ": ") + v.what;
            table.row({canvas_.line(fmt::format("{}.", ++number)), canvas_.line(grouped(c.records.size())),
                       c.is_new ? canvas_.line(Ink::warning, "NEW") : canvas_.line(),
                       canvas_.line(Ink::error, v.signature.kind), canvas_.line(what)});
        }
        table.flush();
    }
    std::size_t number = 0;
    for (const auto& c : s_.clustering.clusters) {
        if (!canvas_.alive()) return;
        cluster(c, ++number);
    }
    if (t.quiet != 0) {
        canvas_.blank();
        canvas_.heading("Quiet", "cored on request, as far as is known, and nothing was found");
        canvas_.wrap(canvas_.line(fmt::format("  {}: {}", count_of(t.quiet, "core"),
                                              census(s_.result.records, s_.clustering.quiet, program_of, 12))),
                     4);
        awaited(t.awaited);
        if (!t.doubtful.empty()) doubtful(t.doubtful);
    }
    lost(t);
    if (!s_.result.complaints.empty()) {
        canvas_.blank();
        canvas_.heading("Not read");
        for (const auto& text : s_.result.complaints) canvas_.wrap(canvas_.line("  " + text), 4);
    }
}

}  // namespace

void render_summary_terminal(const Summary& summary, const report::RenderOptions& options, const report::Sink& sink) {
    TerminalSummary(summary, options, sink).write();
}

namespace {

std::string in_markdown(std::string_view raw) {
    std::string out;
    for (char c : escape_for_terminal(raw)) {
        if (std::string_view("\\`*[]<>#|~&").contains(c)) out += '\\';
        out += c;
    }
    return out;
}

std::string as_code(std::string_view raw) {
    auto text = escape_for_terminal(raw);
    std::string fence = "`";
    while (text.contains(fence)) fence += '`';
    return fence.size() == 1 ? fmt::format("`{}`", text) : fmt::format("{} {} {}", fence, text, fence);
}

void cluster_in_markdown(const Summary& s, const Cluster& c, std::size_t number, std::string& out) {
    const auto& records = s.result.records;
    const auto& example = records[c.example];
    const auto& v = *example.verdict;
    auto back = std::back_inserter(out);
    fmt::format_to(back, "\n## {}. {} {}{}\n\n", number, count_of(c.records.size(), "core"), as_code(v.signature.kind),
                   c.is_new ? ", new" : "");
    auto row = [&](std::string_view label, std::string_view text) {
        if (!text.empty()) fmt::format_to(back, "**{}** {}  \n", label, text);
    };
    row("What", in_markdown(v.what));
    row("Where", in_markdown(v.where));
    row("Why", in_markdown(v.why));
    row("Signature", as_code(v.signature.id) + " " + as_code(v.signature.text));
    for (std::size_t i = 1; i < c.variants.size(); ++i)
        row("Also", fmt::format("{} × {}", c.variants[i].records.size(), in_markdown(c.variants[i].reason)));
    row("Seen", c.first_seen == c.last_seen ? date(c.last_seen)
                                            : fmt::format("{} to {}", date(c.first_seen), date(c.last_seen)));
    auto go = census(records, c.records, go_of);
    row("In", in_markdown(census(records, c.records, program_of) + (go.empty() ? "" : " · " + go)));
    row("Example", as_code(example.path));
    if (s.runbook != nullptr) {
        if (const auto* entry = s.runbook->find(v.signature.kind, &v.signature)) {
            fmt::format_to(back, "\n**Runbook** {}{}\n\n", in_markdown(entry->step.title),
                           entry->step.owner.empty() ? "" : " · " + in_markdown(entry->step.owner));
            for (std::size_t i = 0; i < entry->step.steps.size(); ++i)
                fmt::format_to(back, "{}. {}\n", i + 1, in_markdown(entry->step.steps[i]));
            for (const auto& link : entry->step.links) fmt::format_to(back, "- <{}>\n", escape_for_terminal(link));
        }
    }
    if (v.excerpt.empty()) return;
    std::string fence = "```";
    while (v.excerpt.contains(fence)) fence += '`';
    fmt::format_to(back, "\n{}text\n", fence);
    for (auto line : v.excerpt | std::views::split('\n'))
        out += escape_for_terminal(std::string_view(line.begin(), line.end())) + "\n";
    fmt::format_to(back, "{}\n", fence);
}

}  // namespace

void render_summary_markdown(const Summary& s, const report::RenderOptions&, const report::Sink& sink) {
    auto t = totals_of(s);
    std::string out = fmt::format("# {}\n", head_line(s, t));
    if (!s.clustering.clusters.empty()) {
        out += "\n| | cores | kind | what |\n|---|---|---|---|\n";
        std::size_t number = 0;
        for (const auto& c : s.clustering.clusters) {
            const auto& v = *s.result.records[c.example].verdict;
            out += fmt::format("| {} | {}{} | {} | {} |\n", ++number, c.records.size(), c.is_new ? " **new**" : "",
                               as_code(v.signature.kind), in_markdown(v.what));
        }
    }
    std::size_t number = 0;
    for (const auto& c : s.clustering.clusters) {
        cluster_in_markdown(s, c, ++number, out);
        if (!sink(out)) return;
        out.clear();
    }
    if (t.quiet != 0)
        out += fmt::format("\n## Quiet\n\n{}, cored on request, as far as is known, and nothing was found: {}.\n",
                           count_of(t.quiet, "core"),
                           in_markdown(census(s.result.records, s.clustering.quiet, program_of, 12)));
    constexpr std::size_t most_awaited = 8;
    if (!t.awaited.empty()) out += '\n';
    for (const std::size_t i : t.awaited | std::views::take(most_awaited))
        out += fmt::format("- {}: {}\n", as_code(s.result.records[i].path),
                           in_markdown(s.result.records[i].verdict->awaited));
    if (!t.lost.empty()) {
        out += "\n## Not analysed\n\n";
        for (const auto& [outcome, which] : t.lost)
            for (auto i : which)
                out += fmt::format("- {}: {} ({})\n", as_code(s.result.records[i].path), words_of(outcome),
                                   in_markdown(s.result.records[i].reason));
    }
    if (!s.result.complaints.empty()) {
        out += "\n## Not read\n\n";
        for (const auto& text : s.result.complaints) out += fmt::format("- {}\n", in_markdown(text));
    }
    sink(out);
}

}  // namespace incident::triage
