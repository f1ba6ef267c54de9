// Which memory is the stack of an sp, also of one that has left it.
#include <gtest/gtest.h>

#include "support/memory_builder.h"
#include "unwind/unwinder.h"

namespace incident {
namespace {

constexpr std::uint64_t low = 0x7f0000800000, size = 0x4000, megabyte = 1 << 20;

/// A stack with a readable guard page (as gcore writes it) and code below it.
TargetMemory target() {
    MemoryBuilder memory;
    memory.at(low - 0x100000).zeros(0x1000).permissions(5);
    memory.at(low - 0x2000).zeros(0x1000).permissions(4);  // with a gap: blocks that touch are one
    memory.at(low).zeros(size).permissions(6);
    return memory.build();
}

TEST(StackRange, IsTheMappingOfSp) {
    auto memory = target();
    EXPECT_EQ(stack_range(memory, Address{low + 8}), (AddressRange{Address{low}, Address{low + size}}));
}

TEST(StackRange, AfterAnOverflowReachesUpToTheStack) {
    auto memory = target();
    for (std::uint64_t below : {std::uint64_t{8}, std::uint64_t{0x1000}, 16 * megabyte, 200 * megabyte}) {
        const Address sp{low - below};
        EXPECT_EQ(stack_range(memory, sp), (AddressRange{sp, Address{low + size}})) << below;
    }
}

TEST(StackRange, NowhereNearAStackIsNone) {
    auto memory = target();
    for (std::uint64_t sp : {std::uint64_t{0}, low - 300 * megabyte, low + size, ~std::uint64_t{0}})
        EXPECT_TRUE(stack_range(memory, Address{sp}).empty()) << sp;
}

}  // namespace
}  // namespace incident
