// One finding: its rule, its subject, its evidence, whom it concerns, and how a person checks it by hand.
#include <fmt/format.h>

#include <algorithm>

#include "base/text.h"
#include "report/terminal/views.h"

namespace incident::report::terminal {

namespace {

void print_rule(Context& context, const Finding& finding, std::size_t number, std::size_t of) {
    auto& canvas = context.canvas;
    auto ink = ink_of(finding.severity);
    Line tail = canvas.line(ink, to_string(finding.severity))
                    .dot()
                    .add(to_string(finding.strength))
                    .space()
                    .add(Ink::quiet, "━━");
    Line line = canvas.line(Ink::quiet, "━━ ").add(fmt::format("{} of {}", number, of)).add(Ink::quiet, " ━━ ");
    line.add(ink, finding.kind).space();
    unsigned end = canvas.width() > tail.width() + 1 ? canvas.width() - tail.width() - 1 : 0;
    line.fill_to(end, Ink::quiet, "━").space().add(tail);
    canvas.blank();
    canvas.print(line);
}

/// Label rows whose further lines hang two columns in, so that one fact is told from the next.
void print_facts(Context& context, std::string_view label, const std::vector<Line>& facts) {
    auto& canvas = context.canvas;
    bool first = true;
    for (const auto& fact : facts) {
        Line line = canvas.line(Ink::label, first ? label : "").to_column(10);
        canvas.wrap(line.add(fact), 12);
        first = false;
    }
}

std::vector<Line> evidence_lines(Context& context, const Finding& finding) {
    std::vector<Line> lines;
    for (const auto& e : finding.evidence) {
        Line line = context.canvas.line(e.what);
        Line source = context.canvas.line();
        if (!e.value.empty()) source.add(Ink::address, e.value);
        if (e.address && !e.value.contains(hex(e.address->value)))
            source.add(Ink::quiet, source.empty() ? "at " : " at ").add(*e.address);
        if (!e.origin.empty() && e.origin != "core") source.add(Ink::quiet, fmt::format(" (from {})", e.origin));
        if (!e.by.empty()) source.dot().add(Ink::quiet, "by " + e.by);
        if (!source.empty()) line.add(Ink::quiet, " · ").add(source.width() < 50 ? source.keep() : source);
        lines.push_back(std::move(line));
    }
    return lines;
}

void print_subject(Context& context, const Subject& subject) {
    auto& canvas = context.canvas;
    Line line = canvas.line();
    if (!subject.symbol.empty()) line.add(Ink::strong, subject.symbol).space(2);
    if (!subject.type.empty()) line.add(Ink::type, subject.type).space(2);
    if (subject.address) line.add(*subject.address);
    if (!line.empty()) canvas.row(subject.what.empty() ? "subject" : subject.what, line);
}

const Lock* lock_of(const Context& context, const Finding& finding) {
    if (!finding.subject.address || !context.report.locks) return nullptr;
    auto lock = std::ranges::find(*context.report.locks, *finding.subject.address, &Lock::address);
    return lock == context.report.locks->end() ? nullptr : &*lock;
}

/// Whom the finding concerns, one row per place: "goroutines 19, 20  waiting (…)  main.(*Ledger).Apply  ledger.go:41".
void print_parties(Context& context, const Finding& finding) {
    struct Party {
        std::string key;
        Line place, status;
        std::vector<std::int64_t> ids;
        std::uint64_t waited = 0;
    };
    auto& canvas = context.canvas;
    std::vector<Party> parties;
    for (auto id : finding.goroutines) {
        const auto* g = context.goroutine(id);
        const auto* frame = g == nullptr ? nullptr : telling_frame(g->frames.stored());
        Line place = frame == nullptr ? canvas.line() : place_of(context, *frame);
        Line status = g == nullptr ? canvas.line() : status_of(context, *g);
        std::string key;
        for (const auto* part : {&place, &status})
            for (const auto& span : part->spans()) key += span.text + '\0';
        auto party = std::ranges::find(parties, key, &Party::key);
        if (party == parties.end()) {
            parties.push_back({key, std::move(place), std::move(status), {}, 0});
            party = parties.end() - 1;
        }
        party->ids.push_back(id);
        if (g != nullptr && g->waited) party->waited = std::max(party->waited, g->waited->at_least_ns);
    }
    std::vector<Line> lines;
    constexpr std::size_t most = 8;
    std::size_t shown = context.options().all ? parties.size() : std::min(parties.size(), most);
    for (std::size_t i = 0; i < shown; ++i) {
        const auto& p = parties[i];
        Line line = list_of(context, "goroutine", "goroutines", p.ids, 6);
        if (!p.status.empty()) line.space(2).add(p.status);
        if (!p.place.empty()) line.space(2).add(p.place);
        if (p.waited != 0) line.space(2).add(fmt::format("at least {}", human_duration(p.waited)));
        lines.push_back(std::move(line));
    }
    if (shown < parties.size())
        lines.push_back(
            canvas.line(Ink::quiet, fmt::format("… in {} (--all)", count_of(parties.size() - shown, "more place"))));
    for (auto tid : finding.threads) {
        Line line = canvas.line(fmt::format("thread {}", tid));
        const auto* t = context.thread(tid);
        if (t != nullptr && !t->name.empty()) line.space().add(t->name);
        const auto* frame = t == nullptr ? nullptr : telling_frame(t->frames);
        if (frame != nullptr) line.space(2).add(place_of(context, *frame));
        lines.push_back(std::move(line));
    }
    print_facts(context, "concerns", lines);
}

void print_advice(Context& context, const Finding& finding) {
    auto& canvas = context.canvas;
    canvas.blank();
    bool first = true;
    for (const auto& v : finding.verify) {
        // Never broken over lines: it is there to be pasted.
        Line line = canvas.line(Ink::label, first ? "check" : "").to_column(10);
        if (!v.tool.empty() && !v.command.starts_with(v.tool)) line.add(Ink::quiet, v.tool + ": ");
        canvas.print(line.add(v.command));
        first = false;
    }
    if (!finding.remedy.empty()) canvas.row("next", canvas.line(finding.remedy));
    if (const auto* step = context.options().runbook_for(finding)) print_runbook(canvas, *step);
    if (!finding.related.empty()) {
        Line line = canvas.line();
        for (const auto& r : finding.related) line.dot().add(r);
        canvas.row("see also", line);
    }
}

void print_finding(Context& context, const Finding& finding, std::size_t number, std::size_t of) {
    auto& canvas = context.canvas;
    print_rule(context, finding, number, of);
    if (number > 1) {
        canvas.row("what", canvas.line(Ink::strong, finding.title));
        if (!finding.where.empty()) canvas.row("where", canvas.line(finding.where));
        if (!finding.why.empty()) canvas.row("why", canvas.line(finding.why));
    }
    bool crash = finding.kind.starts_with("crash.") && context.report.crash.has_value();
    if (!crash || finding.subject.address != context.report.crash->fault_address)
        print_subject(context, finding.subject);
    if (!crash) print_concerned(context, finding);  // a crash shows its goroutine with the stack
    print_facts(context, "evidence", evidence_lines(context, finding));
    if (!finding.explanation.empty()) print_facts(context, "means", {canvas.line(finding.explanation)});
    std::vector<Line> innocent;
    for (const auto& text : finding.innocent) innocent.push_back(canvas.line(text));
    print_facts(context, "innocent", innocent);
    print_own_cycle(context, finding);
    if (crash)
        print_crash(context, *context.report.crash, &finding);
    else
        print_snapshots(context, finding.snapshots);
    print_advice(context, finding);
}

/// Findings below --min-severity: one line each, so that nothing is hidden and nothing shouts.
void print_minor(Context& context) {
    auto& canvas = context.canvas;
    Table table(canvas, 2, {0, 0});
    std::size_t rows = 0;
    for (const auto& f : context.report.findings) {
        if (f.severity >= context.options().min_severity || f.kind == "crash.requested")
            continue;  // its cause is the WHAT or the crash section
        table.row({canvas.line(Ink::quiet, f.kind), canvas.line(f.title)});
        ++rows;
    }
    if (rows == 0) return;
    canvas.blank();
    canvas.heading("also noted", fmt::format("below --min-severity {}", to_string(context.options().min_severity)));
    table.flush();
}

}  // namespace

/// The cycle that this finding is about: the one with a party of the finding in it.
void print_own_cycle(Context& context, const Finding& finding) {
    if (finding.kind != "lock.cycle" || !context.report.wait_graph) return;
    const auto& graph = *context.report.wait_graph;
    for (const auto& cycle : graph.cycles) {
        bool own = std::ranges::all_of(cycle, [&](std::size_t i) {
            if (i >= graph.edges.size()) return false;
            const auto& from = graph.edges[i].from;
            return from.goroutine
                       ? std::ranges::find(finding.goroutines, *from.goroutine) != finding.goroutines.end()
                       : from.thread && std::ranges::find(finding.threads, *from.thread) != finding.threads.end();
        });
        if (own) print_cycle(context, graph, cycle);
    }
}

void print_concerned(Context& context, const Finding& finding) {
    // A lock's waiters are the parties already.
    if (const auto* lock = lock_of(context, finding))
        print_lock_rows(context, *lock);
    else
        print_parties(context, finding);
}

void print_finding_titles(Context& context) {
    if (context.report.findings.empty()) return;
    auto& canvas = context.canvas;
    canvas.blank();
    canvas.heading("findings", "the command analyze shows them in full");
    Table table(canvas, 2, {0, 0, 0});
    for (const auto& f : context.report.findings)
        table.row({canvas.line(ink_of(f.severity), f.kind),
                   canvas.line(fmt::format("{}, {}", to_string(f.severity), to_string(f.strength))),
                   canvas.line(f.title)});
    table.flush();
}

void print_findings(Context& context) {
    const auto& findings = context.report.findings;
    auto shown = [&](const Finding& f) { return f.severity >= context.options().min_severity; };
    auto of = static_cast<std::size_t>(std::ranges::count_if(findings, shown));
    std::size_t number = 0;
    for (const auto& finding : findings)
        if (shown(finding)) print_finding(context, finding, ++number, of);
    print_minor(context);
}

}  // namespace incident::report::terminal
