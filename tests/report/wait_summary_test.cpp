// Chains, blockers and the diagram of hand-made wait-for graphs.
#include "report/wait_summary.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "report/mermaid.h"
#include "report/renderers.h"

namespace incident::report {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::Not;

Actor goroutine(std::int64_t id) { return {id, std::nullopt}; }
Actor thread(std::int32_t tid) { return {std::nullopt, tid}; }

WaitGraph graph_of(std::vector<std::pair<Actor, Actor>> edges) {
    WaitGraph graph;
    for (auto& [from, to] : edges)
        graph.edges.push_back({from, to, "sync.Mutex", "", Address{0x1000 + graph.edges.size() * 16}});
    return graph;
}

std::vector<std::int64_t> ids(const WaitGraph& graph, const WaitChain& chain) {
    std::vector<std::int64_t> list{graph.edges[chain.edges.front()].from.goroutine.value_or(-1)};
    for (auto e : chain.edges) list.push_back(graph.edges[e].to.goroutine.value_or(-1));
    return list;
}

TEST(WaitSummary, LongestChainAndWhoBlocksMost) {
    auto graph = graph_of({{goroutine(4), goroutine(3)},
                           {goroutine(3), goroutine(2)},
                           {goroutine(2), goroutine(1)},
                           {goroutine(9), goroutine(1)},
                           {goroutine(8), goroutine(7)}});
    summarize(graph, {});
    ASSERT_EQ(graph.chains.size(), 1u);
    EXPECT_THAT(ids(graph, graph.chains[0]), ElementsAre(4, 3, 2, 1));
    ASSERT_EQ(graph.blockers.size(), 2u);
    EXPECT_EQ(graph.blockers[0].who, goroutine(1));
    EXPECT_EQ(graph.blockers[0].direct, 2u);
    EXPECT_EQ(graph.blockers[0].total, 4u);
    EXPECT_EQ(graph.blockers[1].who, goroutine(7));
    EXPECT_EQ(graph.blockers[1].total, 1u);
}

TEST(WaitSummary, AChainMayEndInACycleOrInAThread) {
    auto graph = graph_of({{goroutine(1), goroutine(2)},
                           {goroutine(2), goroutine(1)},
                           {goroutine(5), goroutine(4)},
                           {goroutine(4), goroutine(1)},
                           {goroutine(11), goroutine(10)},
                           {goroutine(10), thread(77)}});
    summarize(graph, {});
    ASSERT_EQ(graph.chains.size(), 2u);
    EXPECT_TRUE(graph.chains[0].into_cycle);
    EXPECT_THAT(ids(graph, graph.chains[0]), ElementsAre(5, 4, 1));
    EXPECT_FALSE(graph.chains[1].into_cycle);
    EXPECT_THAT(ids(graph, graph.chains[1]), ElementsAre(11, 10, -1));
    ASSERT_EQ(graph.blockers.size(), 3u);
    EXPECT_TRUE(graph.blockers[0].in_cycle);
    EXPECT_EQ(graph.blockers[0].total, 3u);  // the other of the cycle, and two behind it
    EXPECT_EQ(graph.blockers[2].who, thread(77));
}

TEST(WaitSummary, ManyHoldersCountEachWaiterOnce) {
    // A writer waits for three readers; two wait behind it for the same three.
    std::vector<std::pair<Actor, Actor>> edges;
    for (int waiter : {10, 11, 12})
        for (int reader : {1, 2, 3}) edges.emplace_back(goroutine(waiter), goroutine(reader));
    auto graph = graph_of(edges);
    for (auto& edge : graph.edges) edge.object = Address{0x2000};
    summarize(graph, {});
    EXPECT_TRUE(graph.chains.empty());
    ASSERT_EQ(graph.blockers.size(), 3u);
    for (auto& blocker : graph.blockers) {
        EXPECT_EQ(blocker.total, 3u);
        EXPECT_EQ(blocker.objects, 1u);
    }
}

// 2 waits for one of 1 and 3 to serve a channel, and 1 for a lock of 2: it is 3 on whom both of them hang.
TEST(WaitSummary, ACircleWithAWayOutIsNone) {
    auto graph = graph_of({{goroutine(2), goroutine(1)}, {goroutine(2), goroutine(3)}, {goroutine(1), goroutine(2)}});
    graph.edges[0].alternatives = graph.edges[1].alternatives = Alternatives::known;
    summarize(graph, {});
    ASSERT_EQ(graph.blockers.size(), 1u);
    EXPECT_EQ(graph.blockers[0].who, goroutine(3));
    EXPECT_EQ(graph.blockers[0].total, 2u);
    // Of a lock that both of them hold, 2 needs both.
    graph.edges[0].alternatives = graph.edges[1].alternatives = Alternatives::none;
    summarize(graph, {});
    ASSERT_EQ(graph.blockers.size(), 3u);
    EXPECT_EQ(std::ranges::count(graph.blockers, true, &Blocker::in_cycle), 2);
}

TEST(WaitSummary, WhomSomebodyUnknownMayServeIsInNoCycle) {
    auto graph = graph_of({{goroutine(2), goroutine(1)}, {goroutine(1), goroutine(2)}});
    graph.edges[0].alternatives = Alternatives::known;
    summarize(graph, {});
    ASSERT_EQ(graph.blockers.size(), 2u);
    EXPECT_TRUE(graph.blockers[0].in_cycle && graph.blockers[1].in_cycle);
    graph.edges[0].alternatives = Alternatives::unknown;
    summarize(graph, {});
    ASSERT_EQ(graph.blockers.size(), 1u);
    EXPECT_EQ(graph.blockers[0].who, goroutine(2));
    EXPECT_FALSE(graph.blockers[0].in_cycle);
}

TEST(WaitSummary, WhoMayReleaseIsToldApart) {
    WaitGraph graph;
    Lock lock{.address = {0x10},
              .type = "sync.Mutex",
              .where = "",
              .state = {},
              .waiters = {{goroutine(5), "lock"}, {goroutine(6), "lock"}},
              .holders = {{goroutine(1), "may release it", Strength::possible, true}}};
    summarize(graph, std::vector{lock, lock});
    ASSERT_EQ(graph.blockers.size(), 1u);
    EXPECT_EQ(graph.blockers[0].direct, 0u);
    EXPECT_EQ(graph.blockers[0].possibly, 4u);
}

TEST(WaitSummary, ALongChainNeedsNoStack) {
    std::vector<std::pair<Actor, Actor>> edges;
    for (int i = 0; i < 200000; ++i) edges.emplace_back(goroutine(i + 1), goroutine(i));
    auto graph = graph_of(edges);
    summarize(graph, {});
    ASSERT_EQ(graph.chains.size(), 1u);
    EXPECT_EQ(graph.chains[0].edges.size(), 200000u);
    EXPECT_EQ(graph.blockers.at(0).total, 200000u);
}

Report report_of(WaitGraph graph) {
    Report report;
    report.command = "locks";
    report.locks.emplace();
    summarize(graph, {});
    report.wait_graph = std::move(graph);
    return report;
}

TEST(Mermaid, CannotBeBrokenOutOf) {
    auto graph = graph_of({{goroutine(1), goroutine(2)}});
    graph.edges[0].what = "a\"]; click n0 \"javascript:x\" %%{init: {}}%% <script> `b` #quot; \n```\n| end";
    auto text = mermaid_wait_graph(report_of(graph)).text;
    for (const char* bad : {"\"]; click", "%%", "<script", "`", "#quot;", "{", "\\n```"})
        EXPECT_THAT(text, Not(HasSubstr(bad))) << bad;
    EXPECT_EQ(mermaid_label("a#b\"c"), "a#35;b#34;c");
    EXPECT_EQ(mermaid_label("main.(*T).f"), "main.(*T).f");
    EXPECT_EQ(mermaid_label("map[*T]*U a_b _c_"), "map[#42;T]#42;U a_b #95;c#95;") << "no emphasis";
    EXPECT_LT(mermaid_label(std::string(5000, 'x')).size(), 100u);
}

TEST(Mermaid, DrawsTheLargestPartAndSaysWhatItLeavesOut) {
    std::vector<std::pair<Actor, Actor>> edges{{goroutine(900), goroutine(901)}};
    for (int i = 0; i < 300; ++i) edges.emplace_back(goroutine(i + 1), goroutine(i));
    auto drawn = mermaid_wait_graph(report_of(graph_of(edges)));
    EXPECT_EQ(drawn.left_out, "60 of 303 goroutines and threads are drawn; 1 more group has no connection to them.");
    EXPECT_LT(drawn.text.size(), 10000u);
    EXPECT_THAT(drawn.text, Not(HasSubstr("901")));
}

TEST(Mermaid, WaitersThatAreAlikeAreOneNode) {
    std::vector<std::pair<Actor, Actor>> edges;
    for (int i = 0; i < 1000; ++i) edges.emplace_back(goroutine(i + 2), goroutine(1));
    auto graph = graph_of(edges);
    for (auto& edge : graph.edges) edge.object = Address{0x2000};
    auto drawn = mermaid_wait_graph(report_of(graph));
    EXPECT_THAT(drawn.text, HasSubstr(", and 999 more like it"));
    EXPECT_EQ(drawn.left_out, "");
}

TEST(Locks, ThousandsThatAreAlikeAreOneRow) {
    Report report;
    report.command = "locks";
    report.locks.emplace();
    for (std::uint64_t i = 0; i < 5000; ++i)
        report.locks->push_back({.address = {0x1000 + i * 8},
                                 .type = "sync.Mutex",
                                 .where = "heap: 16 B object",
                                 .state = {1, true, 1, "locked, 1 waiter"},
                                 .waiters = {{goroutine(static_cast<std::int64_t>(i)), "lock"}},
                                 .holders = {{goroutine(7000), "may release it", Strength::possible, true}}});
    std::string out;
    find_renderer("terminal")->render(report, {}, [&](std::string_view piece) { return out += piece, true; });
    EXPECT_THAT(out, HasSubstr("5,000 locks alike"));
    EXPECT_LT(std::ranges::count(out, '\n'), 30);
    std::string json;
    find_renderer("json")->render(report, {}, [&](std::string_view piece) { return json += piece, true; });
    EXPECT_THAT(json, HasSubstr("0xac38"));  // the last of them: JSON is complete
}

}  // namespace
}  // namespace incident::report
