// Build info written down byte by byte, whole and damaged.
#include "go/binary/build_info.h"

#include <gtest/gtest.h>

#include "support/memory_builder.h"

namespace incident::go {
namespace {

constexpr std::uint64_t blob = 0x650000;

MemoryBuilder head(std::uint8_t flags) {
    MemoryBuilder memory;
    memory.at(blob).text("\xff Go buildinf:").u8(8).u8(flags);
    return memory;
}

TEST(BuildInfo, StringsInlineOrPointedTo) {
    MemoryBuilder inlined = head(2);
    inlined.zeros(16).u8(8).text("go1.27.1").u8(0).zeros(64);
    EXPECT_EQ(read_build_info(inlined.build(), Address{blob})->version, "go1.27.1");
    MemoryBuilder pointed = head(0);
    pointed.pointer("header").u64(0).mark("header").pointer("text").u64(8).mark("text").text("go1.17.5");
    EXPECT_EQ(read_build_info(pointed.build(), Address{blob})->version, "go1.17.5");
}

TEST(BuildInfo, AMegabyteIsNoVersion) {
    MemoryBuilder inlined = head(2);
    inlined.zeros(16).u8(0x80).u8(0x80).u8(0x40).fill(1 << 20, 'x').zeros(64);
    EXPECT_FALSE(read_build_info(inlined.build(), Address{blob})->version.has_value());
    MemoryBuilder pointed = head(0);
    pointed.pointer("header").u64(0).mark("header").pointer("text").u64(1 << 20).mark("text").fill(1 << 20, 'x');
    EXPECT_FALSE(read_build_info(pointed.build(), Address{blob})->version.has_value());
}

}  // namespace
}  // namespace incident::go
