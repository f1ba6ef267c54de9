// Bounded on purpose: a diagram of 10^5 nodes draws nowhere. The largest connected part is drawn, waiters that are
// alike as one node; what is left out is said.
//
// Surprising: Mermaid looks for its directives (%%{…}%%) and for markup inside quoted labels too, and its own escapes
// are #NAME; and #NUMBER;, so everything that could mean anything becomes a number.
#include "report/mermaid.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <map>
#include <numeric>
#include <unordered_map>

#include "base/text.h"
#include "report/terminal/parts.h"
#include "report/wait_summary.h"

namespace incident::report {

namespace {

constexpr std::size_t most_nodes = 60, most_edges = 120;
constexpr std::size_t label_length = 60;

/// Part of a word for Markdown; so is every byte of a character beyond ASCII.
bool is_word(char c) {
    const auto byte = static_cast<unsigned char>(c);
    return byte >= 0x80 || std::isalnum(byte) != 0;
}

class Drawing {
public:
    explicit Drawing(const Report& report) : graph_(*report.wait_graph), nodes_(graph_) {
        if (report.goroutines)
            for (const auto& g : *report.goroutines) goroutines_.emplace(g.id, &g);
        if (report.threads)
            for (const auto& t : *report.threads) threads_.emplace(t.tid, &t);
    }

    MermaidGraph draw();

private:
    std::vector<std::uint32_t> components() const;
    std::string place_of(const Actor& who) const;
    std::string label_of(std::uint32_t node, std::size_t equal) const;
    void group(std::uint32_t component, const std::vector<std::uint32_t>& of);

    struct Node {
        std::uint32_t first = 0;
        std::size_t equal = 1;
    };
    const WaitGraph& graph_;
    WaitNodes nodes_;
    std::unordered_map<std::int64_t, const Goroutine*> goroutines_;
    std::unordered_map<std::int32_t, const Thread*> threads_;
    std::vector<Node> drawn_;
    std::vector<std::uint32_t> drawn_as_;  ///< by node; none: left out
};

/// By node, the lowest node that it is connected with.
std::vector<std::uint32_t> Drawing::components() const {
    std::vector<std::uint32_t> parent(nodes_.size());
    std::iota(parent.begin(), parent.end(), 0u);
    auto root = [&](std::uint32_t node) {
        while (parent[node] != node) node = parent[node] = parent[parent[node]];
        return node;
    };
    for (std::size_t e = 0; e < nodes_.from.size(); ++e) {
        auto a = root(nodes_.from[e]), b = root(nodes_.to[e]);
        if (a != b) parent[std::max(a, b)] = std::min(a, b);
    }
    for (std::uint32_t node = 0; node < parent.size(); ++node) parent[node] = root(node);
    return parent;
}

std::string Drawing::place_of(const Actor& who) const {
    std::span<const Frame> frames;
    if (who.goroutine) {
        if (auto at = goroutines_.find(*who.goroutine); at != goroutines_.end()) frames = at->second->frames.stored();
    } else if (who.thread) {
        if (auto at = threads_.find(*who.thread); at != threads_.end()) frames = at->second->frames;
    }
    const Frame* frame = telling_frame(frames);
    return frame == nullptr ? std::string() : place_text(*frame);
}

std::string Drawing::label_of(std::uint32_t node, std::size_t equal) const {
    const Actor& who = nodes_.actors[node];
    std::string name = name_of(who);
    if (equal > 1) name += fmt::format(", and {} more like it", terminal::grouped(equal - 1));
    std::string place = place_of(who);
    return mermaid_label(name) + (place.empty() ? "" : "<br/>" + mermaid_label(place));
}

/// Nodes with the same place and the same neighbours become one; the first most_nodes of them are drawn, those in
/// cycles and those on whom most hang before others.
void Drawing::group(std::uint32_t component, const std::vector<std::uint32_t>& of) {
    std::map<std::string, std::size_t> alike;
    std::vector<std::vector<std::uint32_t>> groups;
    for (std::uint32_t node = 0; node < nodes_.size(); ++node) {
        if (of[node] != component) continue;
        std::string key;
        if (nodes_.in_cycle[node] || nodes_.in(node).size() + nodes_.out(node).size() > 64) {
            key = fmt::format("{}", node);
        } else {
            key = place_of(nodes_.actors[node]);
            for (auto edge : nodes_.in(node)) key += fmt::format(" <{}", nodes_.from[edge]);
            for (auto edge : nodes_.out(node))
                key += fmt::format(" >{} {:x}", nodes_.to[edge], graph_.edges[edge].object.value_or(Address{}).value);
        }
        auto [at, fresh] = alike.try_emplace(std::move(key), groups.size());
        if (fresh) groups.emplace_back();
        groups[at->second].push_back(node);
    }
    std::ranges::stable_sort(groups, [&](auto& a, auto& b) {
        const bool ca = nodes_.in_cycle[a.front()], cb = nodes_.in_cycle[b.front()];
        if (ca != cb) return ca;
        return nodes_.in(a.front()).size() > nodes_.in(b.front()).size();
    });
    if (groups.size() > most_nodes) groups.resize(most_nodes);
    for (const auto& members : groups) {
        for (auto node : members) drawn_as_[node] = static_cast<std::uint32_t>(drawn_.size());
        drawn_.push_back({members.front(), members.size()});
    }
}

MermaidGraph Drawing::draw() {
    const auto component_of = components();
    std::map<std::uint32_t, std::pair<bool, std::size_t>> sizes;
    for (std::uint32_t node = 0; node < nodes_.size(); ++node) {
        auto& size = sizes[component_of[node]];
        size.first |= nodes_.in_cycle[node];
        ++size.second;
    }
    // The part with a cycle, however small, before the largest.
    const auto largest = std::ranges::max_element(sizes, {}, [](auto& entry) { return entry.second; });
    drawn_as_.assign(nodes_.size(), WaitNodes::none);
    group(largest->first, component_of);

    MermaidGraph out;
    out.text = "flowchart LR\n";
    for (std::size_t i = 0; i < drawn_.size(); ++i)
        out.text += fmt::format("    n{}[\"{}\"]\n", i, label_of(drawn_[i].first, drawn_[i].equal));
    std::map<std::tuple<std::uint32_t, std::uint32_t, std::string>, bool> edges;
    std::size_t hidden_edges = 0;
    std::string in_cycles, lines;
    for (std::size_t e = 0; e < graph_.edges.size(); ++e) {
        const auto from = drawn_as_[nodes_.from[e]], to = drawn_as_[nodes_.to[e]];
        if (from == WaitNodes::none || to == WaitNodes::none) continue;
        const auto& edge = graph_.edges[e];
        std::string what = edge.what;
        if (edge.object && !what.contains("0x")) what += " " + hex(edge.object->value);
        if (edges.contains({from, to, what})) continue;
        if (edges.size() >= most_edges) {
            ++hidden_edges;
            continue;
        }
        if (nodes_.in_cycle[nodes_.from[e]] && nodes_.in_cycle[nodes_.to[e]])
            in_cycles += fmt::format("{}{}", in_cycles.empty() ? "" : ",", edges.size());
        lines += fmt::format("    n{} -->|\"{}\"| n{}\n", from, mermaid_label(what), to);
        edges.emplace(std::tuple{from, to, std::move(what)}, true);
    }
    out.text += lines;
    if (!in_cycles.empty()) out.text += fmt::format("    linkStyle {} stroke:#c00,stroke-width:2px\n", in_cycles);

    std::size_t shown = 0;
    for (auto& node : drawn_) shown += node.equal;
    std::size_t parts = sizes.size() - 1;
    if (shown < nodes_.size())
        out.left_out = fmt::format("{} of {} goroutines and threads are drawn{}.", shown, nodes_.size(),
                                   parts == 0 ? std::string{}
                                              : fmt::format("; {} more {} no connection to them", parts,
                                                            parts == 1 ? "group has" : "groups have"));
    if (hidden_edges != 0)
        out.left_out += fmt::format("{}{} edges are left out.", out.left_out.empty() ? "" : " ", hidden_edges);
    return out;
}

}  // namespace

std::string mermaid_label(std::string_view raw) {
    std::string text = escape_for_terminal(raw);
    if (text.size() > label_length) {
        // The middle goes; not inside a character.
        auto boundary = [&](std::size_t at) {
            while (at < text.size() && (static_cast<unsigned char>(text[at]) & 0xc0) == 0x80) ++at;
            return at;
        };
        text = text.substr(0, boundary(label_length / 2)) + "…" + text.substr(boundary(text.size() - label_length / 2));
    }
    const bool one_star = std::ranges::count(text, '*') == 1;
    std::string out;
    for (std::size_t i = 0; i < text.size(); ++i) {
        const auto byte = static_cast<unsigned char>(text[i]);
        const auto in_word = [&](std::size_t at) { return at < text.size() && is_word(text[at]); };
        // Labels are Markdown too: a pair of stars, or of underscores at the ends of a word, would be emphasis.
        const bool plain = is_word(text[i]) || std::string_view(" .,:/()[]-+=").contains(text[i]) ||
                           (text[i] == '*' && one_star) ||
                           (text[i] == '_' && i > 0 && in_word(i - 1) && in_word(i + 1));
        if (plain)
            out += text[i];
        else
            out += fmt::format("#{};", byte);
    }
    return out;
}

MermaidGraph mermaid_wait_graph(const Report& report) {
    if (!report.wait_graph || report.wait_graph->edges.empty()) return {};
    return Drawing(report).draw();
}

}  // namespace incident::report
