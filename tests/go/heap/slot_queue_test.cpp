// The elevator: everything that waits is taken, once, in the order of the numbers as far as it can be.
#include "go/heap/slot_queue.h"

#include <gtest/gtest.h>

#include <random>
#include <set>

namespace incident::go {
namespace {

std::vector<std::size_t> taken(SlotQueue& queue) {
    std::vector<std::size_t> numbers;
    for (SlotQueue::Block block; queue.take(block);)
        for (std::uint64_t bits = block.bits; bits != 0; bits &= bits - 1)
            numbers.push_back(block.first + static_cast<unsigned>(std::countr_zero(bits)));
    return numbers;
}

TEST(SlotQueue, AnEmptyOneGivesNothing) {
    for (std::size_t limit : {0, 1, 64, 65, 4096, 300000}) {
        SlotQueue queue(limit);
        SlotQueue::Block block;
        EXPECT_TRUE(queue.empty());
        EXPECT_FALSE(queue.take(block));
    }
}

TEST(SlotQueue, WhatWaitsInOneBlockIsTakenTogether) {
    SlotQueue queue(1000);
    for (std::size_t number : {130, 128, 191, 130}) queue.add(number);
    SlotQueue::Block block;
    ASSERT_TRUE(queue.take(block));
    EXPECT_EQ(block.first, 128u);
    EXPECT_EQ(block.bits, std::uint64_t{1} << 63 | 5);
    EXPECT_FALSE(queue.take(block));
    EXPECT_TRUE(queue.empty());
}

TEST(SlotQueue, GoesOneWayAndThenBack) {
    SlotQueue queue(1 << 20);
    SlotQueue::Block block;
    queue.add(500'000);
    ASSERT_TRUE(queue.take(block));  // upwards from the bottom
    for (std::size_t number : {900'000, 100, 500'010, 600'000, 499'000}) queue.add(number);
    EXPECT_EQ(taken(queue), (std::vector<std::size_t>{500'010, 600'000, 900'000, 499'000, 100}));
}

TEST(SlotQueue, RestartsWhereItsWayBegan) {
    SlotQueue queue(1'000'000);
    for (std::size_t number : {100, 500'000, 900'000}) queue.add(number);
    SlotQueue::Block block;
    ASSERT_TRUE(queue.take(block));
    ASSERT_TRUE(queue.take(block));  // that of 500,000
    queue.add(200);                  // behind it
    queue.restart();
    EXPECT_EQ(taken(queue), (std::vector<std::size_t>{200, 900'000}));
    queue.restart();
    EXPECT_TRUE(queue.empty());
}

TEST(SlotQueue, TakesEverythingOnceHoweverItComes) {
    std::mt19937_64 random(7);
    for (std::size_t limit : {70, 5000, 300'000, 20'000'000}) {
        SlotQueue queue(limit);
        std::set<std::size_t> waiting;
        SlotQueue::Block block;
        for (int step = 0; step < 20000; ++step) {
            if (random() % 3 != 0) {
                const std::size_t number = random() % limit;
                queue.add(number);
                waiting.insert(number);
            } else if (random() % 50 == 0) {
                queue.restart();
            } else if (queue.take(block)) {
                EXPECT_NE(block.bits, 0u);
                for (std::uint64_t bits = block.bits; bits != 0; bits &= bits - 1)
                    EXPECT_EQ(waiting.erase(block.first + static_cast<unsigned>(std::countr_zero(bits))), 1u);
            } else {
                EXPECT_TRUE(waiting.empty());
            }
        }
        for (std::size_t number : taken(queue)) EXPECT_EQ(waiting.erase(number), 1u);
        EXPECT_TRUE(waiting.empty());
        EXPECT_TRUE(queue.empty());
    }
}

}  // namespace
}  // namespace incident::go
