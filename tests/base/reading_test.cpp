// ByteReader, TRY and the bounded walk: what everything that touches hostile bytes stands on.
#include <gtest/gtest.h>

#include <array>
#include <map>
#include <vector>

#include "base/bounded_walk.h"
#include "base/byte_reader.h"

namespace incident {
namespace {

std::span<const std::byte> bytes_of(std::string_view s) { return std::as_bytes(std::span(s.data(), s.size())); }

TEST(ByteReader, FailsAtTheEndAndStaysWhereItWas) {
    ByteReader reader(bytes_of("\x01\x02\x03"));
    EXPECT_EQ(reader.read<std::uint16_t>().value(), 0x0201);
    EXPECT_FALSE(reader.read<std::uint16_t>().has_value());
    EXPECT_EQ(reader.position(), 2u);
    EXPECT_EQ(reader.read<std::uint8_t>().value(), 3);
    EXPECT_TRUE(reader.at_end());
}

TEST(ByteReader, VarintsAreBounded) {
    ByteReader good(bytes_of("\xe5\x8e\x26"));
    EXPECT_EQ(good.read_uvarint().value(), 624485u);
    EXPECT_FALSE(ByteReader(bytes_of("\x80")).read_uvarint().has_value());
    EXPECT_FALSE(ByteReader(bytes_of("\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01")).read_uvarint().has_value());
}

TEST(ByteReader, StringWithoutNulIsCorrupt) {
    EXPECT_FALSE(ByteReader(bytes_of("abc")).view_cstring().has_value());
    ByteReader reader(bytes_of(std::string_view("ab\0c", 4)));
    EXPECT_EQ(reader.view_cstring().value(), "ab");
    EXPECT_EQ(reader.remaining(), 1u);
}

TEST(Try, CarriesTheErrorOut) {
    auto inner = [](bool ok) -> Result<int> {
        if (!ok) return fail(ErrorKind::unmapped, "nothing there", Address{0x18});
        return 7;
    };
    auto outer = [&](bool ok) -> Result<int> { return TRY(inner(ok)) + 1; };
    EXPECT_EQ(outer(true).value(), 8);
    ASSERT_FALSE(outer(false).has_value());
    EXPECT_EQ(describe(outer(false).error()), "unmapped: nothing there (at 0x18)");
}

TEST(BoundedWalk, EndsOnCyclesAndLimits) {
    std::map<std::uint64_t, std::uint64_t> next{{1, 2}, {2, 3}, {3, 4}, {4, 2}};
    auto follow = [&](Address a) -> std::optional<Address> { return Address{next[a.value]}; };
    EXPECT_EQ(walk_chain(Address{1}, 1000, follow), WalkEnd::cycle);
    next[4] = 0;
    std::vector<std::uint64_t> seen;
    EXPECT_EQ(walk_chain(Address{1}, 1000,
                         [&](Address a) {
                             seen.push_back(a.value);
                             return follow(a);
                         }),
              WalkEnd::done);
    EXPECT_EQ(seen, (std::vector<std::uint64_t>{1, 2, 3, 4}));
    EXPECT_EQ(walk_chain(Address{1}, 3, follow), WalkEnd::limit);
    EXPECT_EQ(walk_chain(Address{1}, 1000, [](Address) { return std::optional<Address>(); }), WalkEnd::stopped);
}

}  // namespace
}  // namespace incident
