// Spans on label-built heaps: slot states, the two layouts of small spans, and mspans that contradict themselves.
#include "go/heap/spans.h"

#include <gtest/gtest.h>

#include "heap_target.h"

namespace incident::go {
namespace {

Spans must_read(HeapTarget& heap, const TargetMemory& target) {
    auto spans = heap.read(target);
    EXPECT_TRUE(spans.has_value()) << describe(spans.error());
    return std::move(*spans);
}

TEST(Spans, SlotIsAllocatedBelowFreeindexOrByItsBit) {
    HeapTarget heap(19);
    heap.add({.free_index = 3, .alloc_count = 5, .allocated = {0, 7, 169}});
    auto target = heap.build();
    Spans spans = must_read(heap, target);
    ASSERT_EQ(spans.all().size(), 1u);
    const Span& s = spans.all()[0];
    EXPECT_EQ(spans.slot_state(s, 0), SlotState::allocated);
    EXPECT_EQ(spans.slot_state(s, 2), SlotState::allocated);  // handed out since the last sweep: no bit
    EXPECT_EQ(spans.slot_state(s, 3), SlotState::free);
    EXPECT_EQ(spans.slot_state(s, 7), SlotState::allocated);
    EXPECT_EQ(spans.slot_state(s, 168), SlotState::free);
    EXPECT_EQ(spans.slot_state(s, 169), SlotState::allocated);
    EXPECT_EQ(spans.slot_state(s, 170), SlotState::unknown);
    EXPECT_EQ(spans.check().spans, 1u);
    EXPECT_EQ(spans.check().equal, 1u);
    EXPECT_EQ(spans.totals().objects, 5u);
    EXPECT_EQ(spans.totals().object_bytes, 5u * 48);
    EXPECT_TRUE(spans.complete());
}

TEST(Spans, CountThatContradictsTheBitsIsNamed) {
    HeapTarget heap(27);
    heap.add({.free_index = 3, .alloc_count = 9});
    auto target = heap.build();
    Spans spans = must_read(heap, target);
    EXPECT_EQ(spans.check().equal, 0u);
    EXPECT_EQ(spans.check().unequal, std::vector<std::uint32_t>{0});
}

TEST(Spans, InteriorPointersFindTheirSlot) {
    HeapTarget heap(22);
    heap.add({.begin = test_arena + 0x2000, .elem_count = 168, .free_index = 10, .alloc_count = 10});
    heap.add({.begin = test_arena + 0x10000,
              .pages = 5,
              .size_class = 0,
              .elem_size = 5 * 8192,
              .elem_count = 1,
              .free_index = 1,
              .alloc_count = 1});
    auto target = heap.build();
    Spans spans = must_read(heap, target);
    auto object = spans.find_object(Address{test_arena + 0x2000 + 48 * 9 + 47});
    ASSERT_TRUE(object.has_value());
    EXPECT_EQ(object->index, 9u);
    EXPECT_EQ(object->base, Address{test_arena + 0x2000 + 48 * 9});
    EXPECT_EQ(object->state, SlotState::allocated);
    for (std::uint32_t i = 0; i < 168; ++i)
        for (std::uint64_t off : {0, 1, 47})
            EXPECT_EQ(spans.all()[0].index_of(Address{test_arena + 0x2000 + 48ull * i + off}), i);
    EXPECT_FALSE(spans.find_object(Address{test_arena + 0x2000 + 48 * 168}).has_value())
        << "the span's tail is no object";
    auto large = spans.find_object(Address{test_arena + 0x10000 + 4 * 8192 + 5});
    ASSERT_TRUE(large.has_value());
    EXPECT_EQ(large->base, Address{test_arena + 0x10000});
    EXPECT_EQ(large->size, 5u * 8192);
}

TEST(Spans, PagesInNoSpanAreFree) {
    HeapTarget heap(26);
    heap.add({.begin = test_arena + 0x4000});
    heap.add({.begin = test_arena + 0x6000, .state = 0});  // dead: its page was given back
    auto target = heap.build();
    Spans spans = must_read(heap, target);
    EXPECT_TRUE(spans.is_free_page(Address{test_arena + 0x2000}));
    EXPECT_FALSE(spans.is_free_page(Address{test_arena + 0x4000}));
    EXPECT_TRUE(spans.is_free_page(Address{test_arena + 0x6000}));
    EXPECT_FALSE(spans.is_free_page(Address{test_arena - 1})) << "outside the arenas";
    EXPECT_FALSE(spans.in_arena(Address{0x600000}));
    ASSERT_EQ(spans.arenas().size(), 1u);
    EXPECT_EQ(spans.arenas()[0].size(), 64u << 20);
}

TEST(Spans, PointerMapsByVersionAndSize) {
    auto kinds = [](int minor) {
        HeapTarget heap(minor);
        heap.add({.begin = test_arena, .elem_count = static_cast<std::uint16_t>(minor >= 22 ? 168 : 170)});
        heap.add({.begin = test_arena + 0x2000, .noscan = true});
        heap.add({.begin = test_arena + 0x4000, .size_class = 32, .elem_size = 1024, .elem_count = 8});
        heap.add({.begin = test_arena + 0x6000, .pages = 5, .size_class = 0, .elem_size = 5 * 8192, .elem_count = 1});
        auto target = heap.build();
        Spans spans = must_read(heap, target);
        std::vector<PointerInfo> all;
        for (const Span& s : spans.all()) all.push_back(s.pointers);
        return all;
    };
    using enum PointerInfo;
    EXPECT_EQ(kinds(21), (std::vector{arena_bitmap, none, arena_bitmap, arena_bitmap}));
    EXPECT_EQ(kinds(24), (std::vector{span_bitmap, none, header, span_type}));
}

TEST(Spans, GreenTeaKeepsMarksInTheSpan) {
    HeapTarget heap(26);
    // 8192 - 128 (heap bitmap) - 128 (marks) = 7936 = 165 slots of 48 bytes
    heap.add({.elem_count = 165, .alloc_count = 2, .sweepgen = 8, .allocated = {1, 2}});
    heap.memory().at(test_arena).zeros(8192);
    heap.memory().at(test_arena + 8192 - 64).u8(1 << 2);  // marks: slot 2
    auto target = heap.build();
    Spans spans = must_read(heap, target);
    const Span& s = spans.all()[0];
    EXPECT_TRUE(s.inline_mark_bits);
    EXPECT_TRUE(s.needs_sweep);
    EXPECT_EQ(spans.marked(s, 1), std::optional(false)) << "garbage that the sweeper has not reached";
    EXPECT_EQ(spans.marked(s, 2), std::optional(true));
    EXPECT_EQ(spans.heap_bits(s), Address{test_arena + 8192 - 256});

    HeapTarget classic(25);
    classic.add({.elem_count = 168});
    auto classic_target = classic.build();
    Spans without = must_read(classic, classic_target);
    EXPECT_FALSE(without.all()[0].inline_mark_bits);
    EXPECT_FALSE(without.marked(without.all()[0], 1).has_value()) << "swept: marks mean nothing";
    EXPECT_EQ(without.heap_bits(without.all()[0]), Address{test_arena + 8192 - 128});
}

TEST(Spans, DamagedSpansAnswerNothing) {
    HeapTarget heap(19);
    heap.add({.begin = test_arena});
    heap.add({.begin = test_arena + 8192 * 3 + 8});                                  // not on a page
    heap.add({.begin = test_arena + 8192 * 4, .state = 7});                          // no such state
    heap.add({.begin = test_arena + 8192 * 5, .elem_count = 20, .free_index = 21});  // beyond its end
    heap.add({.begin = test_arena + 8192 * 6, .elem_size = 0});
    heap.add({.begin = test_arena + 8192 * 7, .elem_count = 171});  // more than fits
    heap.add({.begin = test_arena + 8192 * 8, .size_class = 99});
    heap.add({.begin = test_arena});                     // claims the first one's page
    heap.add({.begin = test_arena - 8192, .pages = 3});  // begins outside any arena
    heap.add({.begin = test_arena + 8192 * 10, .pages = ~0ull >> 13});
    auto target = heap.build();
    Spans spans = must_read(heap, target);
    EXPECT_EQ(spans.all().size(), 1u);
    EXPECT_FALSE(spans.complete());
    ASSERT_EQ(spans.gaps().size(), 1u);
    EXPECT_EQ(spans.gaps()[0].what, "9 of 10 heap spans");
    EXPECT_FALSE(spans.is_free_page(Address{test_arena + 8192 * 3})) << "may belong to a span that could not be read";
}

TEST(Spans, ALimitThatIsNotSetYetIsNoDamage) {
    HeapTarget heap(19);
    heap.add({.begin = test_arena, .limit = test_arena + 8192 * 90});
    heap.add({.begin = test_arena + 8192, .free_index = 3, .alloc_count = 3, .limit = test_arena + 8192 * 90});
    auto target = heap.build();
    Spans spans = must_read(heap, target);
    ASSERT_EQ(spans.all().size(), 1u);
    EXPECT_EQ(spans.all()[0].limit, Address{test_arena + 170 * 48});
    ASSERT_EQ(spans.gaps().size(), 1u);
    EXPECT_EQ(spans.gaps()[0].what, "1 of 2 heap spans") << "one that has given objects has its limit";
}

TEST(Spans, BitsThatAreNotInTheCoreLeaveSlotsUnknown) {
    HeapTarget heap(23);
    heap.add({.elem_count = 168, .free_index = 4, .alloc_count = 4});
    auto target_memory = heap.build();
    heap.memory().at("mspan0", 64).u64(0xdead0000);  // allocBits
    auto target = heap.memory().build();
    Spans spans = must_read(heap, target);
    EXPECT_EQ(spans.slot_state(spans.all()[0], 3), SlotState::allocated);
    EXPECT_EQ(spans.slot_state(spans.all()[0], 4), SlotState::unknown);
    EXPECT_EQ(spans.check().unreadable, 1u);
    EXPECT_EQ(spans.gaps().size(), 1u);
}

TEST(Spans, AbsurdListFailsWithItsAddress) {
    HeapTarget heap(23);
    heap.add({});
    heap.build();
    heap.memory().at("mheap", 16).u64(~0ull);
    auto target = heap.memory().build();
    auto spans = heap.read(target);
    ASSERT_FALSE(spans.has_value());
    EXPECT_EQ(spans.error().kind, ErrorKind::corrupt);
    EXPECT_EQ(spans.error().address, target["mheap"] + 8);
}

TEST(Spans, UnreadableArenaListIsTakenFromTheSpans) {
    HeapTarget heap(23);
    heap.add({.elem_count = 168});
    heap.build();
    heap.memory().at("mheap", 32).u64(0x1000);
    auto target = heap.memory().build();
    Spans spans = must_read(heap, target);
    ASSERT_EQ(spans.arenas().size(), 1u);
    EXPECT_EQ(spans.arenas()[0].begin, Address{test_arena});
    EXPECT_EQ(spans.gaps().size(), 1u);
}

TEST(Spans, StackSpansHoldNoObjects) {
    HeapTarget heap(23);
    heap.add({.pages = 4, .state = 2, .size_class = 0, .elem_size = 2048, .elem_count = 0});
    auto target = heap.build();
    Spans spans = must_read(heap, target);
    ASSERT_NE(spans.find(Address{test_arena + 100}), nullptr);
    EXPECT_EQ(spans.find(Address{test_arena + 100})->state, SpanState::manual);
    EXPECT_FALSE(spans.find_object(Address{test_arena + 100}).has_value());
    EXPECT_EQ(spans.totals().stack_bytes, 4u * 8192);
}

}  // namespace
}  // namespace incident::go
