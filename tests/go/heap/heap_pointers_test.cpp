// Pointer words and marking on small heaps written down by hand: every way in which a span says where its pointers are,
// and heaps that lie.
#include "go/heap/heap_pointers.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "go/heap/heap_target.h"
#include "go/heap/mark.h"

namespace incident::go {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::Pair;

constexpr std::uint64_t types = 0x500000;
constexpr std::uint64_t arena_table = 0x7e0000000000, heap_arena = 0x7d0000000000;

struct TestHeap {
    explicit TestHeap(int minor) : target(minor) {
        auto& t = target.layout.type;
        t.size_.offset = 0;
        t.ptrdata.offset = 8;
        t.tflag.offset = 20;
        t.kind.offset = 23;
        t.gcdata.offset = 32;
        target.layout.arraytype.elem.offset = 48;
        target.layout.arraytype.len.offset = 64;
        target.layout.structtype.fields_data.offset = 56;
        target.layout.structtype.fields_len.offset = 64;
        target.layout.structfield.size = 24;
        target.layout.structfield.typ.offset = 8;
        target.layout.structfield.offset.offset = 16;
        if (minor < 22) {
            target.layout.mheap.arenas.offset = 4096;
            target.layout.heapArena.bitmap.offset = 0;
            if (minor >= 20) target.layout.heapArena.noMorePtrs.offset = 1 << 20;
            std::uint64_t index = (test_arena + 0x800000000000) >> 26;
            target.memory().at(0x601000).u64(arena_table);
            target.memory().at(arena_table + index * 8).u64(heap_arena);
            target.memory().at(heap_arena).zeros(2 << 20);
        }
    }
    MemoryBuilder& memory() { return target.memory(); }
    MemoryBuilder& type(std::uint64_t at, std::uint64_t size, std::uint64_t ptrdata, std::uint64_t mask,
                        std::uint8_t flags = 0, std::uint8_t kind = 25) {
        memory().at(at).zeros(96);
        memory().at(at).u64(size).u64(ptrdata).u32(0).u8(flags).u8(8).u8(8).u8(kind).u64(0).u64(mask);
        return memory();
    }
    /// Bits of the two-bit bitmap for the words from `word` on: pointer and scan as written.
    void two_bits(std::uint64_t word, std::vector<std::pair<bool, bool>> bits) {
        std::vector<std::uint8_t> bytes(bits.size() / 4 + 2);
        for (std::size_t i = 0; i < bits.size(); ++i) {
            std::size_t at = word % 4 + i;
            bytes[at / 4] |= static_cast<std::uint8_t>((bits[i].first ? 1u : 0u) << (at % 4));
            bytes[at / 4] |= static_cast<std::uint8_t>((bits[i].second ? 16u : 0u) << (at % 4));
        }
        memory().at(heap_arena + word / 4);
        for (std::uint8_t byte : bytes) memory().u8(byte);
    }
    void build() {
        built = target.build();
        spans = *target.read(*built);
        slots = *HeapSlots::build(*built, *spans);
        pointers.emplace(*built, target.layout, target.version, std::span<const ModuleData>{}, (*built)["mheap"],
                         *slots);
    }
    std::vector<std::pair<std::uint64_t, std::uint64_t>> words(std::uint64_t object, bool* known = nullptr) {
        std::vector<std::pair<std::uint64_t, std::uint64_t>> found;
        bool all = pointers->for_each_pointer_word(*slots->slot_of(Address{object}),
                                                   [&](auto at, auto value) { found.emplace_back(at, value); });
        if (known != nullptr) *known = all;
        return found;
    }
    HeapTarget target;
    std::optional<TargetMemory> built;
    std::optional<Spans> spans;
    std::optional<HeapSlots> slots;
    std::optional<HeapPointers> pointers;
};

TestSpan small(std::uint64_t page, bool noscan = false) {
    TestSpan span;
    span.begin = test_arena + page * 8192;
    span.noscan = noscan;
    span.free_index = 8;
    span.alloc_count = 8;
    return span;
}
TestSpan medium(std::uint64_t page) {  // 1024-byte objects: with a header since 1.22
    TestSpan span;
    span.begin = test_arena + page * 8192;
    span.size_class = 32;
    span.elem_size = 1024;
    span.elem_count = 8;
    span.free_index = 8;
    span.alloc_count = 8;
    return span;
}
TestSpan large(std::uint64_t page, std::uint64_t pages) {
    TestSpan span;
    span.begin = test_arena + page * 8192;
    span.pages = pages;
    span.size_class = 0;
    span.elem_size = pages * 8192;
    span.elem_count = 1;
    span.free_index = 1;
    span.alloc_count = 1;
    return span;
}

TEST(HeapSlots, NumbersEverySlotAndNothingElse) {
    TestHeap heap(27);
    heap.target.add(small(0)).add(medium(1)).add(large(2, 3));
    heap.memory().at(test_arena).zeros(5 * 8192);
    heap.build();
    const HeapSlots& slots = *heap.slots;
    SlotId count = 0;
    slots.for_each_slot([&](SlotId slot) {
        ++count;
        EXPECT_TRUE(slots.is_slot(slot));
        EXPECT_EQ(slots.find(slots.base(slot)), slot);
        EXPECT_EQ(slots.find(slots.base(slot) + (slots.size(slot) - 1)), slot);
    });
    EXPECT_EQ(count, 170u + 8 + 1);
    EXPECT_FALSE(slots.slot_of(Address{test_arena + 170 * 48}));  // the tail of the first span
    EXPECT_FALSE(slots.slot_of(Address{test_arena + 5 * 8192}));  // a page of no span
    EXPECT_FALSE(slots.slot_of(Address{test_arena - 8}));
    EXPECT_FALSE(slots.slot_of(Address{0}));
    EXPECT_FALSE(slots.slot_of(Address{~std::uint64_t{0}}));
    EXPECT_TRUE(slots.allocated(*slots.slot_of(Address{test_arena + 7 * 48})));
    EXPECT_FALSE(slots.allocated(*slots.slot_of(Address{test_arena + 8 * 48})));
    EXPECT_EQ(slots.allocated_bits().count(), 8u + 8 + 1);
}

TEST(HeapPointers, SpanBitmap) {
    TestHeap heap(25);
    heap.target.add(small(0));
    heap.memory().at(test_arena).zeros(8192);
    // Object 2 begins at word 12; its words 0 and 5 are pointers. Object 10 (word 60) has bits in two words of the map.
    heap.memory().at(test_arena + 8192 - 128).u64(std::uint64_t{0b100001} << 12 | std::uint64_t{0b1011} << 60).u64(2);
    heap.memory().at(test_arena + 2 * 48).u64(0x11).u64(0x22).u64(0x33).u64(0x44).u64(0x55).u64(0x66);
    heap.memory().at(test_arena + 10 * 48).u64(1).u64(2).u64(3).u64(4).u64(5).u64(6);
    heap.build();
    EXPECT_THAT(heap.words(test_arena + 2 * 48), ElementsAre(Pair(0, 0x11), Pair(40, 0x66)));
    EXPECT_THAT(heap.words(test_arena + 10 * 48), ElementsAre(Pair(0, 1), Pair(8, 2), Pair(24, 4), Pair(40, 6)));
    EXPECT_THAT(heap.words(test_arena + 3 * 48), IsEmpty());
}

TEST(HeapPointers, TwoBitsEndWhereNothingMoreIsToScan) {
    TestHeap heap(19);
    heap.target.add(small(0)).add(small(1, true));
    heap.memory().at(test_arena).zeros(2 * 8192);
    for (int i = 0; i < 6; ++i) heap.memory().at(test_arena + 48 + i * 8).u64(0x100 + i);
    // Pointer, scalar, dead; the pointer behind it is stale.
    heap.two_bits(6, {{true, true}, {false, true}, {true, false}, {true, true}, {true, true}, {true, true}});
    heap.build();
    EXPECT_THAT(heap.words(test_arena + 48), ElementsAre(Pair(0, 0x100)));
    EXPECT_THAT(heap.words(test_arena + 8192), IsEmpty());  // noscan
}

TEST(HeapPointers, OneBitAndNoMorePointers) {
    for (bool ended : {false, true}) {
        TestHeap heap(21);
        heap.target.add(medium(0));
        heap.memory().at(test_arena).zeros(8192);
        for (int i = 0; i < 128; ++i) heap.memory().at(test_arena + i * 8).u64(0x1000 + i);
        heap.memory().at(heap_arena).u64(1).u64(1);  // words 0 and 64
        heap.memory().at(heap_arena + (1 << 20)).u8(ended ? 1 : 0);
        heap.build();
        if (ended) {
            EXPECT_THAT(heap.words(test_arena), ElementsAre(Pair(0, 0x1000)));
        } else {
            EXPECT_THAT(heap.words(test_arena), ElementsAre(Pair(0, 0x1000), Pair(512, 0x1040)));
        }
    }
}

TEST(HeapPointers, HeadersRepeatTheirType) {
    TestHeap heap(27);
    heap.target.add(medium(0));
    heap.memory().at(test_arena).zeros(8192);
    heap.type(types, 400, 16, types + 4096);  // 50 words, of which the second is a pointer
    heap.memory().at(types + 4096).u64(0b10);
    heap.memory().at(test_arena).u64(types);
    for (std::uint64_t word : {2u, 52u, 102u}) heap.memory().at(test_arena + word * 8).u64(0x700 + word);
    heap.build();
    EXPECT_THAT(heap.words(test_arena), ElementsAre(Pair(16, 0x702), Pair(416, 0x734), Pair(816, 0x766)));
    EXPECT_EQ(heap.pointers->type_of(*heap.slots->slot_of(Address{test_arena})), Address{types});
}

TEST(HeapPointers, TypesThatCannotBeTrueAreUnknown) {
    struct {
        const char* what;
        std::uint64_t size, pointers, mask;
    } cases[] = {
        {"more pointers than bytes", 64, 72, types + 4096},
        {"a mask that is nowhere", 64, 64, 0x123450},
        {"absurd size", ~std::uint64_t{0}, 8, types + 4096},
        {"pointers beyond all memory", std::uint64_t{1} << 39, std::uint64_t{1} << 39, types + 4096},
        {"odd pointers", 64, 9, types + 4096},
    };
    for (const auto& c : cases) {
        TestHeap heap(27);
        heap.target.add(medium(0));
        heap.memory().at(test_arena).zeros(8192);
        heap.type(types, c.size, c.pointers, c.mask);
        heap.memory().at(types + 4096).u64(~std::uint64_t{0});
        heap.memory().at(test_arena).u64(types);
        heap.memory().at(test_arena + 1024).u64(0xdeadbeef0);  // and a header that is no type
        heap.build();
        bool known = true;
        EXPECT_THAT(heap.words(test_arena, &known), IsEmpty()) << c.what;
        EXPECT_FALSE(known) << c.what;
        known = true;
        heap.words(test_arena + 1024, &known);
        EXPECT_FALSE(known);
    }
}

TEST(HeapPointers, AMaskLongerThanItsObjectIsCutThere) {
    TestHeap heap(27);
    heap.target.add(medium(0));
    heap.memory().at(test_arena).fill(8192, 0x41);
    heap.type(types, 1 << 20, 1 << 20, types + 4096);
    heap.memory().at(types + 4096).fill((1 << 20) / 64, 0xff);
    heap.memory().at(test_arena).u64(types);
    heap.build();
    auto words = heap.words(test_arena);
    ASSERT_EQ(words.size(), 127u);
    EXPECT_EQ(words.back().first, 1016u);
}

TEST(HeapPointers, MasksOnDemandAreBuilt) {
    TestHeap heap(25);
    heap.target.add(medium(0));
    heap.memory().at(test_arena).zeros(8192);
    // [3]struct{ a int; p *T }: the slot for the mask is still empty.
    heap.type(types, 48, 48, types + 4096, 0x10, 17);
    heap.memory().at(types + 48).u64(types + 512).u64(0).u64(3);
    heap.type(types + 512, 16, 16, types + 4200);
    heap.memory().at(types + 4096).u64(0);
    heap.memory().at(types + 4200).u64(0b10);
    heap.memory().at(test_arena).u64(types);
    for (int i = 1; i < 128; ++i) heap.memory().at(test_arena + i * 8).u64(i);
    heap.build();
    auto words = heap.words(test_arena);
    ASSERT_EQ(words.size(), 63u);
    EXPECT_THAT(words[0], Pair(16, 2));
    EXPECT_THAT(words[1], Pair(32, 4));
}

TEST(HeapPointers, TypesMadeOfThemselvesEnd) {
    TestHeap heap(27);
    heap.target.add(medium(0));
    heap.memory().at(test_arena).zeros(8192);
    heap.type(types, 1 << 30, 1 << 30, types + 4096, 0x10, 17);  // an array of itself, 2^27 long
    heap.memory().at(types + 48).u64(types).u64(0).u64(1 << 27);
    heap.memory().at(types + 4096).u64(0);
    heap.memory().at(test_arena).u64(types);
    heap.build();
    bool known = true;
    heap.words(test_arena, &known);
    EXPECT_FALSE(known);
}

TEST(HeapPointers, PartsThatClaimTheWholeEnd) {
    TestHeap heap(27);
    heap.target.add(medium(0));
    heap.memory().at(test_arena).zeros(8192);
    heap.type(types, 1 << 23, 1 << 23, types + 4096, 0x10, 17);  // 2^20 values of 8 bytes
    heap.memory().at(types + 48).u64(types + 512).u64(0).u64(1 << 20);
    heap.memory().at(types + 4096).u64(0);
    heap.type(types + 512, 8, 1 << 23, types + 8192);  // each with 2^20 pointers
    heap.memory().at(types + 8192).zeros(1 << 17);
    heap.build();
    EXPECT_FALSE(heap.pointers->masks().find(Address{types})->known);
}

TEST(HeapPointers, GcProgramsOfOldLargeTypes) {
    TestHeap heap(23);
    TestSpan span = large(0, 2);
    heap.target.add(span);
    heap.memory().at(test_arena).zeros(2 * 8192);
    // "2 literal bits 01, then repeat the last 2 bits 100 times": pointers at even words.
    heap.type(types, 404 * 8, 404 * 8, types + 4096, 0, 17 | 0x40);
    heap.memory().at(types + 4096).u32(0).u8(2).u8(0b01).u8(0x82).u8(100).u8(0).zeros(64);
    for (int i = 0; i < 8; ++i) heap.memory().at(test_arena + i * 8).u64(0x10 + i);
    heap.build();
    const TypeMask* mask = heap.pointers->masks().find(Address{types});
    ASSERT_TRUE(mask->known);
    EXPECT_TRUE(mask->pointer(0));
    EXPECT_FALSE(mask->pointer(1));
    EXPECT_TRUE(mask->pointer(200));
    EXPECT_FALSE(mask->pointer(203));
    // A program that repeats what is not there, and one that never ends.
    for (std::uint8_t first : {0x85, 0xff}) {
        TestHeap bad(23);
        bad.target.add(span);
        bad.memory().at(test_arena).zeros(2 * 8192);
        bad.type(types, 1 << 20, 1 << 20, types + 4096, 0, 17 | 0x40);
        bad.memory().at(types + 4096).u32(0).fill(4096, first);
        bad.build();
        EXPECT_FALSE(bad.pointers->masks().find(Address{types})->known);
    }
}

TEST(HeapPointers, ObjectsWhoseBytesAreCutSayWhatIsThere) {
    TestHeap heap(25);
    heap.target.add(small(0));
    heap.memory().at(test_arena).zeros(96);                     // objects 0 and 1
    heap.memory().missing(test_arena + 96, 8192 - 96 - 128);    // the rest is not in the core …
    heap.memory().at(test_arena + 8192 - 128).fill(128, 0xff);  // … but for the bitmap
    heap.memory().at(test_arena).u64(0x77);
    heap.build();
    bool known = false;
    EXPECT_THAT(heap.words(test_arena, &known), ElementsAre(Pair(0, 0x77)));
    EXPECT_TRUE(known);
    EXPECT_THAT(heap.words(test_arena + 5 * 48, &known), IsEmpty());
    EXPECT_FALSE(known);
}

TEST(HeapPointers, ManyLyingTypesCostABoundedSum) {
    TestHeap heap(27);
    heap.target.add(medium(0));
    heap.memory().at(test_arena).zeros(8192);
    // 4,000 types of a gigabyte each, all made of themselves.
    for (std::uint64_t i = 0; i < 4000; ++i) {
        std::uint64_t at = types + i * 128;
        heap.type(at, 1 << 30, 1 << 30, at + 80, 0x10, 17);
        heap.memory().at(at + 48).u64(at).u64(0).u64(1 << 27);
    }
    heap.build();
    std::uint64_t known = 0;
    for (std::uint64_t i = 0; i < 4000; ++i) known += heap.pointers->masks().find(Address{types + i * 128})->known;
    EXPECT_EQ(known, 0u);
}

TEST(HeapSlots, ListedArenasWithoutMemoryCostNothing) {
    HeapTarget target(27);
    TestSpan wide = large(0, 1);
    wide.pages = std::uint64_t{1} << 34;  // 128 TB, over arenas that nobody has
    target.add(small(1)).add(wide);
    target.memory().at(test_arena).zeros(2 * 8192);
    auto built = target.build();
    auto spans = target.read(built);
    ASSERT_TRUE(spans);
    auto slots = HeapSlots::build(built, *spans);
    ASSERT_TRUE(slots);
    EXPECT_TRUE(slots->slot_of(Address{test_arena + 8192}));
}

TEST(Marking, CyclesEnd) {
    for (unsigned jobs : {1u, 3u}) {
        TestHeap heap(25);
        heap.target.add(small(0)).add(large(1, 64));
        heap.memory().at(test_arena).zeros(65 * 8192);
        heap.memory().at(test_arena + 8192 - 128).fill(128, 0xff);
        for (int i = 0; i < 8; ++i)
            heap.memory()
                .at(test_arena + i * 48)
                .u64(test_arena + (i + 1) % 8 * 48)
                .u64(test_arena + i * 48)
                .u64(test_arena + 8192 + 40 * 8192);
        heap.build();
        SlotBits todo = heap.slots->allocated_bits();
        MarkLanes lanes(jobs, heap.slots->limit());
        SlotId seed = *heap.slots->slot_of(Address{test_arena + 48});
        auto result = mark_from(*heap.pointers, std::span(&seed, 1), todo, lanes);
        EXPECT_EQ(result.marked, 9u);
        EXPECT_EQ(todo.count(), 0u);
        EXPECT_EQ(mark_from(*heap.pointers, std::span(&seed, 1), todo, lanes).marked, 0u);
    }
}

TEST(Marking, WildPointersAndFreeSlotsLeadNowhere) {
    TestHeap heap(25);
    heap.target.add(small(0));
    heap.memory().at(test_arena).zeros(8192);
    heap.memory().at(test_arena + 8192 - 128).fill(128, 0xff);
    heap.memory().at(test_arena).u64(test_arena + 100 * 48).u64(test_arena + 8191).u64(1).u64(~std::uint64_t{0});
    heap.memory().u64(test_arena + (64u << 20)).u64(test_arena - 1);
    heap.build();
    SlotBits todo = heap.slots->allocated_bits();
    MarkLanes lanes(1, heap.slots->limit());
    SlotId seeds[] = {*heap.slots->slot_of(Address{test_arena}), no_slot};
    EXPECT_EQ(mark_from(*heap.pointers, seeds, todo, lanes).marked, 1u);
}

TEST(Marking, ClosedObjectsAreReachedButNotLookedInto) {
    TestHeap heap(25);
    heap.target.add(small(0));
    heap.memory().at(test_arena).zeros(8192);
    heap.memory().at(test_arena + 8192 - 128).fill(128, 0xff);
    for (int i = 0; i < 7; ++i) heap.memory().at(test_arena + i * 48).u64(test_arena + (i + 1) * 48);
    heap.build();
    SlotBits todo = heap.slots->allocated_bits(), closed(heap.slots->limit());
    closed.set(*heap.slots->slot_of(Address{test_arena + 3 * 48}));
    MarkLanes lanes(1, heap.slots->limit());
    SlotId seed = *heap.slots->slot_of(Address{test_arena});
    EXPECT_EQ(mark_from(*heap.pointers, std::span(&seed, 1), todo, lanes, &closed).marked, 4u);
}

}  // namespace
}  // namespace incident::go
