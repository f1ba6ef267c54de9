// After fork, what brk adds is a mapping of its own: the heaps of nginx's workers and postgres' backends go on in it.
#include <gtest/gtest.h>

#include "native/malloc.h"
#include "support/live_target.h"
#include "support/opened_core.h"

namespace incident::native {
namespace {

TEST(Malloc, HeapGoesOnBehindItsMappingAfterFork) {
    auto program = build_target("native/targets/malloc_fork.c", {{"-O1"}, {}});
    TargetRun run = run_to_core(program, {});
    if (run.core.empty()) GTEST_SKIP() << run.why_no_core;
    ImageOptions options;
    options.executable = program.string();
    auto opened = OpenedCore::open(run.core.string(), options);
    ASSERT_TRUE(opened.has_value()) << describe(opened.error());
    auto heaps = Heaps::read(opened->core, opened->memory, opened->images, 1);
    ASSERT_TRUE(heaps.has_value());
    ASSERT_FALSE(heaps->arenas().empty());
    EXPECT_TRUE(heaps->gaps().empty());
    EXPECT_TRUE(heaps->corruptions().empty());
    EXPECT_GE(heaps->arenas()[0].count(ChunkState::in_use).chunks, 7000u);
    std::uint64_t walked = 0;
    for (const ChunkCount& count : heaps->arenas()[0].counts) walked += count.bytes;
    EXPECT_EQ(walked, heaps->arenas()[0].system_mem);
}

}  // namespace
}  // namespace incident::native
