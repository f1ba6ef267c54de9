// Memory: who holds a byte when claims overlap, and the exact reason why one cannot be read.
#include "core/memory.h"

#include <gtest/gtest.h>

#include <vector>

#include "support/memory_builder.h"

namespace incident {
namespace {

constexpr std::uint8_t rw = 6;

struct Pattern {
    explicit Pattern(std::size_t size, std::uint8_t value) : bytes(size, std::byte{value}) {}
    Segment over(std::uint64_t begin, std::uint64_t end, Origin origin = Origin::core, std::size_t offset = 0) const {
        return {{{begin}, {end}}, bytes.data() + offset, origin, rw};
    }
    std::vector<std::byte> bytes;
};

int byte_at(const Memory& memory, std::uint64_t a) {
    auto value = memory.load<std::uint8_t>(Address{a});
    return value ? *value : -1;
}

TEST(Memory, LaterSegmentsWinWhereTheyOverlap) {
    Pattern one(0x1000, 1), two(0x1000, 2), three(0x1000, 3);
    Memory memory;
    memory.add(one.over(0x10000, 0x11000));
    memory.add(two.over(0x10400, 0x10800));
    memory.add(three.over(0x10700, 0x10900));
    memory.freeze();
    EXPECT_EQ(byte_at(memory, 0x103ff), 1);
    EXPECT_EQ(byte_at(memory, 0x10400), 2);
    EXPECT_EQ(byte_at(memory, 0x106ff), 2);
    EXPECT_EQ(byte_at(memory, 0x10700), 3);
    EXPECT_EQ(byte_at(memory, 0x108ff), 3);
    EXPECT_EQ(byte_at(memory, 0x10900), 1);
    EXPECT_EQ(byte_at(memory, 0x10fff), 1);
    EXPECT_EQ(byte_at(memory, 0x11000), -1);
    EXPECT_EQ(memory.segments().size(), 4u);
}

TEST(Memory, AWeakerSegmentShowsOnBothSidesOfAStrongerOne) {
    Pattern one(0x1000, 1), two(0x1000, 2);
    Memory memory;
    memory.add(two.over(0x20000, 0x21000));
    memory.add(one.over(0x20100, 0x20200));
    memory.freeze();
    EXPECT_EQ(byte_at(memory, 0x200ff), 2);
    EXPECT_EQ(byte_at(memory, 0x20100), 1);
    EXPECT_EQ(byte_at(memory, 0x20200), 2);
}

TEST(Memory, SpliceFillsOnlyWhatIsMissing) {
    Pattern core(0x1000, 1), file(0x4000, 2), second(0x4000, 3);
    Memory memory;
    memory.add(core.over(0x10000, 0x11000));
    memory.add_missing({{{0x11000}, {0x14000}}, ErrorKind::absent});
    memory.splice(file.over(0x10000, 0x12000, Origin::file_verified));
    memory.splice(second.over(0x10000, 0x13000, Origin::file_unverified));
    memory.freeze();
    EXPECT_EQ(byte_at(memory, 0x10fff), 1);
    EXPECT_EQ(byte_at(memory, 0x11000), 2);
    EXPECT_EQ(byte_at(memory, 0x12000), 3);
    EXPECT_EQ(memory.find(Address{0x11000})->origin, Origin::file_verified);
    EXPECT_EQ(memory.find(Address{0x12000})->origin, Origin::file_unverified);
    ASSERT_EQ(memory.missing().size(), 1u);
    EXPECT_EQ(memory.missing()[0].range, (AddressRange{{0x13000}, {0x14000}}));
}

TEST(Memory, NeighboursThatContinueInTheFileBecomeOne) {
    Pattern file(0x3000, 1);
    Memory memory;
    memory.add(file.over(0x11000, 0x12000, Origin::core, 0x1000));
    memory.add(file.over(0x10000, 0x11000));
    memory.add(file.over(0x12000, 0x13000));  // neighbour in memory, not in the file
    memory.freeze();
    ASSERT_EQ(memory.segments().size(), 2u);
    EXPECT_EQ(memory.segments()[0].range, (AddressRange{{0x10000}, {0x12000}}));
    EXPECT_TRUE(memory.view(Address{0x10ff8}, 16).has_value());
}

TEST(Memory, AHolePunchedByNothingStaysAHole) {
    Pattern one(0x1000, 1);
    Memory memory;
    memory.add(one.over(0x10000, 0x10800));
    memory.add(one.over(0x10c00, 0x11000));
    memory.add_missing({{{0x10000}, {0x11000}}, ErrorKind::truncated});
    memory.freeze();
    ASSERT_EQ(memory.missing().size(), 1u);
    EXPECT_EQ(memory.missing()[0].range, (AddressRange{{0x10800}, {0x10c00}}));
    EXPECT_EQ(memory.explain(Address{0x10900}).kind, ErrorKind::truncated);
}

TEST(Memory, LoadCrossesSegmentsAndViewDoesNot) {
    Pattern one(0x100, 1), two(0x100, 2);
    Memory memory;
    memory.add(one.over(0x10000, 0x10100));
    memory.add(two.over(0x10100, 0x10200));
    memory.freeze();
    EXPECT_EQ(memory.load<std::uint32_t>(Address{0x100fe}).value(), 0x02020101u);
    auto view = memory.view(Address{0x100fe}, 4);
    ASSERT_FALSE(view.has_value());
    EXPECT_EQ(view.error().kind, ErrorKind::unsupported);
    EXPECT_EQ(memory.view_up_to(Address{0x100fe}, 100).value().size(), 2u);
    auto beyond = memory.view(Address{0x100fe}, 0x200);
    ASSERT_FALSE(beyond.has_value());
    EXPECT_EQ(beyond.error().kind, ErrorKind::unmapped);
    EXPECT_EQ(beyond.error().address, Address{0x10200});
    std::vector<std::byte> out(0x201);
    auto load = memory.load(Address{0x10000}, out);
    ASSERT_FALSE(load.has_value());
    EXPECT_EQ(load.error().address, Address{0x10200});
}

TEST(Memory, SaysWhyAByteCannotBeRead) {
    Memory memory;
    memory.add_missing({{{0x10000}, {0x20000}}, ErrorKind::absent});
    memory.add_missing({{{0x18000}, {0x28000}}, ErrorKind::truncated});
    memory.freeze();
    EXPECT_EQ(memory.explain(Address{0x17fff}).kind, ErrorKind::absent);
    EXPECT_EQ(memory.explain(Address{0x18000}).kind, ErrorKind::truncated);
    EXPECT_EQ(memory.explain(Address{0x27fff}).kind, ErrorKind::truncated);
    EXPECT_EQ(memory.explain(Address{0x28000}).kind, ErrorKind::unmapped);
    EXPECT_TRUE(memory.is_mapped(Address{0x10000}));
    EXPECT_FALSE(memory.is_mapped(Address{0x18}));
    EXPECT_EQ(memory.load<std::uint64_t>(Address{0x17ffc}).error().kind, ErrorKind::absent);
}

TEST(Memory, TheTopOfTheAddressSpaceDoesNotWrap) {
    Pattern one(0x1000, 1);
    Memory memory;
    memory.add(one.over(0xfffffffffffff000, 0xffffffffffffffff));
    memory.freeze();
    EXPECT_EQ(byte_at(memory, 0xfffffffffffffffe), 1);
    EXPECT_EQ(memory.data_at(Address{0xfffffffffffffff8}, 8), nullptr);
    EXPECT_FALSE(memory.load<std::uint64_t>(Address{0xfffffffffffffffc}).has_value());
    EXPECT_FALSE(memory.view(Address{0xfffffffffffff000}, SIZE_MAX).has_value());
    EXPECT_FALSE(memory.view(Address{0xffffffffffffffff}, 2).has_value());
}

TEST(Memory, EmptyMemoryAnswersEverything) {
    Memory memory;
    memory.add({{{0x5000}, {0x5000}}, nullptr, Origin::core, rw});
    memory.add({{{0x6000}, {0x5000}}, nullptr, Origin::core, rw});
    memory.freeze();
    EXPECT_EQ(memory.find(Address{0x5000}), nullptr);
    EXPECT_FALSE(memory.view_up_to(Address{0}, 1).has_value());
    EXPECT_EQ(memory.explain(Address{0x18}).kind, ErrorKind::unmapped);
    MemoryCursor cursor(memory);
    EXPECT_EQ(cursor.data_at(Address{1}, 1), nullptr);
}

TEST(Memory, StringsEndWithinTheirLimitAndSegment) {
    MemoryBuilder builder;
    builder.at(0x1000).cstring("hello").text("no end");
    auto memory = builder.build();
    EXPECT_EQ(memory->view_cstring(Address{0x1000}, 100).value(), "hello");
    EXPECT_EQ(memory->view_cstring(Address{0x1000}, 5).error().kind, ErrorKind::corrupt);
    EXPECT_EQ(memory->view_cstring(Address{0x1006}, 100).error().kind, ErrorKind::unmapped);
    EXPECT_EQ(memory->view_cstring(Address{0x1005}, 100).value(), "");
}

TEST(Memory, ManyOverlapsAreNotQuadratic) {
    Pattern one(16, 1);
    Memory memory;
    constexpr std::uint64_t count = 200'000;
    for (std::uint64_t i = 0; i < count; ++i)  // all nested in one another: hostile on purpose
        memory.add_missing(
            {{{0x10000 + i}, {0x10000 + 4 * count - i}}, i % 2 ? ErrorKind::absent : ErrorKind::truncated});
    for (std::uint64_t i = 0; i < count; ++i) memory.add(one.over(0x10000 + i * 8, 0x10000 + i * 8 + 16));
    memory.freeze();
    EXPECT_EQ(byte_at(memory, 0x10000), 1);
    EXPECT_LE(memory.segments().size(), 2 * count);
}

TEST(MemoryBuilder, LabelsMayComeLater) {
    MemoryBuilder builder;
    builder.at(0xc000010000).mark("g").u64(1).pointer("m", 8).u32(5);
    builder.at(0x7f0000000000).mark("m").u64(2).u64(3);
    builder.at("g", 0).u64(9);
    auto memory = builder.build();
    EXPECT_EQ(memory->load<std::uint64_t>(memory["g"]).value(), 9u);
    auto m = memory->load_address(memory["g"] + 8).value();
    EXPECT_EQ(m, memory["m"] + 8);
    EXPECT_EQ(memory->load<std::uint64_t>(m).value(), 3u);
}

}  // namespace
}  // namespace incident
