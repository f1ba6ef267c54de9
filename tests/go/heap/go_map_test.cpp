// Maps on built memory: what the runtime keeps true, each rule broken once, and hostile bytes.
#include "go/heap/go_map.h"

#include <gtest/gtest.h>

#include "support/memory_builder.h"

namespace incident::go {
namespace {

constexpr std::uint64_t header_at = 0xc000010000, buckets_at = 0xc000020000, old_at = 0xc000030000;

RuntimeLayout classic_layout() {
    RuntimeLayout layout;
    auto& h = layout.hmap;
    h.count.offset = 0;
    h.flags.offset = 8;
    h.B.offset = 9;
    h.noverflow.offset = 10;
    h.hash0.offset = 12;
    h.buckets.offset = 16;
    h.oldbuckets.offset = 24;
    h.nevacuate.offset = 32;
    h.extra.offset = 40;
    return layout;
}

RuntimeLayout swiss_layout() {
    RuntimeLayout layout;
    auto& m = layout.swiss_map;
    m.used.offset = 0;
    m.seed.offset = 8;
    m.dirPtr.offset = 16;
    m.dirLen.offset = 24;
    m.globalDepth.offset = 32;
    m.globalShift.offset = 33;
    m.writing.offset = 34;
    auto& t = layout.swiss_table;
    t.used.offset = 0;
    t.capacity.offset = 2;
    t.growthLeft.offset = 4;
    t.localDepth.offset = 6;
    t.index.offset = 8;
    t.groups_data.offset = 16;
    t.groups_lengthMask.offset = 24;
    return layout;
}

/// map[int64]int64
MapShape shape_of(bool swiss) {
    MapShape shape;
    shape.swiss = swiss;
    shape.unit = swiss ? 8 + 8 * 16 : 8 + 8 * 16 + 8;
    shape.key_stride = swiss ? 16 : 8;
    shape.elems = swiss ? 16 : 8 + 64;
    shape.elem_stride = swiss ? 16 : 8;
    return shape;
}

struct Header {
    std::uint64_t count = 0;
    std::uint8_t flags = 0, B = 0;
    std::uint64_t buckets = buckets_at, old = 0, nevacuate = 0;
};

void put_header(MemoryBuilder& memory, const Header& h) {
    memory.at(header_at).u64(h.count).u8(h.flags).u8(h.B).u16(0).u32(0x12345).u64(h.buckets).u64(h.old).u64(
        h.nevacuate);
    memory.u64(0);
}

void put_bucket(MemoryBuilder& memory, std::uint64_t at, std::initializer_list<std::uint8_t> tops,
                std::uint64_t overflow = 0) {
    memory.at(at);
    for (std::uint8_t top : tops) memory.u8(top);
    memory.zeros(8 - tops.size() + 128).u64(overflow);
}

MapWalk walk(const MemoryBuilder& memory, bool swiss = false, const MapCell* cell = nullptr) {
    auto target = memory.build();
    const RuntimeLayout layout = swiss ? swiss_layout() : classic_layout();
    return MapReader(target, layout, nullptr).walk(Address{header_at}, shape_of(swiss), cell, 100000);
}

TEST(ClassicMap, CountsCellsOfBucketsAndOverflow) {
    MemoryBuilder memory;
    put_header(memory, {.count = 10, .B = 1});
    put_bucket(memory, buckets_at, {5, 6, 7, 8, 9, 10, 11, 12}, buckets_at + 0x1000);
    put_bucket(memory, buckets_at + 144, {});
    put_bucket(memory, buckets_at + 0x1000, {1, 77, 255});
    std::vector<std::uint64_t> keys;
    MapCell cell = [&](Address key, Address) { keys.push_back(key.value); };
    MapWalk found = walk(memory, false, &cell);
    EXPECT_TRUE(found.sound()) << found.contradictions[0].what;
    EXPECT_EQ(found.cells, 10u);
    ASSERT_EQ(keys.size(), 10u);
    EXPECT_EQ(keys[1], buckets_at + 8 + 8);
    EXPECT_EQ(keys[8], buckets_at + 0x1000 + 8 + 8);
}

TEST(ClassicMap, NilAndEmptyAreSound) {
    MemoryBuilder memory;
    put_header(memory, {.buckets = 0});
    EXPECT_TRUE(walk(memory).sound());
}

TEST(ClassicMap, CountThatIsNotItsCells) {
    MemoryBuilder memory;
    put_header(memory, {.count = 9002});
    put_bucket(memory, buckets_at, {5, 6});
    MapWalk found = walk(memory);
    EXPECT_TRUE(found.has(MapFault::count));
    EXPECT_EQ(found.contradictions[0].value, 9002u);
    EXPECT_EQ(found.contradictions[0].expected, 2u);
}

TEST(ClassicMap, NothingFollowsEmptyRest) {
    MemoryBuilder memory;
    put_header(memory, {.count = 1});
    put_bucket(memory, buckets_at, {0, 17});
    MapWalk found = walk(memory);
    ASSERT_TRUE(found.has(MapFault::control));
    EXPECT_EQ(found.contradictions[0].at, Address{buckets_at + 1});
}

TEST(ClassicMap, GrowingReadsOldBucketsThatWereNotMoved) {
    MemoryBuilder memory;
    put_header(memory, {.count = 3, .B = 1, .old = old_at, .nevacuate = 0});
    put_bucket(memory, buckets_at, {});
    put_bucket(memory, buckets_at + 144, {});
    put_bucket(memory, old_at, {9, 9, 9});
    MapWalk found = walk(memory);
    EXPECT_TRUE(found.sound()) << found.contradictions[0].what;
    EXPECT_TRUE(found.growing);
}

TEST(ClassicMap, EvacuatedMarksOnlyInOldBuckets) {
    MemoryBuilder memory;
    put_header(memory, {.count = 1, .B = 1, .old = old_at, .nevacuate = 1});
    put_bucket(memory, buckets_at, {9});
    put_bucket(memory, buckets_at + 144, {});
    put_bucket(memory, old_at, {2, 4, 4, 4, 4, 4, 4, 4});
    EXPECT_TRUE(walk(memory).sound());
    put_bucket(memory, buckets_at, {9, 2});
    EXPECT_TRUE(walk(memory).has(MapFault::control));
}

TEST(ClassicMap, HostileHeadersEndTheWalk) {
    MemoryBuilder memory;
    put_header(memory, {.count = 3, .B = 40});
    put_bucket(memory, buckets_at, {9});
    EXPECT_TRUE(walk(memory).has(MapFault::size));
    put_header(memory, {.count = 3, .B = 30});
    EXPECT_FALSE(walk(memory).complete);
    put_header(memory, {.count = 3, .flags = 0x41});
    EXPECT_TRUE(walk(memory).has(MapFault::flags));
    put_header(memory, {.count = 3, .buckets = 0x1000});
    EXPECT_TRUE(walk(memory).has(MapFault::unmapped));
    // An overflow chain that leads back to itself.
    put_header(memory, {.count = 3});
    put_bucket(memory, buckets_at, {9, 9, 9, 9, 9, 9, 9, 9}, buckets_at);
    MapWalk cycle = walk(memory);
    EXPECT_FALSE(cycle.sound());
    EXPECT_LT(cycle.units, 10000u);
    EXPECT_TRUE(MapReader(memory.build(), classic_layout(), nullptr).walk(Address{0x10}, shape_of(false)).found == 0);
}

void put_swiss(MemoryBuilder& memory, std::uint64_t used, std::int64_t length, std::uint8_t depth,
               std::uint64_t directory = 0xc000020000) {
    memory.at(header_at).u64(used).u64(0x1234567890).u64(directory).i64(length).u8(depth);
    memory.u8(length == 0 ? 0 : static_cast<std::uint8_t>(64 - depth)).zeros(14);
}

void put_table(MemoryBuilder& memory, std::uint64_t at, std::uint16_t used, std::uint16_t capacity, std::int64_t index,
               std::uint8_t depth, std::uint64_t groups, int deleted = 0) {
    const int most = capacity == 8 ? 7 : capacity * 7 / 8;
    memory.at(at).u16(used).u16(capacity).u16(static_cast<std::uint16_t>(most - used - deleted)).u8(depth).u8(0);
    memory.i64(index).u64(groups).u64(capacity / 8 - 1);
}

void put_group(MemoryBuilder& memory, std::uint64_t at, std::initializer_list<std::uint8_t> control) {
    memory.at(at);
    for (std::uint8_t byte : control) memory.u8(byte);
    memory.fill(8 - control.size(), 0x80).zeros(128);
}

TEST(SwissMap, SmallMapIsOneGroup) {
    MemoryBuilder memory;
    put_swiss(memory, 3, 0, 0);
    put_group(memory, 0xc000020000, {1, 0x7f, 0});
    EXPECT_TRUE(walk(memory, true).sound());
    put_group(memory, 0xc000020000, {1, 0x7f, 0x80});
    EXPECT_TRUE(walk(memory, true).has(MapFault::count));
    put_group(memory, 0xc000020000, {1, 0x7f, 0xfe, 3});
    EXPECT_TRUE(walk(memory, true).has(MapFault::control)) << "small maps have no deleted cells";
}

MemoryBuilder two_tables() {
    MemoryBuilder memory;
    put_swiss(memory, 5, 4, 2);
    // One table for the first half of the hashes, two for the second.
    memory.at(0xc000020000).u64(0xc000021000).u64(0xc000021000).u64(0xc000022000).u64(0xc000023000);
    put_table(memory, 0xc000021000, 2, 16, 0, 1, 0xc000024000, 1);
    put_table(memory, 0xc000022000, 0, 8, 2, 2, 0xc000025000);
    put_table(memory, 0xc000023000, 3, 8, 3, 2, 0xc000026000);
    put_group(memory, 0xc000024000, {1});
    put_group(memory, 0xc000024000 + 136, {2, 0xfe});
    put_group(memory, 0xc000025000, {});
    put_group(memory, 0xc000026000, {1, 2, 3});
    return memory;
}

TEST(SwissMap, TablesStandOftenInTheDirectoryAndCountOnce) {
    MapWalk found = walk(two_tables(), true);
    EXPECT_TRUE(found.sound()) << found.contradictions[0].what;
    EXPECT_EQ(found.cells, 5u);
    EXPECT_EQ(found.units, 4u);
}

TEST(SwissMap, EachRuleBrokenOnce) {
    auto broken = [](auto change) {
        MemoryBuilder memory = two_tables();
        change(memory);
        return walk(memory, true);
    };
    EXPECT_TRUE(broken([](auto& m) { put_swiss(m, 9005, 4, 2); }).has(MapFault::count));
    EXPECT_TRUE(broken([](auto& m) { put_swiss(m, 5, 4, 40); }).has(MapFault::size));
    EXPECT_TRUE(broken([](auto& m) { m.at(header_at + 33).u8(7); }).has(MapFault::size));
    EXPECT_TRUE(broken([](auto& m) { m.at(header_at + 34).u8(9); }).has(MapFault::flags));
    EXPECT_TRUE(broken([](auto& m) { m.at(0xc000020008).u64(0xc000022000); }).has(MapFault::table));
    EXPECT_TRUE(broken([](auto& m) { m.at(0xc000023008).i64(1); }).has(MapFault::table));
    EXPECT_TRUE(broken([](auto& m) { m.at(0xc000023002).u16(24); }).has(MapFault::table));
    EXPECT_TRUE(broken([](auto& m) { m.at(0xc000023010).u64(0x7000); }).has(MapFault::unmapped));
    EXPECT_TRUE(broken([](auto& m) { m.at(0xc000024000).fill(8, 0x80); }).has(MapFault::count));
    EXPECT_TRUE(broken([](auto& m) { m.at(0xc000024000).u8(0x93); }).has(MapFault::control));
    EXPECT_TRUE(broken([](auto& m) { m.at(0xc000021004).u16(3); }).has(MapFault::table)) << "growth budget";
}

TEST(SwissMap, HostileDirectoryLengths) {
    for (std::int64_t length : {std::int64_t{-1}, std::int64_t{3}, std::int64_t{1} << 31, std::int64_t{1} << 62}) {
        MemoryBuilder memory = two_tables();
        put_swiss(memory, 5, length, 2);
        MapWalk found = walk(memory, true);
        EXPECT_FALSE(found.sound()) << length;
    }
}

TEST(SwissMap, ADirectoryThatGoesOnBehindItsMemoryEnds) {
    MemoryBuilder memory = two_tables();
    put_swiss(memory, 5, std::int64_t{1} << 32, 32, 0xc000030ff8);
    memory.at(0xc000030000).zeros(4088).u64(0xc000021000);  // a table for half of 2^32 entries
    EXPECT_FALSE(walk(memory, true).complete);
}

}  // namespace
}  // namespace incident::go
