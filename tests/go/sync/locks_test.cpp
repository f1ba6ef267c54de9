// The words of sync's locks, and of channels, on memory written down by hand.
#include "go/sync/locks.h"

#include <gtest/gtest.h>

#include "support/memory_builder.h"

namespace incident::go {
namespace {

RuntimeLayout layout_of(int minor) {
    RuntimeLayout layout;
    layout.sync_Mutex.state.offset = 0;
    layout.sync_Mutex.sema.offset = 4;
    layout.sync_RWMutex.w.offset = 0;
    layout.sync_RWMutex.writerSem.offset = 8;
    layout.sync_RWMutex.readerSem.offset = 12;
    layout.sync_RWMutex.readerCount.offset = 16;
    layout.sync_RWMutex.readerWait.offset = 20;
    if (minor >= 18) {
        layout.sync_WaitGroup.state.offset = 0;
        layout.sync_WaitGroup.sema.offset = 8;
    }
    return layout;
}

Result<LockState> read(WaitObject type, std::vector<std::uint32_t> words, int minor = 24, std::uint64_t at = 0x1000) {
    MemoryBuilder memory;
    memory.at(at);
    for (auto word : words) memory.u32(word);
    auto target = memory.build();
    return read_lock(target, layout_of(minor), type, Address{at});
}

TEST(LockWords, Mutex) {
    struct Case {
        std::uint32_t state;
        std::string words;
    };
    for (const auto& [state, words] : std::vector<Case>{{0, "unlocked"},
                                                        {1, "locked"},
                                                        {0x19, "locked, 3 waiters"},
                                                        {0x9, "locked, 1 waiter"},
                                                        {0xa, "unlocked, one waiter woken, 1 waiter"},
                                                        {0xd, "locked, starving, 1 waiter"}}) {
        auto lock = read(WaitObject::mutex, {state, 0});
        ASSERT_TRUE(lock);
        EXPECT_EQ(lock->words(), words);
        EXPECT_EQ(lock->raw, state);
        EXPECT_EQ(lock->exclusively_held(), (state & 1) != 0);
    }
}

TEST(LockWords, RWMutex) {
    constexpr std::uint32_t writer = 0xc0000000;  // -1<<30
    struct Case {
        std::vector<std::uint32_t> words;
        std::string text;
        bool held;
    };
    for (const auto& [words, text, held] : std::vector<Case>{
             {{0, 0, 0, 0, 0, 0}, "no readers", false},
             {{0, 0, 0, 0, 2, 0}, "2 readers", false},
             {{1, 0, 0, 0, writer, 0}, "held by a writer", true},
             {{1, 0, 0, 0, writer + 3, 0}, "held by a writer, 3 new readers behind it", true},
             {{1, 0, 0, 0, writer + 21, 20}, "writer waits for 20 readers, 1 new reader behind it", false},
             {{1 + (2 << 3), 0, 0, 0, writer, 0}, "held by a writer, 2 more writers", true}}) {
        auto lock = read(WaitObject::rwmutex, words);
        ASSERT_TRUE(lock) << text;
        EXPECT_EQ(lock->words(), text);
        EXPECT_EQ(lock->exclusively_held(), held) << text;
    }
}

TEST(LockWords, WaitGroupsOfBothShapes) {
    auto lock = read(WaitObject::wait_group, {1, 3, 0});  // low half: waiters, high half: counter
    ASSERT_TRUE(lock);
    EXPECT_EQ(lock->counter, 3);
    EXPECT_EQ(lock->group_waiters, 1u);
    EXPECT_EQ(lock->words(), "counter 3, 1 waiter");
    // 1.25 keeps a flag in the top bit of the waiters.
    EXPECT_EQ(read(WaitObject::wait_group, {0x80000002, 1, 0})->group_waiters, 2u);
    // Up to 1.17 three words, of which the aligned pair is the state.
    EXPECT_EQ(read(WaitObject::wait_group, {1, 5, 0}, 17, 0x1000)->counter, 5);
    EXPECT_EQ(read(WaitObject::wait_group, {0, 1, 5}, 17, 0x1004)->counter, 5);
}

TEST(LockWords, WhatCannotBeALockIsCorrupt) {
    auto is_corrupt = [](const Result<LockState>& lock) { return !lock && lock.error().kind == ErrorKind::corrupt; };
    EXPECT_TRUE(is_corrupt(read(WaitObject::mutex, {0x80000001, 0})));
    EXPECT_TRUE(is_corrupt(read(WaitObject::rwmutex, {0, 0, 0, 0, 1, 2})));  // more to wait for than readers
    EXPECT_TRUE(is_corrupt(read(WaitObject::rwmutex, {0, 0, 0, 0, 0xffffffff - (1u << 30), 0})));
    EXPECT_TRUE(is_corrupt(read(WaitObject::rwmutex, {0, 0, 0, 0, 1, 0xffffffff})));
    EXPECT_TRUE(is_corrupt(read(WaitObject::wait_group, {0, 0xffffffff, 0})));
    auto unmapped =
        read_lock(MemoryBuilder().at(0x1000).u32(0).build(), layout_of(24), WaitObject::mutex, Address{0x9000});
    ASSERT_FALSE(unmapped);
    EXPECT_EQ(unmapped.error().kind, ErrorKind::unmapped);
}

TEST(LockWords, AReaderInTheMiddleOfRUnlockIsNoContradiction) {
    constexpr std::uint32_t writer = 0xc0000000;  // readerCount: -(1 << 30) and no reader
    const auto leaving = read(WaitObject::rwmutex, {1, 0, 0, 0, writer, 1});
    ASSERT_TRUE(leaving);
    EXPECT_TRUE(leaving->writer);
    EXPECT_EQ(leaving->reader_wait, 1);
    const auto left_before_lock_added = read(WaitObject::rwmutex, {1, 0, 0, 0, writer + 1, 0xffffffff});
    ASSERT_TRUE(left_before_lock_added);
    EXPECT_EQ(left_before_lock_added->reader_wait, -1);
}

TEST(ChannelWords, SayWhoWaits) {
    ChannelSummary channel;
    channel.capacity = 4;
    channel.element = "int";
    EXPECT_EQ(channel.text(), "chan int, 0 of 4 queued");
    channel.queued = 4;
    channel.closed = true;
    channel.senders = 1;
    channel.receivers = 2;
    channel.timer = true;
    channel.timer_runs = true;
    EXPECT_EQ(channel.text(), "chan int, 4 of 4 queued, closed, of a timer, 2 receivers wait, 1 sender waits");
    channel.timer_runs = channel.closed = false;
    EXPECT_EQ(channel.text(),
              "chan int, 4 of 4 queued, of a timer that does not run, 2 receivers wait, 1 sender waits");
}

}  // namespace
}  // namespace incident::go
