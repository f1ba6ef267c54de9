// Locks and the wait-for graph.
#include <fmt/format.h>

#include <algorithm>

#include "base/text.h"
#include "report/terminal/views.h"

namespace incident::report::terminal {

namespace {

const Frame* frame_of(const Context& context, const Actor& who) {
    if (const auto* g = who.goroutine ? context.goroutine(*who.goroutine) : nullptr) return telling_frame(g->frames);
    if (const auto* t = who.thread ? context.thread(*who.thread) : nullptr) return telling_frame(t->frames);
    return nullptr;
}

/// "main.(*Ledger).Apply  ledger.go:41" of a goroutine or thread, empty when its frames are not known.
Line place_of(const Context& context, const Actor& who) {
    const auto* frame = frame_of(context, who);
    return frame == nullptr ? context.canvas.line() : terminal::place_of(context, *frame);
}

std::uint64_t waited(const Context& context, const Actor& who) {
    const auto* g = who.goroutine ? context.goroutine(*who.goroutine) : nullptr;
    return g != nullptr && g->waited ? g->waited->at_least_ns : 0;
}

Line lock_name(const Context& context, const Lock& lock) {
    Line out = context.canvas.line();
    if (!lock.where.empty()) out.add(Ink::strong, lock.where).space(2);
    if (!lock.type.empty()) out.add(Ink::type, lock.type).space(2);
    return out.add(lock.address);
}

}  // namespace

void print_lock_rows(Context& context, const Lock& lock) {
    auto& canvas = context.canvas;
    Line state = canvas.line(Ink::address, hex(lock.state.raw));
    if (!lock.state.words.empty()) state.add(": ").add(lock.state.words);
    canvas.row("state", state);

    constexpr std::size_t most = 8;
    std::size_t shown = context.options().all ? lock.waiters.size() : std::min(lock.waiters.size(), most);
    Table table(canvas, 0, {10, 0, 8, 52, 32, 0});
    for (std::size_t i = 0; i < shown; ++i) {
        const auto& w = lock.waiters[i];
        const auto* frame = frame_of(context, w.who);
        Line since = canvas.line();
        if (auto ns = waited(context, w.who); ns != 0) since.add(fmt::format("at least {}", human_duration(ns)));
        Line mode = w.mode == "lock" || w.mode == "wait" ? canvas.line() : canvas.line(w.mode);
        Line label = i == 0 ? canvas.line(Ink::label, "waiting").to_column(8) : canvas.line().space(8);
        table.row({std::move(label), actor(context, w.who), std::move(mode),
                   frame == nullptr ? canvas.line() : function_of(context, *frame),
                   frame == nullptr ? canvas.line() : source_of(context, frame->file, frame->line), std::move(since)});
    }
    table.flush();
    if (shown < lock.waiters.size())
        canvas.row("", canvas.line(Ink::quiet, fmt::format("… {} more (--all)", grouped(lock.waiters.size() - shown))));
    for (std::size_t i = 0; i < lock.holders.size(); ++i) {
        const auto& h = lock.holders[i];
        Line line = actor(context, h.who).space(2).add(place_of(context, h.who));
        line.space(2).add(Ink::quiet, fmt::format("{}: ", to_string(h.strength))).add(h.basis);
        canvas.row(i == 0 ? "held by" : "", line);
    }
}

void print_locks(Context& context) {
    auto& canvas = context.canvas;
    if (!context.report.locks) return;
    const auto& locks = *context.report.locks;
    canvas.blank();
    canvas.heading(locks.empty() ? "no lock is held or waited for" : count_of(locks.size(), "lock"));
    for (const auto& lock : locks) {
        if (!canvas.alive()) return;
        canvas.blank();
        canvas.row("lock", lock_name(context, lock));
        print_lock_rows(context, lock);
    }
    print_wait_graph(context);
}

// A loop in the margin, as one draws it on paper; it stays readable at any width and for any length:
//   ┌▶ goroutine 18  main.debit  bank.go:30
//   │    waits for  sync.Mutex main.accounts[2].mu  0xc000118040
//   │    held by    goroutine 21 · pending defer, bank.go:30
//   │  goroutine 21 …
//   └─── held by    goroutine 18 · …
void print_cycle(Context& context, const WaitGraph& graph, const std::vector<std::size_t>& cycle) {
    auto& canvas = context.canvas;
    canvas.blank();
    canvas.heading(fmt::format("cycle of {}", cycle.size()));
    Line gutter = canvas.line().space(2).add(Ink::quiet, "│").space(2);
    for (std::size_t i = 0; i < cycle.size(); ++i) {
        if (cycle[i] >= graph.edges.size()) continue;
        const auto& edge = graph.edges[cycle[i]];
        bool last = i + 1 == cycle.size();
        Line who = i == 0 ? canvas.line().space(2).add(Ink::quiet, "┌▶ ") : gutter;
        Line name =
            canvas.line(Ink::strong, edge.from.goroutine ? fmt::format("goroutine {}", *edge.from.goroutine) : "");
        if (edge.from.thread) name.add(Ink::strong, fmt::format("thread {}", *edge.from.thread));
        canvas.wrap(who.add(name).space(2).add(place_of(context, edge.from)), 7, &gutter);
        Line wait = canvas.line().add(gutter).space(2).add(Ink::label, "waits for").space(2).add(edge.what);
        if (edge.object) wait.space(2).add(*edge.object);
        canvas.wrap(wait, 18, &gutter);
        Line held = last ? canvas.line().space(2).add(Ink::quiet, "└─── ") : canvas.line().add(gutter).space(2);
        held.add(Ink::label, "held by").space(4).add(actor(context, edge.to));
        if (!edge.basis.empty()) held.dot().add(Ink::quiet, edge.basis);
        canvas.wrap(held, 18, last ? nullptr : &gutter);
    }
}

void print_wait_graph(Context& context) {
    auto& canvas = context.canvas;
    if (!context.report.wait_graph) return;
    const auto& graph = *context.report.wait_graph;
    for (const auto& cycle : graph.cycles) print_cycle(context, graph, cycle);
    if (graph.edges.empty()) return;
    canvas.blank();
    canvas.heading("who waits for whom", graph.cycles.empty() ? "no cycle" : "");
    constexpr std::size_t most = 30;
    std::size_t shown = context.options().all ? graph.edges.size() : std::min(graph.edges.size(), most);
    Table table(canvas, 2, {0, 0, 0, 0});
    for (std::size_t i = 0; i < shown; ++i) {
        const auto& e = graph.edges[i];
        table.row({actor(context, e.from), canvas.line(Ink::quiet, "▶ ").add(actor(context, e.to)), canvas.line(e.what),
                   canvas.line(Ink::quiet, e.basis)});
    }
    table.flush();
    if (shown < graph.edges.size())
        canvas.print(canvas.line().space(2).add(Ink::quiet,
                                                fmt::format("… {} more (--all)", grouped(graph.edges.size() - shown))));
}

}  // namespace incident::report::terminal
