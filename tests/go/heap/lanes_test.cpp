// Lanes: however many workers, each node of a graph is reached once, and all end.
#include "go/heap/lanes.h"

#include <gtest/gtest.h>

#include <bit>
#include <random>

namespace incident::go {
namespace {

struct Graph {
    std::vector<std::vector<SlotId>> edges;
    explicit Graph(std::size_t nodes) : edges(nodes) {}
};

/// How often each node was looked into.
std::vector<int> walk(const Graph& graph, std::vector<SlotId> seeds, Lanes<SlotId>& lanes) {
    std::vector<int> looks(graph.edges.size());
    std::vector<char> reached(graph.edges.size());  // each written by its lane's holder alone
    auto work = [&](unsigned) {
        Lanes<SlotId>::Hand hand(lanes);
        auto reach = [&](SlotId node) {
            if (std::exchange(reached[node], 1) == 0) hand.add(node);
        };
        hand.walk(
            [&](std::span<const SlotId> nodes) {
                for (SlotId node : nodes) reach(node);
            },
            [&](SlotId first, std::uint64_t bits) {
                for (; bits != 0; bits &= bits - 1) {
                    const SlotId node = first + static_cast<unsigned>(std::countr_zero(bits));
                    EXPECT_TRUE(hand.holds(node));
                    ++looks[node];
                    for (SlotId to : graph.edges[node]) hand.holds(to) ? reach(to) : hand.send(lanes.of(to), to);
                }
            },
            [] { return false; });
    };
    for (SlotId seed : seeds) lanes.post(lanes.of(seed), seed);
    lanes.run(work);
    EXPECT_TRUE(lanes.empty());
    return looks;
}

constexpr SlotId nodes = 9 << 17;  // stripes enough for all lanes

TEST(Lanes, AChainThatCrossesThemAtEveryStepEnds) {
    Graph chain(nodes);
    const SlotId step = (1 << 17) + 1, length = 100'000;
    for (SlotId i = 0, at = 0; i + 1 < length; ++i, at = (at + step) % nodes) chain.edges[at] = {(at + step) % nodes};
    for (unsigned workers : {1u, 2u, 3u, 8u}) {
        Lanes<SlotId> lanes(workers, nodes);
        const auto looks = walk(chain, {0}, lanes);
        EXPECT_EQ(std::ranges::count(looks, 1), length) << workers;
        EXPECT_EQ(std::ranges::count(looks, 0), nodes - length) << workers;
    }
}

TEST(Lanes, ReachWhatCanBeReachedOnce) {
    std::mt19937 random(3);
    Graph graph(nodes);
    for (auto& edges : graph.edges)
        for (unsigned n = random() % 3; n != 0; --n) edges.push_back(random() % nodes);
    std::vector<SlotId> seeds{1, 70'000, nodes - 1, 1};
    std::vector<int> expected(nodes);
    std::vector<SlotId> stack = seeds;
    while (!stack.empty()) {
        const SlotId node = stack.back();
        stack.pop_back();
        if (std::exchange(expected[node], 1) != 0) continue;
        for (SlotId to : graph.edges[node]) stack.push_back(to);
    }
    for (unsigned workers : {1u, 2u, 5u}) {
        Lanes<SlotId> lanes(workers, nodes);
        EXPECT_EQ(walk(graph, seeds, lanes), expected) << workers;
        EXPECT_EQ(walk(graph, {1}, lanes).size(), nodes) << "lanes serve again";
    }
}

TEST(Lanes, NothingToDoEnds) {
    for (unsigned workers : {1u, 4u}) {
        Lanes<SlotId> lanes(workers, 10);
        EXPECT_EQ(std::ranges::count(walk(Graph(10), {}, lanes), 0), 10);
    }
}

}  // namespace
}  // namespace incident::go
