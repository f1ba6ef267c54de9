// Which frames a run serves: those whose words differ only where the run's steps do not depend on it.
#include "go/sync/footprint.h"

#include <gtest/gtest.h>

#include <elf.h>

#include <cstring>
#include <random>
#include <vector>

#include "go/sync/symbolic_cpu.h"

namespace incident::go {
namespace {

constexpr std::uint64_t stack_begin = 0x10'0000, stack_bytes = 0x1000, first_sp = 0x10'0100, second_sp = 0x10'0800;

/// Two frames of one stack, and an object for each.
class FootprintTest : public ::testing::Test {
protected:
    FootprintTest() {
        memory.add({.range = stack,
                    .data = reinterpret_cast<const std::byte*>(words.data()),
                    .origin = Origin::core,
                    .permissions = PF_R | PF_W});
        memory.freeze();
    }
    void put(std::uint64_t at, std::uint64_t value) { words[(at - stack_begin) / 8] = value; }
    void both(std::uint64_t offset, std::uint64_t first, std::uint64_t second) {
        put(first_sp + offset, first);
        put(second_sp + offset, second);
    }
    Symbolic read(std::uint64_t offset) { return *print.read({0, first_sp + offset, false, Footprint::sp_root}, 8); }
    bool serves_the_second() { return print.finish() && print.fits(stack, Address{second_sp}, {}); }

    AddressRange stack{Address{stack_begin}, Address{stack_begin + stack_bytes}};
    std::vector<std::uint64_t> words = std::vector<std::uint64_t>(stack_bytes / 8);
    Memory memory;
    std::vector<AddressRange> code{{Address{0x40'0000}, Address{0x50'0000}}};
    Footprint print{memory, code, stack, Address{first_sp}};
};

TEST_F(FootprintTest, ACountThatNobodyAsksForMayDiffer) {
    both(8, 3, 70);
    const Symbolic depth = read(8);
    EXPECT_EQ(depth, (Symbolic{0, 3}));
    print.counted(depth.plus(1));
    EXPECT_TRUE(serves_the_second());
}

TEST_F(FootprintTest, ACountThatDecidesMayNot) {
    both(8, 3, 70);
    print.needs(read(8));
    EXPECT_FALSE(serves_the_second());
}

TEST_F(FootprintTest, ACountThatIsTakenForAnAddressMayNot) {
    both(8, 3, 70);
    print.touch(read(8).plus(16), 8);
    EXPECT_FALSE(serves_the_second());
}

TEST_F(FootprintTest, ASumMustStayACount) {
    both(8, 3, 0xffff);
    print.counted(read(8).plus(1));
    EXPECT_FALSE(serves_the_second());
}

TEST_F(FootprintTest, ACountAndAnAddressAreNotAlike) {
    both(8, 3, 0xc000'0000);
    read(8);
    EXPECT_FALSE(serves_the_second());
}

TEST_F(FootprintTest, TwoCountsThatWereEqualAndComparedMustBe) {
    both(8, 3, 70);
    both(16, 3, 71);
    print.compared(read(8), read(16));
    EXPECT_FALSE(serves_the_second());
}

TEST_F(FootprintTest, PlacedIsWhereTheSecondFramesObjectLies) {
    both(8, 0xc000'0000, 0xc000'8000);
    const Symbolic object = read(8);
    print.touch(object.plus(24), 8);
    ASSERT_TRUE(serves_the_second());
    EXPECT_EQ(print.placed(object.plus(24)), Address{0xc000'8018});
}

TEST_F(FootprintTest, WhatLiesBelowTheFrameIsUnknown) {
    std::uint64_t serial = 0;
    SymbolicCpu cpu(memory, serial);
    CpuState state = cpu.blank();
    put(first_sp - 8, 42);
    put(first_sp, 43);
    cpu.dead = {stack.begin, Address{first_sp}};
    EXPECT_FALSE(cpu.load(state, {0, first_sp - 8}, 8).known());
    EXPECT_EQ(cpu.load(state, {0, first_sp}, 8), (Symbolic{0, 43}));
    cpu.store(state, {0, first_sp - 8}, 8, {0, 44});
    EXPECT_EQ(cpu.load(state, {0, first_sp - 8}, 8), (Symbolic{0, 44}));
}

/// Against a list that is looked through from its end.
TEST(CellsTest, TheLastWriterIsFound) {
    std::mt19937_64 random(7);
    Cells cells;
    std::vector<Cell> list;
    for (int i = 0; i < 20000; ++i) {
        const unsigned size = 1u << random() % 7;
        const Symbolic at{random() % 3, (random() % 4 == 0 ? -64ull : 4096) + random() % 600};
        if (random() % 2 == 0) {
            const Cell cell{at, {0, random()}, static_cast<std::uint8_t>(size)};
            cells.write(cell);
            std::erase_if(list, [&](const Cell& old) { return old.at == at && old.size <= size; });
            list.push_back(cell);
            if (list.size() > 200) {
                cells.drop_oldest();
                list.erase(list.begin());
            }
            ASSERT_EQ(cells.size(), list.size());
        }
        const Cell* expected = nullptr;
        for (const Cell& cell : list) {
            const auto distance = static_cast<std::int64_t>(cell.at.offset - at.offset);
            if (cell.at.base == at.base && distance < static_cast<std::int64_t>(size) &&
                distance > -std::int64_t{cell.size})
                expected = &cell;
        }
        const Cell* found = cells.last_over(at, size);
        ASSERT_EQ(found != nullptr, expected != nullptr);
        if (found != nullptr) {
            EXPECT_EQ(found->at, expected->at);
            EXPECT_EQ(found->value, expected->value);
        }
    }
}

}  // namespace
}  // namespace incident::go
