// The wait-for graph as one draws it: cycles as loops in the margin, everything else as trees, each under the one on
// whom the others hang, so that whoever blocks most stands on top. Waiters that are alike share a line.
#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <unordered_map>

#include "base/text.h"
#include "report/terminal/views.h"
#include "report/wait_summary.h"

namespace incident::report::terminal {

namespace {

/// What it does meanwhile: "sleep", "syscall", "running". Of those on whom others hang.
std::string_view busy_with(const Context& context, const Actor& who) {
    const auto* g = who.goroutine ? context.goroutine(*who.goroutine) : nullptr;
    if (g == nullptr) return {};
    return g->wait_reason.empty() ? g->status : g->wait_reason;
}

/// Draws trees, line by line, until there are enough.
class Forest {
public:
    Forest(Context& context, const WaitGraph& graph, const WaitNodes& nodes)
        : context_(context), canvas_(context.canvas), graph_(graph), nodes_(nodes), drawn_(nodes.size(), false) {
        if (context.report.locks)
            for (const auto& lock : *context.report.locks) locks_.emplace(lock.address, &lock);
        const bool all = context.options().all;
        limit_ = all ? SIZE_MAX : 40;
        const std::size_t room = canvas_.width() > 44 ? (canvas_.width() - 44) / 3 : 1;
        depth_limit_ = std::min<std::size_t>(all ? 20 : 12, room);
    }

    void draw();

private:
    static constexpr std::size_t apart = 3;  ///< so many that are alike still get a line each

    struct Group {  ///< waiters in one place for one thing, or a single one for whom others wait in turn
        std::vector<std::uint32_t> edges;
    };
    std::vector<Group> groups_below(std::uint32_t node) const;
    Line names_of(std::span<const std::uint32_t> nodes) const;
    Line for_what(const WaitEdge& edge) const;
    void put(const Group& group, const std::string& prefix, bool last);
    void draw_below(std::uint32_t node, const std::string& prefix, std::size_t depth);

    Context& context_;
    Canvas& canvas_;
    const WaitGraph& graph_;
    const WaitNodes& nodes_;
    std::vector<bool> drawn_;
    std::unordered_map<Address, const Lock*> locks_;
    std::size_t lines_ = 0, limit_ = 0, depth_limit_ = 0;
};

std::vector<Forest::Group> Forest::groups_below(std::uint32_t node) const {
    std::vector<Group> groups;
    std::map<std::tuple<const void*, std::uint32_t, Address>, std::size_t> alike;
    for (std::uint32_t edge : nodes_.in(node)) {
        const std::uint32_t waiter = nodes_.from[edge];
        if (nodes_.in_cycle[waiter] && nodes_.in_cycle[node]) continue;  // the cycle is drawn already
        const Frame* frame = telling_frame(context_, nodes_.actors[waiter]);
        if (!nodes_.in(waiter).empty() || frame == nullptr) {
            groups.push_back({{edge}});
            continue;
        }
        auto [at, fresh] = alike.try_emplace(
            {frame->function.data(), frame->line, graph_.edges[edge].object.value_or(Address{})}, groups.size());
        if (fresh) groups.emplace_back();
        groups[at->second].edges.push_back(edge);
    }
    std::vector<Group> result;
    for (auto& group : groups) {
        if (group.edges.size() > apart && !context_.options().all) {
            result.push_back(std::move(group));
            continue;
        }
        for (std::uint32_t edge : group.edges) result.push_back({{edge}});
    }
    // Those for whom others wait in turn come first: a cut-off tree should lose leaves.
    std::ranges::stable_sort(result, std::greater{},
                             [&](const Group& group) { return !nodes_.in(nodes_.from[group.edges.front()]).empty(); });
    return result;
}

/// "goroutine 19", or "8 goroutines (20, 21, 22 …)"
Line Forest::names_of(std::span<const std::uint32_t> nodes) const {
    if (nodes.size() == 1) return canvas_.line(Ink::strong, name_of(nodes_.actors[nodes.front()]));
    bool goroutines = true;
    std::string ids;
    for (std::size_t i = 0; i < nodes.size(); ++i) {
        const Actor& who = nodes_.actors[nodes[i]];
        goroutines &= who.goroutine.has_value();
        if (i < 3)
            ids += fmt::format("{}{}", i == 0 ? "" : ", ", who.goroutine ? *who.goroutine : who.thread.value_or(0));
    }
    return canvas_.line(Ink::strong, fmt::format("{} {}", grouped(nodes.size()), goroutines ? "goroutines" : "threads"))
        .add(Ink::quiet, fmt::format(" ({}{})", ids, nodes.size() > 3 ? " …" : ""));
}

Line Forest::for_what(const WaitEdge& edge) const {
    Line out = canvas_.line(Ink::quiet, "waits for ").add(edge.what);
    // A lock's address leads to its row above; its holder's basis stands there. A channel has no row.
    if (edge.object && !edge.what.contains("0x")) out.space().add(*edge.object);
    if ((!edge.object || !locks_.contains(*edge.object)) && !edge.basis.empty())
        out.dot().add(Ink::quiet, fmt::format("{}: {}", name_of(edge.to), edge.basis));
    return out;
}

void Forest::put(const Group& group, const std::string& prefix, bool last) {
    const WaitEdge& edge = graph_.edges[group.edges.front()];
    const std::uint32_t waiter = nodes_.from[group.edges.front()];
    Line line = canvas_.line().space(2).add(Ink::quiet, prefix + (last ? "└─ " : "├─ "));
    const unsigned hanging = line.width() + 2;
    std::vector<std::uint32_t> waiters;
    for (std::uint32_t e : group.edges) waiters.push_back(nodes_.from[e]);
    line.add(names_of(waiters));
    if (Line place = place_of(context_, edge.from); !place.empty()) line.space(2).add(place);
    line.space(2).add(for_what(edge));
    if (group.edges.size() == 1 && drawn_[waiter] && !nodes_.in(waiter).empty())
        line.dot().add(Ink::quiet, "drawn above");
    Line gutter = canvas_.line().space(2).add(Ink::quiet, prefix + (last ? "   " : "│  "));
    canvas_.wrap(line, hanging, &gutter);
    ++lines_;
}

void Forest::draw_below(std::uint32_t node, const std::string& prefix, std::size_t depth) {
    drawn_[node] = true;
    const auto groups = groups_below(node);
    for (std::size_t i = 0; i < groups.size(); ++i) {
        const bool last = i + 1 == groups.size();
        const std::uint32_t waiter = nodes_.from[groups[i].edges.front()];
        if (lines_ >= limit_ || depth > depth_limit_) {
            std::size_t left = 0;
            for (std::size_t j = i; j < groups.size(); ++j) left += groups[j].edges.size();
            canvas_.print(canvas_.line().space(2).add(
                Ink::quiet,
                fmt::format("{}└─ … {} more{}", prefix, grouped(left), context_.options().all ? "" : " (--all)")));
            return;
        }
        const bool known = drawn_[waiter];
        put(groups[i], prefix, last);
        if (groups[i].edges.size() == 1 && !known && !nodes_.in(waiter).empty())
            draw_below(waiter, prefix + (last ? "   " : "│  "), depth + 1);
    }
}

void Forest::draw() {
    // Blockers first, in their order; then roots beyond the few that the summary names.
    std::vector<std::uint32_t> roots;
    std::unordered_map<std::uint32_t, const Blocker*> told;
    for (const auto& blocker : graph_.blockers) {
        const std::uint32_t node = nodes_.find(blocker.who);
        if (node == WaitNodes::none || !told.emplace(node, &blocker).second) continue;
        roots.push_back(node);
    }
    for (std::uint32_t node = 0; node < nodes_.size(); ++node)
        if (!told.contains(node) && !nodes_.in(node).empty() && nodes_.ends[node]) roots.push_back(node);
    std::erase_if(roots, [&](std::uint32_t node) { return nodes_.in_cycle[node] && groups_below(node).empty(); });
    // Twenty readers of one lock have the same waiters: one tree.
    std::map<std::string, std::size_t> trees;
    std::vector<std::vector<std::uint32_t>> equal;
    for (std::uint32_t root : roots) {
        std::string key;
        if (const Frame* frame = telling_frame(context_, nodes_.actors[root]))
            key = fmt::format("{} {} ", frame->function, frame->line);
        for (std::uint32_t edge : nodes_.in(root))
            key += fmt::format("{} {:x} ", nodes_.from[edge], graph_.edges[edge].object.value_or(Address{}).value);
        auto [at, fresh] = trees.try_emplace(std::move(key), equal.size());
        if (fresh || context_.options().all) equal.emplace_back();
        equal[context_.options().all ? equal.size() - 1 : at->second].push_back(root);
    }
    std::size_t shown = 0;
    for (; shown < equal.size() && lines_ < limit_ && canvas_.alive(); ++shown) {
        const std::uint32_t root = equal[shown].front();
        const Actor& who = nodes_.actors[root];
        Line line = canvas_.line().space(2).add(names_of(equal[shown])).space(2).add(place_of(context_, who));
        if (nodes_.in_cycle[root])
            line.space(2).add(Ink::warning, "in a cycle");
        else if (auto doing = busy_with(context_, who); !doing.empty())
            line.space(2).add(Ink::quiet, doing);
        canvas_.wrap(line, 4);
        ++lines_;
        draw_below(root, "", 1);
    }
    if (shown < equal.size())
        canvas_.print(canvas_.line().space(2).add(
            Ink::quiet, fmt::format("… {} more who are waited for (--all)", grouped(equal.size() - shown))));
}

/// One row per blocker; those who stand in one place and hold up as many share one.
void print_blockers(Context& context, const WaitGraph& graph) {
    auto& canvas = context.canvas;
    constexpr std::size_t most = 5;
    struct Row {
        const Blocker* blocker;
        std::size_t equal = 1;
    };
    std::vector<Row> rows;
    for (const auto& blocker : graph.blockers) {
        const Frame* place = telling_frame(context, blocker.who);
        auto alike = [&](const Row& row) {
            const Frame* other = telling_frame(context, row.blocker->who);
            return place != nullptr && other != nullptr && place->function == other->function &&
                   place->line == other->line && row.blocker->total == blocker.total &&
                   row.blocker->direct == blocker.direct && row.blocker->possibly == blocker.possibly;
        };
        auto at = context.options().all ? rows.end() : std::ranges::find_if(rows, alike);
        if (at != rows.end())
            ++at->equal;
        else
            rows.push_back({&blocker});
    }
    if (!context.options().all && rows.size() > most) rows.resize(most);
    Table table(canvas, 2, {0, 0, 0, 0});
    for (const auto& [blocker, equal] : rows) {
        const std::uint64_t total = blocker->total.value_or(blocker->direct);
        Line blocks = canvas.line();
        if (total != 0) {
            blocks.add(Ink::strong, fmt::format("{} {}", grouped(total), total == 1 ? "other waits" : "others wait"));
            if (!blocker->total) blocks.add(" or more");
            if (total > blocker->direct) blocks.add(fmt::format(", {} directly", grouped(blocker->direct)));
            if (blocker->objects > 1) blocks.add(fmt::format(", for {} locks or channels", grouped(blocker->objects)));
        }
        if (blocker->possibly != 0)
            blocks.add(fmt::format("{} {} for locks that it may be the one to release",
                                   total != 0 ? "; perhaps" : "perhaps", grouped(blocker->possibly)));
        Line doing = canvas.line();
        if (blocker->in_cycle)
            doing.add(Ink::warning, "in a cycle");
        else
            doing.add(Ink::quiet, busy_with(context, blocker->who));
        Line who = canvas.line(Ink::strong, name_of(blocker->who));
        if (equal > 1) who.add(Ink::quiet, fmt::format(", and {} more like it", grouped(equal - 1)));
        Line place = canvas.line();
        if (const auto* frame = telling_frame(context, blocker->who)) {
            place = brief_function_of(context, *frame);
            place.space(2).add(source_of(context, frame->file, frame->line));
        }
        table.row({std::move(who), std::move(place), std::move(doing), std::move(blocks)});
    }
    if (rows.empty()) return;
    canvas.blank();
    canvas.heading("who blocks most");
    table.flush();
}

void print_chains(Context& context, const WaitGraph& graph) {
    auto& canvas = context.canvas;
    if (graph.chains.empty()) return;
    constexpr std::size_t most = 3, ends = 5;
    canvas.blank();
    canvas.heading("longest chains of waiting", "each waits for the next");
    for (std::size_t i = 0; i < graph.chains.size() && (i < most || context.options().all); ++i) {
        const auto& chain = graph.chains[i];
        Line line =
            canvas.line().space(2).add(Ink::strong, fmt::format("{} steps", grouped(chain.edges.size()))).space(2);
        auto number = [](const Actor& who) { return who.goroutine ? fmt::format("{}", *who.goroutine) : name_of(who); };
        line.add(name_of(graph.edges[chain.edges.front()].from));
        for (std::size_t e = 0; e < chain.edges.size(); ++e) {
            if (!context.options().all && chain.edges.size() > 2 * ends + 2 && e == ends) {
                const std::size_t left = chain.edges.size() - 2 * ends;
                line.add(Ink::quiet, " ▶ ").add(Ink::quiet, fmt::format("… {} more", grouped(left)));
                e += left;
            }
            line.add(Ink::quiet, " ▶ ").add(number(graph.edges[chain.edges[e]].to));
        }
        const Actor& last = graph.edges[chain.edges.back()].to;
        line.dot().add(Ink::quiet, "at its end ").add(place_of(context, last));
        if (chain.into_cycle)
            line.add(Ink::warning, ", in a cycle");
        else if (auto doing = busy_with(context, last); !doing.empty())
            line.add(Ink::quiet, fmt::format(", {}", doing));
        if (chain.alike != 0)
            line.dot().add(Ink::quiet, fmt::format("{} more of this length end there", grouped(chain.alike)));
        canvas.wrap(line, 4);
    }
}

}  // namespace

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
        canvas.wrap(who.add(Ink::strong, name_of(edge.from)).space(2).add(place_of(context, edge.from)), 7, &gutter);
        Line wait = canvas.line().add(gutter).space(2).add(Ink::label, "waits for").space(2).add(edge.what);
        if (edge.object) wait.space(2).add(*edge.object);
        canvas.wrap(wait, 18, &gutter);
        Line held = last ? canvas.line().space(2).add(Ink::quiet, "└─── ") : canvas.line().add(gutter).space(2);
        held.add(Ink::label, "held by").space(4).add(actor(context, edge.to));
        if (!edge.basis.empty()) held.dot().add(Ink::quiet, edge.basis);
        canvas.wrap(held, 18, last ? nullptr : &gutter);
    }
}

void print_wait_summary(Context& context) {
    if (!context.report.wait_graph || context.report.wait_graph->blockers.size() < 2)
        return;  // one: the answer says it
    const Blocker& first = context.report.wait_graph->blockers.front();
    if (first.total.value_or(first.direct) >= 2) print_blockers(context, *context.report.wait_graph);
}

void print_wait_graph(Context& context) {
    auto& canvas = context.canvas;
    if (!context.report.wait_graph) return;
    const auto& graph = *context.report.wait_graph;
    for (const auto& cycle : graph.cycles) print_cycle(context, graph, cycle);
    const WaitNodes nodes(graph);
    const bool rest = std::ranges::any_of(nodes.in_cycle, std::logical_not{});  // else the cycles were all of it
    if (rest || nodes.size() == 0) print_blockers(context, graph);
    print_chains(context, graph);
    if (!rest) return;
    canvas.blank();
    canvas.heading("who waits for whom", graph.cycles.empty() ? "no cycle" : "beside the cycle");
    Forest(context, graph, nodes).draw();
}

}  // namespace incident::report::terminal
