// Judging addresses, and typed words, on bundled cores whose programs wrote down what they planted.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <regex>

#include "detect/dangling.h"
#include "go/heap/heap_graph.h"
#include "process/holder.h"
#include "support/corpora.h"
#include "support/memory_builder.h"

namespace incident::detect {
namespace {

using ::testing::HasSubstr;

struct Opened {
    std::shared_ptr<const Process> process;
    const Locator* locator = nullptr;
    std::string truth;
    Address object, value;  ///< the first object of the truth, and the value of its field
};

std::optional<Opened> open(std::string_view bundle, std::string_view build, std::string_view mode) {
    auto probe = test::probe(bundle, build, mode);
    if (!probe) return std::nullopt;
    ProcessOptions options;
    options.core_path = probe->core;
    options.images.executable = probe->executable;
    options.passes = {.goroutines = true, .stacks = true, .spans = true, .crash = true, .heap = true};
    auto process = open_process(options);
    if (!process) return std::nullopt;
    Opened opened{
        .process = *process, .locator = {}, .truth = test::read_text(probe->truth), .object = {}, .value = {}};
    opened.locator = opened.process->locator.get();
    std::smatch found;
    if (std::regex_search(opened.truth, found, std::regex("object name=\\w+ type=\"[^\"]*\" addr=(0x[0-9a-f]+)")))
        opened.object = Address{std::stoull(found[1], nullptr, 16)};
    if (std::regex_search(opened.truth, found, std::regex("value=(0x[0-9a-f]+)")))
        opened.value = Address{std::stoull(found[1], nullptr, 16)};
    return opened;
}

class Judging : public testing::TestWithParam<const char*> {};
INSTANTIATE_TEST_SUITE_P(Bundles, Judging, testing::Values("heap-go1.16", "heap-go1.22", "heap-go1.27"),
                         [](auto& i) { return "go" + std::string(i.param).substr(9); });

#define INCIDENT_OPEN(name, build, mode)       \
    auto name = open(GetParam(), build, mode); \
    if (!name) GTEST_SKIP() << test::corpus_problem()

TEST_P(Judging, KnowsAFreeSlotAndSaysWhoseItMayBeOnePast) {
    INCIDENT_OPEN(opened, "stripped", "freed_slot");
    auto judgement = judge(*opened->process, *opened->locator, opened->value);
    EXPECT_EQ(judgement.gone, Gone::free_slot);
    EXPECT_THAT(judgement.state, HasSubstr("64 B objects"));
    // Its start is the end of its neighbour; its middle is nobody's end.
    EXPECT_FALSE(judgement.innocent.empty());
    EXPECT_TRUE(judge(*opened->process, *opened->locator, opened->value + 8).innocent.empty());
}

TEST_P(Judging, KnowsTheDeadPartOfAStack) {
    INCIDENT_OPEN(opened, "stripped", "dangle_return");
    auto judgement = judge(*opened->process, *opened->locator, opened->value);
    EXPECT_EQ(judgement.gone, Gone::dead_stack);
    ASSERT_TRUE(judgement.place.goroutine);
    // What lies above the goroutine's sp is in use, and one past the stack's end is nobody's.
    EXPECT_EQ(judge(*opened->process, *opened->locator, judgement.place.range.end).gone, Gone::no);
    EXPECT_EQ(judge(*opened->process, *opened->locator, judgement.place.sp).gone, Gone::no);
}

TEST_P(Judging, KnowsThatNobodysVariableLiesInAFrameOfTheRuntime) {
    INCIDENT_OPEN(opened, "stripped", "server");
    const Process& process = *opened->process;
    std::size_t parked = 0, slept = 0;
    for (std::size_t g = 0; g < process.stacks.size(); ++g) {
        if (process.goroutines->all[g].status != go::Status::waiting) continue;
        const auto frames = process.stacks.physical(g);
        if (frames.size() < 3 || frames[0].name() != "runtime.gopark" || frames[0].cfa - frames[0].sp < 32) continue;
        ++parked;
        EXPECT_EQ(judge(process, *opened->locator, frames[0].sp + 8).gone, Gone::runtimes);
        EXPECT_EQ(judge(process, *opened->locator, frames[0].cfa - 8).gone, Gone::runtimes);
        for (const go::PhysicalFrame& frame : frames)
            if (!frame.name().starts_with("runtime.") && frame.cfa - frame.sp >= 32) {
                ++slept;
                EXPECT_EQ(judge(process, *opened->locator, frame.sp + 8).gone, Gone::no) << frame.name();
                break;
            }
    }
    EXPECT_GT(parked, 10u);
    EXPECT_GT(slept, 10u);
}

TEST_P(Judging, KnowsAFreedStackAndAFreePage) {
    INCIDENT_OPEN(moved, "stripped", "dangle_move");
    EXPECT_EQ(judge(*moved->process, *moved->locator, moved->value).gone, Gone::freed_stack);
    INCIDENT_OPEN(page, "stripped", "freed_page");
    EXPECT_EQ(judge(*page->process, *page->locator, page->value).gone, Gone::free_page);
}

TEST_P(Judging, LetsLiveObjectsPassAndSaysWhichSpanMayEnd) {
    INCIDENT_OPEN(opened, "stripped", "kept_slot");
    EXPECT_EQ(judge(*opened->process, *opened->locator, opened->value).gone, Gone::no);
    for (const go::Span& span : opened->process->spans->all()) {
        const auto judgement = judge(*opened->process, *opened->locator, span.range.end);
        if (judgement.place.kind != PlaceKind::go_free_page) continue;
        EXPECT_EQ(judgement.may_end.end, span.range.end);
        EXPECT_TRUE(judgement.may_end.contains(span.range.end - 1));
        EXPECT_FALSE(judgement.innocent.empty());
    }
}

TEST_P(Judging, InterfacesNameTheFieldsOfAStrippedProgram) {
    INCIDENT_OPEN(opened, "stripped", "freed_slot");
    const Process& process = *opened->process;
    auto boxed = find_boxed(process.memory, *process.go, *process.spans, process.heap.get(), 2);
    auto holder = find_holder(*opened->locator, &boxed, opened->object + 8);
    EXPECT_EQ(holder.base, opened->object);
    EXPECT_EQ(holder.type, "main.holder");
    EXPECT_EQ(holder.field, "where");
}

TEST_P(Judging, HealthyHeapsHaveNoStraysButTheRuntimesOwn) {
    INCIDENT_OPEN(opened, "stripped", "server");
    const go::HeapGraph& heap = *opened->process->heap;
    for (const go::Stray& stray : heap.strays())
        EXPECT_FALSE(opened->locator->place(stray.value).kind == PlaceKind::go_object) << std::hex << stray.value.value;
    for (const go::Root& root : heap.roots().all)
        EXPECT_TRUE(root.conservative || heap.slots().allocated(root.target)) << std::hex << root.where.value;
}

TEST(EndOfARange, IsToldByAWordBesideItThatLeadsIntoTheObject) {
    constexpr Address object{0xc000005000};
    MemoryBuilder memory;
    memory.at(0x10000).u64(object.value).u64(object.value + 64).u64(7);      // {begin, end, n}
    memory.at(0x20000).u64(object.value + 64).u64(7).u64(object.value + 8);  // {end, n, cursor}
    memory.at(0x30000).u64(7).u64(object.value + 64).u64(0xc000009000);      // an end, or a freed object
    auto target = memory.build();
    Judgement judgement;
    judgement.may_end = {object, object + 64};
    EXPECT_TRUE(ends_a_range(target, Address{0x10008}, judgement));
    EXPECT_TRUE(ends_a_range(target, Address{0x20000}, judgement));
    EXPECT_FALSE(ends_a_range(target, Address{0x30008}, judgement));
    judgement.may_end = {};
    EXPECT_FALSE(ends_a_range(target, Address{0x10008}, judgement));
}

}  // namespace
}  // namespace incident::detect
