// Damaged stacks and damaged heaps: whatever the bytes say, walks end, within bounds, and say why.
#include <gtest/gtest.h>

#include <elf.h>

#include <cstring>
#include <random>

#include "go/stacks/corpus_cores.h"
#include "go/stacks/defers.h"
#include "go/stacks/opened_core.h"
#include "go/stacks/panics.h"
#include "go/sync/waits.h"

namespace incident::go::testing {
namespace {

class DamagedGo : public ::testing::TestWithParam<std::string> {};
INSTANTIATE_TEST_SUITE_P(Go, DamagedGo, ::testing::Values("go1.16", "go1.21", "go1.27"),
                         [](const auto& one) { return "1_" + one.param.substr(4); });

std::unique_ptr<OpenedCore> open_waits(const std::string& bundle) {
    auto cores = probe_cores(bundle, "dwarf.waits");
    if (cores.empty()) return nullptr;
    auto opened = OpenedCore::open(cores[0].core, cores[0].executable);
    return opened ? std::move(*opened) : nullptr;
}

/// The core's memory with some of it replaced.
struct Replaced {
    Memory memory;
    std::vector<std::unique_ptr<std::vector<std::byte>>> bytes;

    explicit Replaced(const OpenedCore& opened) {
        opened.core.fill(memory);
        opened.images.splice_into(memory);
    }
    std::span<std::byte> replace(AddressRange range) {
        auto& copy = *bytes.emplace_back(std::make_unique<std::vector<std::byte>>(range.size()));
        memory.add({.range = range, .data = copy.data(), .origin = Origin::core, .permissions = PF_R | PF_W});
        return copy;
    }
};

TEST_P(DamagedGo, StacksOfNonsenseEnd) {
    auto opened = open_waits(GetParam());
    if (!opened) GTEST_SKIP() << test::corpus_problem();
    std::vector<UnwindStep> native{cfi_step(opened->memory, opened->images), frame_pointer_step(opened->memory)};
    // zeros · all ones · each word its own address · a return address of the innermost function, over and over
    for (int pattern = 0; pattern < 4; ++pattern) {
        Replaced damaged(*opened);
        for (const auto& g : opened->goroutines.all) {
            if (!g.stack.contains(g.sched_sp) || g.stack.size() > 1u << 20) continue;
            AddressRange live{g.sched_sp, g.stack.end};
            auto bytes = damaged.replace(live);
            for (std::size_t at = 0; at + 8 <= bytes.size(); at += 8) {
                const std::uint64_t words[] = {0, ~std::uint64_t{0}, live.begin.value + at, g.sched_pc.value};
                std::memcpy(bytes.data() + at, &words[pattern], 8);
            }
        }
        damaged.memory.freeze();
        StackWalker walker(opened->core, damaged.memory, opened->runtime, opened->goroutines);
        for (const auto& g : opened->goroutines.all) {
            auto stack = walker.walk(g, native, &opened->images);
            EXPECT_FALSE(stack.end.empty());
            EXPECT_LE(stack.physical.size(), StackOptions{}.limit);
            EXPECT_EQ(stack.frames.size(), stack.frame_of.size());
        }
    }
}

TEST_P(DamagedGo, ThreadsAreJoinedByFsBaseAcrossPidNamespaces) {
    for (const std::string mode : {"dwarf.waits", "cgo.chold"}) {
        auto cores = probe_cores(GetParam(), mode);
        if (cores.empty()) GTEST_SKIP() << test::corpus_problem();
        auto opened = OpenedCore::open(cores[0].core, cores[0].executable);
        ASSERT_TRUE(opened) << mode;
        const OpenedCore& at = **opened;
        // As a gcore from outside of the container would see it: the runtime's ids are others than the core's.
        Replaced damaged(at);
        const auto procid = static_cast<std::uint64_t>(at.runtime.layout().m.procid.offset);
        for (const auto& machine : at.goroutines.machines) {
            if (machine.procid == 0) continue;
            const std::int64_t inside = machine.procid % 100 + 1;
            std::memcpy(damaged.replace({machine.m + procid, machine.m + procid + 8}).data(), &inside, 8);
        }
        damaged.memory.freeze();
        auto list = read_goroutines(at.core, damaged.memory, at.runtime, 1);
        ASSERT_TRUE(list);
        std::size_t joined = 0;
        for (std::size_t i = 0; i < list->machines.size(); ++i) {
            if (list->machines[i].tid == 0) continue;
            EXPECT_EQ(list->machines[i].tid, at.goroutines.machines[i].tid) << mode;
            ++joined;
        }
        EXPECT_GE(joined, 4u) << mode;
        EXPECT_EQ(list->gaps.size(), at.goroutines.gaps.size() + 1) << mode;
    }
}

// A thread that has not begun: the address of code, in an executable below 8 MiB, is on nobody's stack.
TEST_P(DamagedGo, AThreadThatHasNotBegunHasNoStack) {
    auto opened = open_waits(GetParam());
    if (!opened) GTEST_SKIP() << test::corpus_problem();
    const auto& layout = opened->runtime.layout().g;
    Replaced unborn(*opened);
    const Address g0 = opened->goroutines.machines.back().g0;
    const Address lo = g0 + static_cast<std::uint64_t>(layout.stack_lo.offset);
    const std::uint64_t bounds[] = {0, 8u << 20};
    std::memcpy(unborn.replace({lo, lo + sizeof bounds}).data(), bounds, sizeof bounds);
    unborn.memory.freeze();
    const auto list = read_goroutines(opened->core, unborn.memory, opened->runtime, 1);
    ASSERT_TRUE(list);
    ASSERT_EQ(list->machines.back().g0, g0);
    EXPECT_FALSE(opened->goroutines.machines.back().g0_stack.empty());
    EXPECT_TRUE(list->machines.back().g0_stack.empty());
}

TEST_P(DamagedGo, TheFinalizerGoroutineIsTheProgramsWhileItRunsItsCode) {
    auto opened = open_waits(GetParam());
    if (!opened) GTEST_SKIP() << test::corpus_problem();
    const auto finalizers = std::ranges::find(opened->goroutines.all, "finalizer wait", &Goroutine::wait_reason);
    ASSERT_NE(finalizers, opened->goroutines.all.end());
    EXPECT_TRUE(finalizers->system);
    const auto main = std::ranges::find(opened->goroutines.all, 1, &Goroutine::goid);
    ASSERT_NE(main, opened->goroutines.all.end());
    const auto& layout = opened->runtime.layout().g;
    auto place = [&](std::int32_t offset, std::uint64_t size) {
        const Address at = finalizers->g + static_cast<std::uint64_t>(offset);
        return AddressRange{at, at + size};
    };
    // Made runnable where it waits; not begun; stopped in the program's code.
    for (const auto& [pc, system] : {std::pair(finalizers->sched_pc, true), std::pair(finalizers->startpc, true),
                                     std::pair(main->startpc + 1, false)}) {
        Replaced runnable(*opened);
        constexpr std::uint32_t status = 1;
        std::memcpy(runnable.replace(place(layout.atomicstatus.offset, 4)).data(), &status, 4);
        std::memcpy(runnable.replace(place(layout.sched_pc.offset, 8)).data(), &pc.value, 8);
        runnable.memory.freeze();
        const auto list = read_goroutines(opened->core, runnable.memory, opened->runtime, 1);
        ASSERT_TRUE(list);
        const auto now = std::ranges::find(list->all, finalizers->g, &Goroutine::g);
        ASSERT_NE(now, list->all.end());
        EXPECT_EQ(now->status, Status::runnable);
        EXPECT_EQ(now->system, system) << pc.value;
    }
}

TEST_P(DamagedGo, FlippedBitsEverywhereAreSurvived) {
    auto opened = open_waits(GetParam());
    if (!opened) GTEST_SKIP() << test::corpus_problem();
    std::size_t walked = 0;
    for (unsigned seed = 1; seed <= 8; ++seed) {
        std::mt19937_64 random(seed);
        Replaced damaged(*opened);
        std::vector<Segment> originals(opened->memory.segments().begin(), opened->memory.segments().end());
        for (const auto& segment : originals) {
            if (segment.origin != Origin::core || (segment.permissions & PF_W) == 0 || segment.range.size() > 64u << 20)
                continue;
            auto bytes = damaged.replace(segment.range);
            std::memcpy(bytes.data(), segment.data, bytes.size());
            // One word in 64 .. 2048 gets a bit flipped, or becomes another word of the segment.
            for (std::size_t at = 0; at + 8 <= bytes.size(); at += 8 * (1 + random() % (64u << seed))) {
                if (random() % 2 == 0) {
                    bytes[at + random() % 8] ^= static_cast<std::byte>(1u << random() % 8);
                } else {
                    std::memcpy(bytes.data() + at, segment.data + random() % (bytes.size() / 8) * 8, 8);
                }
            }
        }
        damaged.memory.freeze();
        auto list = read_goroutines(opened->core, damaged.memory, opened->runtime, 2);
        if (!list) continue;
        StackWalker walker(opened->core, damaged.memory, opened->runtime, *list);
        CalleeResolver callees(damaged.memory, opened->runtime, *list->code, &opened->disassembler);
        Waits waits = Waits::read(damaged.memory, opened->runtime, *list);
        for (const auto& g : list->all) {
            auto stack = walker.walk(g);
            EXPECT_FALSE(stack.end.empty());
            auto defers = read_defers(damaged.memory, opened->runtime, g, stack, callees);
            EXPECT_TRUE(defers.complete || !defers.why.empty());
            panic_text(read_panics(damaged.memory, opened->runtime, g));
            waits.of(damaged.memory, opened->runtime, g, stack);
            read_labels(damaged.memory, opened->runtime, g);
            origin_of(opened->runtime, *list, g);
            waited(*list, g);
            ++walked;
        }
        for (const auto& thread : opened->core.threads()) EXPECT_FALSE(walker.walk_thread(thread).end.empty());
    }
    EXPECT_GT(walked, 100u);
}

}  // namespace
}  // namespace incident::go::testing
