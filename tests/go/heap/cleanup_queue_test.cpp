// The queue of cleanups on built memory: what waits, what ran already, and lists that are none.
#include "go/heap/cleanup_queue.h"

#include <gtest/gtest.h>

#include "support/memory_builder.h"

namespace incident::go {
namespace {

constexpr std::uint64_t first = 0x7f0000001000, second = 0x7f0000002000;

void put_block(MemoryBuilder& memory, std::uint64_t at, std::uint64_t next, std::uint32_t count) {
    memory.at(at).u64(0).u64(0).u64(next).u32(count).u32(0).zeros(480);
}

TEST(CleanupQueue, EveryBlockGivesItsEntriesInUse) {
    MemoryBuilder memory;
    put_block(memory, first, second, 2);
    put_block(memory, second, 0, 20);  // full: (512 - 32) / 24
    auto target = memory.build();
    auto found = CleanupBlocks{.entry_words = 3}.read(target, Address{first});
    ASSERT_TRUE(found);
    ASSERT_EQ(found->size(), 2u);
    EXPECT_EQ((*found)[0], (AddressRange{Address{first + 32}, Address{first + 32 + 48}}));
    EXPECT_EQ((*found)[1].size(), 20u * 24);
}

TEST(CleanupQueue, EmptyBlocksAndNoBlocksGiveNothing) {
    MemoryBuilder memory;
    put_block(memory, first, 0, 0);
    auto target = memory.build();
    EXPECT_EQ((CleanupBlocks{.entry_words = 1}.read(target, Address{first})), std::vector<AddressRange>{});
    EXPECT_EQ((CleanupBlocks{.entry_words = 1}.read(target, Address{})), std::vector<AddressRange>{});
}

TEST(CleanupQueue, WhatCanBeNoBlockIsNoQueue) {
    MemoryBuilder memory;
    put_block(memory, first, 0, 21);
    put_block(memory, second, second, 1);        // a cycle
    put_block(memory, 0x7f0000003000, 0x10, 1);  // leads nowhere
    auto target = memory.build();
    const CleanupBlocks blocks{.entry_words = 3};
    EXPECT_FALSE(blocks.read(target, Address{first}));
    EXPECT_FALSE(blocks.read(target, Address{second}));
    EXPECT_FALSE(blocks.read(target, Address{0x7f0000003000}));
    EXPECT_FALSE(blocks.read(target, Address{first + 8}));
    EXPECT_FALSE(blocks.read(target, Address{0x1000}));
}

}  // namespace
}  // namespace incident::go
