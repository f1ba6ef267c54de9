// Locate: one literal process with a Go heap, goroutine stacks, threads, files; each address has one right answer.
#include "process/locate.h"

#include <gtest/gtest.h>

#include <elf.h>

#include "go/heap/heap_target.h"
#include "process/maps.h"
#include "support/core_builder.h"

namespace incident {
namespace {

constexpr std::uint64_t stack_span = go::test_arena + 0x10000;  // 4 pages of 8 KiB stacks
constexpr std::uint64_t work_span = go::test_arena + 0x20000;
constexpr std::uint64_t thread_stack = 0x7ffd00000000;
constexpr std::uint64_t mspans = 0x7f0000000000;
constexpr std::uint64_t file_begin = 0x7f5000000000;

class LocateTest : public testing::Test {
protected:
    LocateTest() : heap(26) {
        // 48-byte slots, pointers: 0 … 3 allocated, 5 allocated
        heap.add({.begin = go::test_arena, .elem_count = 168, .free_index = 4, .alloc_count = 5, .allocated = {5}});
        heap.add({.begin = go::test_arena + 0x2000,
                  .noscan = true,
                  .elem_count = 170,
                  .sweepgen = 8,
                  .allocated = {1},
                  .marked = {}});
        heap.add({.begin = stack_span, .pages = 4, .state = 2, .size_class = 0, .elem_size = 8192, .elem_count = 0});
        heap.add({.begin = work_span, .pages = 1, .state = 2, .size_class = 0, .elem_size = 0, .elem_count = 0});
        memory = std::make_unique<TargetMemory>(heap.build());
        auto read = heap.read(*memory);
        EXPECT_TRUE(read.has_value());
        spans = std::make_unique<go::Spans>(std::move(*read));

        Bytes page(4096);
        CoreBuilder builder;
        builder.thread(4711, {{"rsp", thread_stack + 0x800}}).thread(4712, {{"rsp", stack_span + 0x2000 + 0x1f00}});
        builder.files({{file_begin, file_begin + 0x2000, 3, "/usr/lib/libfoo.so.1"}});
        builder.auxv({{AT_SYSINFO_EHDR, 0x7ffe00000000}});
        builder.load(go::test_arena, page);
        builder.load(mspans, Bytes(4 * 4096));  // and pages of others, in one mapping
        builder.load(file_begin, page, PF_R, 0x2000);
        builder.load(thread_stack, page);
        builder.load(0x7ffe00000000, page, PF_R | PF_X);
        builder.load(0x7f6000000000, page);
        file = std::make_unique<TemporaryFile>(builder.build());
        auto opened = file->open_core();
        EXPECT_TRUE(opened.has_value());
        core = std::make_unique<CoreFile>(std::move(*opened));
        images = std::make_unique<Images>(Images::match(*core, **memory, {}));

        go::Goroutine parked;
        parked.g = Address{go::test_arena + 48};
        parked.goid = 41;
        parked.status = go::Status::waiting;
        parked.stack = {Address{stack_span}, Address{stack_span + 0x2000}};
        parked.sched_sp = Address{stack_span + 0x1000};
        go::Goroutine running = parked;
        running.g = Address{go::test_arena + 96};
        running.goid = 42;
        running.status = go::Status::running;
        running.stack = {Address{stack_span + 0x2000}, Address{stack_span + 0x4000}};
        running.tid = 4712;
        list.all = {parked, running};
    }

    Locator locator() {
        return Locator(LocateContext{
            .core = *core, .memory = **memory, .images = *images, .goroutines = &list, .spans = spans.get()});
    }
    std::string text(std::uint64_t a) { return locator().describe(Address{a}); }

    go::HeapTarget heap;
    std::unique_ptr<TargetMemory> memory;
    std::unique_ptr<go::Spans> spans;
    std::unique_ptr<TemporaryFile> file;
    std::unique_ptr<CoreFile> core;
    std::unique_ptr<Images> images;
    go::GoroutineList list;
};

TEST_F(LocateTest, Numbers) {
    EXPECT_EQ(text(0), "nil");
    EXPECT_EQ(text(0x10), "small number");
    EXPECT_EQ(text(~0ull), "small number") << "-1";
    EXPECT_EQ(text(0x6568206f6c6c6568), "no user-space address");
    EXPECT_EQ(text(0x123456789000), "unmapped");
}

TEST_F(LocateTest, HeapSlots) {
    EXPECT_EQ(text(go::test_arena), "heap: 48 B object, allocated");
    EXPECT_EQ(text(go::test_arena + 3 * 48 + 8), "heap: 48 B object+0x8, allocated");
    EXPECT_EQ(text(go::test_arena + 4 * 48), "heap: 48 B slot, FREE");
    EXPECT_EQ(text(go::test_arena + 168 * 48), "heap: behind the last slot of a span");
    EXPECT_EQ(text(go::test_arena + 0x2000 + 48), "heap: 48 B object, no pointers, garbage, not swept yet");
    EXPECT_EQ(text(go::test_arena + 0x4000), "heap: FREE page");
    EXPECT_EQ(text(work_span + 8), "heap: pages the Go runtime uses itself");
    EXPECT_EQ(text(go::test_arena + 48), "heap: runtime.g of goroutine 41");
    EXPECT_TRUE(locator().place(Address{go::test_arena + 4 * 48}).freed());
    EXPECT_TRUE(locator().place(Address{go::test_arena + 0x4000}).freed());
    EXPECT_FALSE(locator().place(Address{go::test_arena}).freed());
}

TEST_F(LocateTest, GoStacksLiveAndDead) {
    EXPECT_EQ(text(stack_span + 0x1e60), "goroutine 41's stack, 0x1a0 below its top");
    EXPECT_EQ(text(stack_span + 0xfc0), "goroutine 41's stack, DEAD part: 0x40 below its sp");
    EXPECT_EQ(text(stack_span + 0x2000 + 0x1f00), "goroutine 42's stack, 0x100 below its top") << "sp from its thread";
    EXPECT_EQ(text(stack_span + 0x2000 + 0x1ef8), "goroutine 42's stack, DEAD part: 0x8 below its sp");
    EXPECT_EQ(text(stack_span + 0x4010), "FREED stack of 8192 B");
    EXPECT_EQ(text(stack_span + 0x4000), "goroutine 42's stack, one past its end") << "stack.hi is no dangling pointer";
}

TEST_F(LocateTest, FreedStacksNeedAllGoroutines) {
    list.which = go::Which::on_threads;
    EXPECT_EQ(text(stack_span + 0x4010), "a goroutine's stack, live or freed: unknown");
    EXPECT_FALSE(locator().place(Address{stack_span + 0x4010}).freed());
}

TEST_F(LocateTest, RunningGoroutineElsewhereHasNoKnownSp) {
    list.all[1].tid = 4711;  // its thread's sp lies on another stack: a signal handler or g0
    EXPECT_EQ(text(stack_span + 0x2000 + 0x1f00), "goroutine 42's stack, 0x100 below its top (live or dead: unknown)");
}

TEST_F(LocateTest, FramesOfWalkedStacks) {
    go::GoStacks stacks(2);
    go::CodePoint settle, main;
    settle.func.emplace().name = "main.settle";
    main.func.emplace().name = "main.main";
    go::PhysicalFrame first, second;
    first.code = &settle;
    first.sp = Address{stack_span + 0x1000};
    first.cfa = Address{stack_span + 0x1080};
    second.code = &main;
    second.sp = first.cfa;
    second.cfa = Address{stack_span + 0x1100};
    go::GoStack walked;
    walked.physical = {first, second};
    stacks.set(0, list.all[0].stack, walked);
    Locator with(LocateContext{.core = *core,
                               .memory = **memory,
                               .images = *images,
                               .goroutines = &list,
                               .spans = spans.get(),
                               .stacks = &stacks});
    EXPECT_EQ(with.describe(Address{stack_span + 0x107f}), "goroutine 41's stack, in main.settle, 0xf81 below its top");
    EXPECT_EQ(with.place(Address{stack_span + 0x1080}).frame->name(), "main.main");
    EXPECT_EQ(with.place(Address{stack_span + 0x1100}).frame, std::nullopt);
    EXPECT_EQ(with.place(Address{stack_span + 0xfff}).part, StackPart::dead);
}

TEST_F(LocateTest, NativeStacksAndMappings) {
    EXPECT_EQ(text(thread_stack + 0x900), "thread 4711's stack, sp+0x100");
    EXPECT_EQ(text(thread_stack + 0x7f8), "thread 4711's stack, red zone: 0x8 below its sp");
    EXPECT_EQ(text(thread_stack + 0x700), "thread 4711's stack, DEAD part: 0x100 below its sp");
    EXPECT_EQ(text(file_begin + 0x1010), "file: libfoo.so.1+0x4010");
    EXPECT_EQ(text(0x7ffe00000000), "vdso");
    EXPECT_EQ(text(mspans + 0x10), "Go runtime memory");
    EXPECT_EQ(text(mspans + 0x3010), "anonymous mapping, 16.4 kB, rw-") << "the kernel joined them";
    EXPECT_EQ(text(0x7f6000000010), "anonymous mapping, 4.1 kB, rw-");
}

TEST_F(LocateTest, WithoutSpansStacksAreStillKnown) {
    Locator poor(LocateContext{.core = *core, .memory = **memory, .images = *images, .goroutines = &list});
    EXPECT_EQ(poor.describe(Address{stack_span + 0x1e60}), "goroutine 41's stack, 0x1a0 below its top");
    EXPECT_EQ(poor.place(Address{go::test_arena + 8}).kind, PlaceKind::anonymous);
}

TEST_F(LocateTest, RemarksOnlyWhereTheyHelp) {
    EXPECT_EQ(locator().points_to(1250), "");
    EXPECT_EQ(locator().points_to(0x123456789000), "");
    EXPECT_EQ(locator().points_to(go::test_arena), "heap: 48 B object, allocated");
}

TEST_F(LocateTest, Details) {
    auto location = locator().location(Address{go::test_arena + 5 * 48 + 1});
    EXPECT_EQ(location.kind, "go-heap");
    EXPECT_NE(std::ranges::find(location.details, std::pair<std::string, std::string>("slot", "5 of 168")),
              location.details.end());
}

TEST_F(LocateTest, ObjectTypesFromAnotherPass) {
    LocateContext context{
        .core = *core, .memory = **memory, .images = *images, .goroutines = &list, .spans = spans.get()};
    context.object_type = [](const go::ObjectRef& object) {
        return object.index == 5 ? std::string("main.Tx") : std::string();
    };
    EXPECT_EQ(Locator(context).describe(Address{go::test_arena + 5 * 48 + 16}), "heap: main.Tx+0x10, 48 B, allocated");
}

TEST_F(LocateTest, MapsNameWhatTheyHold) {
    auto rows = maps_section(locator());
    auto what = [&](std::uint64_t begin) {
        auto row = std::ranges::find(rows, Address{begin}, [](const report::Mapping& m) { return m.range.begin; });
        return row == rows.end() ? std::string("no row") : row->what;
    };
    EXPECT_EQ(what(go::test_arena), "Go heap arena");
    EXPECT_EQ(what(mspans), "partly Go runtime memory");
    EXPECT_EQ(what(file_begin), "libfoo.so.1 rodata");
    EXPECT_EQ(what(thread_stack), "stack of thread 4711");
    EXPECT_EQ(what(0x7ffe00000000), "vdso");
    EXPECT_TRUE(std::ranges::is_sorted(rows, {}, [](const report::Mapping& m) { return m.range.begin; }));
}

TEST_F(LocateTest, WordsSayWhatTheyAreAndWhyTheyAreNot) {
    auto words = read_words(locator(), memory->operator[]("mspan0"), 4);
    ASSERT_EQ(words.size(), 4u);
    EXPECT_EQ(words[3].value, go::test_arena) << "startAddr";
    EXPECT_EQ(words[3].points_to, "heap: 48 B object, allocated");
    EXPECT_EQ(words[0].symbol, "Go runtime memory");
    EXPECT_EQ(words[1].symbol, "");
    auto gone = read_words(locator(), Address{0x123456789000}, 1);
    ASSERT_EQ(gone.size(), 1u);
    EXPECT_FALSE(gone[0].value.has_value());
    EXPECT_NE(gone[0].origin, "");
    EXPECT_LE(read_words(locator(), Address{~0ull - 20}, 100).size(), 3u) << "ends with the address space";
}

}  // namespace
}  // namespace incident
