// Stacks of goroutines that stand in the same place are kept once, and come back as they were walked.
#include "go/stacks/stack_set.h"

#include <gtest/gtest.h>

namespace incident::go {
namespace {

constexpr AddressRange bounds_at(std::uint64_t begin) { return {{begin}, {begin + 0x1000}}; }

GoStack walked_at(std::uint64_t end) {
    GoStack stack;
    for (std::uint64_t i = 0; i < 3; ++i) {
        PhysicalFrame physical;
        physical.pc = Address{0x401000 + i};
        physical.sp = Address{end - 0x100 + i * 0x40};
        physical.cfa = physical.sp + 0x40;
        if (i != 0) physical.bp = physical.cfa - 16;  // the innermost one's is not known
        stack.physical.push_back(physical);
        report::Frame frame;
        frame.pc = physical.pc;
        frame.sp = physical.sp;
        frame.cfa = physical.cfa;
        frame.function = "main.wait";
        stack.frames.push_back(frame);
        stack.frame_of.push_back(static_cast<std::uint32_t>(i));
    }
    stack.complete = true;
    stack.end = "goexit";
    return stack;
}

void expect_equal(const GoStack& a, const GoStack& b) {
    EXPECT_EQ(a.physical, b.physical);
    ASSERT_EQ(a.frames.size(), b.frames.size());
    for (std::size_t i = 0; i < a.frames.size(); ++i) {
        EXPECT_EQ(a.frames[i].sp, b.frames[i].sp);
        EXPECT_EQ(a.frames[i].cfa, b.frames[i].cfa);
        EXPECT_EQ(a.frames[i].bp, b.frames[i].bp);
    }
    EXPECT_EQ(a.end, b.end);
    EXPECT_EQ(a.complete, b.complete);
}

TEST(GoStacks, EqualOnesAreKeptOnce) {
    GoStacks stacks(3);
    for (std::size_t i = 0; i < 3; ++i) stacks.set(i, bounds_at(0x1000 + i * 0x10000), walked_at(0x2000 + i * 0x10000));
    EXPECT_EQ(&stacks.shape(0), &stacks.shape(1));
    EXPECT_EQ(&stacks.shape(0), &stacks.shape(2));
    for (std::size_t i = 0; i < 3; ++i) {
        expect_equal(stacks.load(i), walked_at(0x2000 + i * 0x10000));
        EXPECT_EQ(stacks.physical(i)[1].sp, stacks.load(i).physical[1].sp);
        EXPECT_EQ(stacks.frame(i, 2)->bp, stacks.load(i).physical[2].bp);
        EXPECT_EQ(stacks.frames(i)[2].sp, stacks.load(i).frames[2].sp);
        EXPECT_EQ(stacks.frames(i).load().size(), 3u);
    }
    EXPECT_EQ(stacks.frame(2, 3), std::nullopt);
    EXPECT_EQ(stacks.frame(3, 0), std::nullopt);
}

TEST(GoStacks, OfAnotherSizeTheyCountFromTheEnd) {
    GoStacks stacks(2);
    stacks.set(0, {{0x1000}, {0x2000}}, walked_at(0x2000));
    stacks.set(1, {{0x10000}, {0x18000}}, walked_at(0x18000));
    EXPECT_EQ(&stacks.shape(0), &stacks.shape(1));
    expect_equal(stacks.load(1), walked_at(0x18000));
}

TEST(GoStacks, WhatLeavesItsStackIsKeptWhole) {
    GoStacks stacks(4);
    stacks.set(0, bounds_at(0x1000), walked_at(0x2000));
    GoStack on_another = walked_at(0x12000);
    on_another.physical[1].sp = Address{0x7f0000001000};
    stacks.set(1, bounds_at(0x11000), on_another);
    GoStack lying = walked_at(0x22000);
    lying.physical[2].bp = Address{0x4141414141414141};
    stacks.set(2, bounds_at(0x21000), lying);
    stacks.set(3, {}, walked_at(0x32000));
    expect_equal(stacks.load(1), on_another);
    expect_equal(stacks.load(2), lying);
    expect_equal(stacks.load(3), walked_at(0x32000));
}

TEST(GoStacks, DifferentEndsAreDifferentStacks) {
    GoStacks stacks(2);
    stacks.set(0, bounds_at(0x1000), walked_at(0x2000));
    GoStack lost = walked_at(0x12000);
    lost.complete = false;
    lost.end = "sp is not in the core";
    stacks.set(1, bounds_at(0x11000), lost);
    EXPECT_TRUE(stacks.load(0).complete);
    EXPECT_FALSE(stacks.load(1).complete);
    EXPECT_EQ(stacks.load(1).end, "sp is not in the core");
}

}  // namespace
}  // namespace incident::go
