// Cycles among those who wait: written down as edges.
#include <gtest/gtest.h>

#include "process/wait_graph.h"

namespace incident {
namespace {

BlockEdge lock_edge(std::uint32_t from, std::uint32_t to) { return {.from = from, .to = to, .lock = 0}; }
BlockEdge channel_edge(std::uint32_t from, std::uint32_t to) { return {.from = from, .to = to}; }

TEST(WaitCycles, OneOfAllHoldersOrEveryServer) {
    // 0 → 1 → 0 by locks; 2 waits for 0 and for 3, who is free.
    EXPECT_EQ(find_cycles(4, {lock_edge(0, 1), lock_edge(1, 0), lock_edge(2, 0), lock_edge(2, 3)}).size(), 1u);
    // 0 waits on a channel that 1 or 2 will serve; 1 waits for 0: only when 2 is stuck as well is this the end.
    EXPECT_TRUE(find_cycles(3, {channel_edge(0, 1), channel_edge(0, 2), lock_edge(1, 0)}).empty());
    EXPECT_FALSE(find_cycles(3, {channel_edge(0, 1), channel_edge(0, 2), lock_edge(1, 0), lock_edge(2, 0)}).empty());
}

TEST(WaitCycles, SomebodyOfUnknownMindMayServe) {
    std::vector<BlockEdge> edges{channel_edge(0, 1), lock_edge(1, 0)};
    EXPECT_EQ(find_cycles(2, edges).size(), 1u);
    edges[0].others = true;
    EXPECT_TRUE(find_cycles(2, edges).empty());
}

TEST(WaitCycles, LongChainsInBothOrders) {
    constexpr std::uint32_t count = 300'000;
    std::vector<BlockEdge> up, down;
    for (std::uint32_t i = 0; i + 1 < count; ++i) {
        up.push_back(lock_edge(i, i + 1));
        down.push_back(lock_edge(i + 1, i));
    }
    EXPECT_TRUE(find_cycles(count, up).empty());
    EXPECT_TRUE(find_cycles(count, down).empty());
    up.push_back(lock_edge(count - 1, 0));
    auto cycles = find_cycles(count, up);
    ASSERT_EQ(cycles.size(), 1u);
    EXPECT_EQ(cycles[0].size(), count);
}

}  // namespace
}  // namespace incident
