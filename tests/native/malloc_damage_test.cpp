// Damaged heaps: what was planted is found where it is, the walk goes on behind it, and no bytes at all can hurt the
// reader.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <map>
#include <random>

#include "native/malloc_state.h"
#include "support/live_target.h"
#include "support/memory_builder.h"
#include "support/opened_core.h"

namespace incident::native {
namespace {

using testing::Contains;
using testing::Field;

struct Fault {
    std::optional<OpenedCore> opened;
    std::optional<Heaps> heaps;
    std::map<std::string, Address> at;  ///< as malloc returned them
    std::string problem;

    Address chunk(const std::string& name) const { return at.at(name) - 16; }
    std::string words() const {
        std::string text;
        for (const Corruption& c : heaps->corruptions())
            text += std::string(to_string(c.kind)) + " at " + std::to_string(c.at.value) + ": " + c.what + "\n";
        return text;
    }
};

Fault run_fault(const std::string& mode) {
    Fault fault;
    auto program = build_target("native/targets/malloc_faults.c", {{"-O0"}, {}});
    TargetRun run = run_to_core(program, {{"truth", mode}});
    if (run.core.empty()) {
        fault.problem = run.why_no_core;
        return fault;
    }
    std::ifstream truth(run.directory / "truth");
    for (std::string word, name, value; truth >> word >> name >> value;)
        fault.at[name] = Address{std::stoull(value, nullptr, 16)};
    ImageOptions options;
    options.executable = program.string();
    auto opened = OpenedCore::open(run.core.string(), options);
    if (!opened) {
        fault.problem = describe(opened.error());
        return fault;
    }
    fault.opened.emplace(std::move(*opened));
    auto heaps = Heaps::read(fault.opened->core, fault.opened->memory, fault.opened->images, 1);
    if (heaps) fault.heaps.emplace(std::move(*heaps));
    return fault;
}

#define NEED_FAULT(name, mode)                               \
    Fault name = run_fault(mode);                            \
    if (!name.problem.empty()) GTEST_SKIP() << name.problem; \
    ASSERT_TRUE(name.heaps.has_value());                     \
    SCOPED_TRACE(name.words())

TEST(MallocDamage, HealthyIsSilent) {
    NEED_FAULT(fault, "healthy");
    EXPECT_TRUE(fault.heaps->corruptions().empty());
    EXPECT_TRUE(fault.heaps->gaps().empty());
    EXPECT_EQ(fault.heaps->arenas().size(), 1u);
}

TEST(MallocDamage, OverrunIsFoundBehindItsCulpritAndTheWalkGoesOn) {
    NEED_FAULT(fault, "overrun");
    ASSERT_EQ(fault.heaps->corruptions().size(), 1u);
    const Corruption& found = fault.heaps->corruptions()[0];
    EXPECT_EQ(found.kind, Corruption::Kind::size);
    EXPECT_EQ(found.at, fault.chunk("victim") + 8);
    EXPECT_EQ(found.value, 0x4141414141414141u);
    EXPECT_EQ(found.previous, fault.chunk("culprit"));
    EXPECT_EQ(found.resumed_at, fault.chunk("behind"));
    EXPECT_FALSE(found.transient);
    EXPECT_EQ(fault.heaps->find(fault.at["behind"])->state, ChunkState::in_use);
    EXPECT_EQ(fault.heaps->find(fault.at["victim"])->state, ChunkState::unknown);
    EXPECT_EQ(fault.heaps->find(fault.at["last"])->state, ChunkState::in_use);
}

TEST(MallocDamage, ASizeThatCouldBeOneIsFoundWhereItLeads) {
    NEED_FAULT(fault, "smaller");
    ASSERT_FALSE(fault.heaps->corruptions().empty());
    const Corruption& found = fault.heaps->corruptions()[0];
    EXPECT_EQ(found.kind, Corruption::Kind::size);
    EXPECT_EQ(found.at, fault.chunk("victim") + 0x68);
    EXPECT_EQ(found.previous, fault.chunk("victim"));
    EXPECT_EQ(fault.heaps->find(fault.at["last"])->state, ChunkState::in_use);
}

TEST(MallocDamage, TwiceInAThreadsCache) {
    NEED_FAULT(fault, "tcache-twice");
    EXPECT_THAT(fault.heaps->corruptions(),
                Contains(testing::AllOf(Field(&Corruption::kind, Corruption::Kind::listed_twice),
                                        Field(&Corruption::chunk, fault.chunk("victim")))));
    EXPECT_EQ(fault.heaps->find(fault.at["victim"])->state, ChunkState::free_tcache);
}

TEST(MallocDamage, TwiceInAFastbin) {
    NEED_FAULT(fault, "fast-twice");
    EXPECT_THAT(fault.heaps->corruptions(),
                Contains(testing::AllOf(Field(&Corruption::kind, Corruption::Kind::listed_twice),
                                        Field(&Corruption::chunk, fault.chunk("victim")))));
}

TEST(MallocDamage, WrittenAfterFree) {
    NEED_FAULT(fault, "tcache-poisoned");
    EXPECT_THAT(fault.heaps->corruptions(),
                Contains(testing::AllOf(Field(&Corruption::kind, Corruption::Kind::list_link),
                                        Field(&Corruption::at, fault.at["victim"]))));
    EXPECT_EQ(fault.heaps->find(fault.at["victim"])->state, ChunkState::free_tcache);
}

TEST(MallocDamage, BinLinkWrittenAfterFree) {
    NEED_FAULT(fault, "bin-link");
    EXPECT_THAT(fault.heaps->corruptions(),
                Contains(testing::AllOf(Field(&Corruption::kind, Corruption::Kind::list_link),
                                        Field(&Corruption::at, fault.at["victim"] + 8),
                                        Field(&Corruption::value, 0x4343434343434340u))));
}

TEST(MallocDamage, CopyOfTheSize) {
    NEED_FAULT(fault, "prev-size");
    EXPECT_THAT(
        fault.heaps->corruptions(),
        Contains(testing::AllOf(Field(&Corruption::kind, Corruption::Kind::prev_size),
                                Field(&Corruption::chunk, fault.chunk("victim")), Field(&Corruption::value, 0x30u))));
}

TEST(MallocDamage, Top) {
    NEED_FAULT(fault, "top");
    ASSERT_EQ(fault.heaps->corruptions().size(), 1u);
    EXPECT_EQ(fault.heaps->corruptions()[0].kind, Corruption::Kind::size);
    const Address top = fault.heaps->arenas()[0].top;
    EXPECT_EQ(fault.heaps->corruptions()[0].chunk, top);
    auto chunk = fault.heaps->find(top + 16);
    ASSERT_TRUE(chunk.has_value());
    EXPECT_EQ(chunk->address, top);
    EXPECT_GT(chunk->user.size(), 4096u) << "what is left of its heap";
}

TEST(MallocDamage, BytesThatLookLikeAHeapEverywhereEndTheSearch) {
    constexpr std::uint64_t begin = 0x5000000, size = 4 << 20;
    MemoryBuilder memory;
    memory.at(begin);
    while (memory.here().value < begin + size) {
        for (int i = 0; i < 100; ++i) memory.u64(0).u64(0x21).u64(0).u64(0x21);  // chunks of 32 bytes at two places
        memory.zeros(64);
    }
    TargetMemory target = memory.build();
    Region region({Address{begin}, Address{begin + size}}, 0);
    walk_region(target, region, true, false);
    EXPECT_GT(region.counts[static_cast<std::size_t>(ChunkState::in_use)].chunks, 90u);
    EXPECT_GT(region.counts[static_cast<std::size_t>(ChunkState::unknown)].bytes, 0u);
}

TEST(MallocDamage, EveryOneOfMany) {
    NEED_FAULT(fault, "many");
    EXPECT_EQ(fault.heaps->corruptions().size(), 3u);
    EXPECT_EQ(fault.heaps->find(fault.at["last"])->state, ChunkState::in_use);
}

// Random words of heap, libc and stacks overwritten: every answer stays bounded and inside what was walked.
TEST(MallocDamage, NoBytesHurtTheReader) {
    auto program = build_target("native/targets/malloc_churn.c", {{"-O1"}, {}});
    TargetRun run = run_to_core(program, {{"truth", "a", "9", "2", "1500"}});
    if (run.core.empty()) GTEST_SKIP() << run.why_no_core;
    ImageOptions options;
    options.executable = program.string();
    auto opened = OpenedCore::open(run.core.string(), options);
    ASSERT_TRUE(opened.has_value());
    struct Piece {
        Segment segment;
        std::vector<std::byte> bytes;
    };
    std::vector<Piece> pieces;
    for (const Segment& segment : opened->memory.segments()) {
        if ((segment.permissions & 2) == 0 || segment.range.size() > 4 << 20) continue;
        pieces.push_back({segment, {segment.data, segment.data + segment.range.size()}});
    }
    std::mt19937_64 random(20240607);
    std::vector<Address> interesting;
    auto healthy = Heaps::read(opened->core, opened->memory, opened->images, 1);
    ASSERT_TRUE(healthy.has_value());
    healthy->for_each_chunk([&](const Chunk& chunk) { interesting.push_back(chunk.address); });
    for (const Arena& arena : healthy->arenas()) interesting.insert(interesting.end(), 20, arena.address);
    for (int round = 0; round < 150; ++round) {
        Memory memory;
        std::vector<Piece> damaged = pieces;
        std::size_t hits = std::size_t{1} << random() % 10;
        for (std::size_t i = 0; i < hits; ++i) {
            // Half of the words lie in malloc's own structures; half of the values are addresses.
            Address at = interesting[random() % interesting.size()] + random() % 512 * 8;
            std::uint64_t value = random() % 2 ? interesting[random() % interesting.size()].value + random() % 64 * 8
                                               : random() >> random() % 64;
            for (Piece& piece : damaged) {
                AddressRange range = piece.segment.range;
                if (random() % 2 && range.size() > 64) at = range.begin + random() % (range.size() / 8 - 1) * 8;
                if (!range.contains(at) || range.end.value - at.value < 8) continue;
                std::memcpy(piece.bytes.data() + (at.value - range.begin.value), &value, 8);
                break;
            }
        }
        for (Piece& piece : damaged) {
            Segment segment = piece.segment;
            segment.data = piece.bytes.data();
            memory.add(segment);
        }
        memory.freeze();
        auto heaps = Heaps::read(opened->core, memory, opened->images, 1);
        ASSERT_TRUE(heaps.has_value());
        std::uint64_t chunks = 0, outside = 0;
        heaps->for_each_chunk([&](const Chunk& chunk) {
            ++chunks;
            auto found = heaps->find(chunk.address + 8);
            outside += found && found->address == chunk.address && heaps->contains(chunk.address) ? 0 : 1;
        });
        EXPECT_EQ(outside, 0u) << "round " << round;
        EXPECT_LE(heaps->corruptions().size(), Heaps::max_corruptions);
        for (Address a : {Address{0}, Address{8}, Address{UINT64_MAX}, Address{UINT64_MAX - 15}}) (void)heaps->find(a);
    }
}

}  // namespace
}  // namespace incident::native
