#include "base/parallel.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <vector>

#include "support/no_threads.h"

namespace incident {
namespace {

/// Every index once, each worker's number below `jobs`.
bool covers(unsigned jobs, std::size_t count, std::size_t grain) {
    std::vector<std::atomic<int>> seen(count);
    std::atomic<bool> sound{true};
    parallel_chunks(jobs, count, grain, [&](std::size_t begin, std::size_t end, unsigned worker) {
        if (begin >= end || end > count || end - begin > std::max<std::size_t>(grain, 1) ||
            worker >= std::max(jobs, 1u))
            sound = false;
        for (auto i = begin; i < end && i < count; ++i) ++seen[i];
    });
    return sound && std::ranges::all_of(seen, [](const auto& times) { return times == 1; });
}

TEST(Parallel, EveryIndexOnce) {
    for (unsigned jobs : {0u, 1u, 2u, 7u})
        for (std::size_t count : {0, 1, 2, 99, 1003})
            for (std::size_t grain : {0, 1, 7, 5000})
                EXPECT_TRUE(covers(jobs, count, grain)) << jobs << ' ' << count << ' ' << grain;
}

TEST(Parallel, BothSides) {
    for (unsigned jobs : {1u, 2u}) {
        bool one = false, other = false;
        side_by_side(jobs, [&] { one = true; }, [&] { other = true; });
        EXPECT_TRUE(one && other) << jobs;
    }
}

TEST(Parallel, WorkersAreBounded) {
    EXPECT_EQ(worker_count(3), 3u);
    EXPECT_EQ(worker_count(4'294'967'295u), 1024u);
    EXPECT_GE(worker_count(0), 1u);
}

TEST(Parallel, WithoutThreadsTheCallerDoesAll) {
    test::expect_without_threads([] {
        int sides = 0;
        side_by_side(8, [&] { ++sides; }, [&] { ++sides; });
        return !start_thread([] {}) && covers(8, 1003, 1) && sides == 2;
    });
}

}  // namespace
}  // namespace incident
