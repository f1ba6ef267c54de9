// Spans, stack maps, locate and snapshots on the bundled cores of every Go release, stripped or not: the runtime's own
// counts and the program's own truth must hold.
#include <gtest/gtest.h>

#include <charconv>
#include <map>
#include <sstream>

#include "base/text.h"
#include "go/stacks/stackmaps.h"
#include "live_process.h"
#include "process/maps.h"
#include "process/runtime_tables.h"
#include "process/snapshot.h"

namespace incident::test {
namespace {

std::optional<std::uint64_t> number_after(std::string_view line, std::string_view key, int base) {
    auto at = line.find(key);
    if (at == std::string_view::npos) return std::nullopt;
    line.remove_prefix(at + key.size());
    std::uint64_t value = 0;
    auto [end, error] = std::from_chars(line.data(), line.data() + line.size(), value, base);
    return error == std::errc{} ? std::optional(value) : std::nullopt;
}

std::vector<std::string> lines_of(const std::string& path) {
    std::istringstream text(read_text(path));
    std::vector<std::string> lines;
    for (std::string line; std::getline(text, line);) lines.push_back(line);
    return lines;
}

class EveryGo : public testing::TestWithParam<std::string> {};

void check_counts(const LiveProcess& live) {
    const auto& check = live.spans->check();
    EXPECT_GT(check.spans, 20u);
    EXPECT_EQ(check.equal, check.spans) << "allocated slots differ from mspan.allocCount";
    EXPECT_EQ(check.unreadable, 0u);
    EXPECT_TRUE(live.spans->complete());
    EXPECT_TRUE(live.spans->gaps().empty());
}

/// The program allocates nothing after it read its numbers, but its runtime may, in a few runs: one object of 16 bytes.
constexpr std::uint64_t late_objects = 1;

/// What the program said of its heap just before it died.
void check_heap_truth(const LiveProcess& live, const std::string& truth) {
    const go::Spans& spans = *live.spans;
    std::map<std::uint64_t, std::uint64_t> live_by_size;
    for (const go::Span& span : spans.all())
        for (std::uint32_t i = 0; i < span.elem_count && !span.large(); ++i)
            live_by_size[span.elem_size] += spans.slot_state(span, i) == go::SlotState::allocated ? 1 : 0;
    std::size_t objects = 0, freed = 0, sizes = 0;
    for (const std::string& line : lines_of(truth)) {
        Address at{number_after(line, " addr=0x", 16).value_or(0)};
        if (line.starts_with("freed ")) {
            auto object = spans.find_object(at);
            EXPECT_TRUE(spans.is_free_page(at) || (object && object->state == go::SlotState::free)) << line;
            ++freed;
        } else if (line.starts_with("object ") && spans.in_arena(at)) {
            auto object = spans.find_object(at);
            EXPECT_TRUE(object && object->state == go::SlotState::allocated) << line;
            ++objects;
        } else if (line.starts_with("memstats.BySize ")) {
            auto ours = live_by_size[number_after(line, "size=", 10).value_or(0)],
                 theirs = number_after(line, "live=", 10).value_or(0);
            EXPECT_GE(ours, theirs) << line;
            EXPECT_LE(ours, theirs + late_objects) << line;
            ++sizes;
        } else if (auto value = number_after(line, "memstats.HeapAlloc=", 10)) {
            EXPECT_GE(spans.totals().object_bytes, *value);
            EXPECT_LE(spans.totals().object_bytes, *value + late_objects * 64);
        } else if (auto count = number_after(line, "memstats.HeapObjects=", 10)) {
            EXPECT_GE(spans.totals().objects, *count);
            EXPECT_LE(spans.totals().objects, *count + late_objects);
        } else if (auto pages = number_after(line, "memstats.HeapInuse=", 10)) {
            EXPECT_EQ(spans.totals().in_use_bytes, *pages);
        } else if (auto stack_bytes = number_after(line, "memstats.StackInuse=", 10)) {
            EXPECT_EQ(spans.totals().stack_bytes, *stack_bytes);
        }
    }
    EXPECT_GT(objects, 40u);
    EXPECT_GE(freed, 5u);
    EXPECT_GT(sizes, 30u);
}

/// What the collector calls a live pointer must be nil, or point to something that is neither freed nor dead. This
/// checks stack walks, stack maps, spans and locate against each other.
void check_live_pointers(const LiveProcess& live, std::size_t at_least) {
    Locator locator(live.context());
    std::size_t pointers = 0, frames = 0;
    for (std::size_t i = 0; i < live.stacks.size(); ++i) {
        const go::GoStack stack = live.stacks.load(i);
        for (const go::PhysicalFrame& frame : stack.physical) {
            if (frame.func() == nullptr || frame.cfa.is_null()) continue;
            auto maps = go::frame_maps(live.memory(), *live.runtime, frame);
            ASSERT_TRUE(maps.has_value()) << frame.name() << ": " << describe(maps.error());
            ++frames;
            if (!maps->exact) continue;
            for (const go::PointerMap* map : {&maps->locals, &maps->args}) {
                for (std::uint32_t word = 0; word < map->words; ++word) {
                    if (!map->pointer(word)) continue;
                    ++pointers;
                    auto value = live.memory().load_address(map->base + word * 8ull);
                    ASSERT_TRUE(value.has_value());
                    Placement place = locator.place(*value);
                    EXPECT_TRUE(place.kind == PlaceKind::null || place.mapped())
                        << frame.name() << " " << hex(value->value);
                    EXPECT_FALSE(place.freed()) << frame.name() << ": " << locator.describe(place);
                }
            }
        }
    }
    EXPECT_GT(frames, 20u);
    EXPECT_GE(pointers, at_least);
}

TEST_P(EveryGo, HeapAgreesWithTheProgramsOwnNumbers) {
    for (const char* build : {"dwarf", "stripped"}) {
        SCOPED_TRACE(build);
        INCIDENT_NEED_PROBE(heap, GetParam(), build, "heap");
        auto live = read_process(*heap);
        ASSERT_TRUE(live.has_value()) << describe(live.error());
        check_counts(**live);
        check_heap_truth(**live, heap->truth);
    }
}

/// With symbols the runtime's own lists say which chunks are its: they must hold every mspan and all of their bits.
TEST_P(EveryGo, TheRuntimesTablesHoldItsSpans) {
    INCIDENT_NEED_PROBE(heap, GetParam(), "dwarf", "heap");
    auto live = read_process(*heap);
    ASSERT_TRUE(live.has_value()) << describe(live.error());
    LocateContext context = (*live)->context();
    const auto arenas = (*live)->spans->arenas();
    context.spans = nullptr;  // which would name the pages of all mspans, whatever the lists say
    const auto tables = find_runtime_tables(context, arenas);
    const auto held = [&](Address a) {
        return a.is_null() || std::ranges::any_of(tables, [&](AddressRange table) { return table.contains(a); });
    };
    for (const go::Span& span : (*live)->spans->all()) {
        EXPECT_TRUE(held(span.mspan)) << span.mspan.value;
        EXPECT_TRUE(held(span.alloc_bits)) << span.alloc_bits.value;
        EXPECT_TRUE(held(span.gcmark_bits)) << span.gcmark_bits.value;
    }
}

TEST_P(EveryGo, LivePointersOfAllFramesPointToLiveThings) {
    for (const char* build : {"dwarf", "stripped"}) {
        SCOPED_TRACE(build);
        INCIDENT_NEED_PROBE(waits, GetParam(), build, "waits");
        auto live = read_process(*waits);
        ASSERT_TRUE(live.has_value()) << describe(live.error());
        check_counts(**live);
        check_live_pointers(**live, 300);
    }
}

TEST_P(EveryGo, SnapshotsOfAllFramesAreSound) {
    INCIDENT_NEED_PROBE(orphan, GetParam(), "stripped", "orphan");
    auto live = read_process(*orphan);
    ASSERT_TRUE(live.has_value()) << describe(live.error());
    Locator locator((*live)->context());
    Snapshots snapshots(locator, (*live)->target.disassembler.get());
    std::size_t sound = 0, calls = 0, code = 0, frames = 0;
    for (std::size_t g = 0; g < (*live)->stacks.size(); ++g) {
        const go::GoStack stack = (*live)->stacks.load(g);
        for (std::size_t i = 0; i < stack.frames.size(); ++i) {
            auto snapshot = snapshots.frame(stack, i);
            if (snapshot.frame.inlined) continue;
            ++frames;
            for (const report::Slot& slot : snapshot.slots) {
                EXPECT_EQ(slot.points_to.find("NOT above"), std::string::npos) << snapshot.frame.function;
                EXPECT_EQ(slot.points_to.find("NO call"), std::string::npos)
                    << snapshot.frame.function << " " << slot.points_to;
                EXPECT_FALSE(slot.place.empty());
                if (slot.name == "saved bp") sound += slot.points_to.find("sound") != std::string::npos ? 1 : 0;
                if (slot.name == "return")
                    calls += slot.points_to.find("a call stands before it") != std::string::npos ? 1 : 0;
            }
            if (!snapshot.code.empty()) {
                ++code;
                EXPECT_EQ(std::ranges::count(snapshot.code, true, &report::CodeLine::current), 1)
                    << snapshot.frame.function;
            }
        }
    }
    EXPECT_GT(frames, 30u);
    EXPECT_GT(sound, 15u);
    EXPECT_GT(calls, 20u);
    EXPECT_EQ(code, frames);
}

// An argument that the code is done with is not moved with its stack, nor kept by the collector.
TEST_P(EveryGo, SlotsThatAreDoneWithSaySo) {
    INCIDENT_NEED_PROBE(waits, GetParam(), "dwarf", "waits-raw");
    auto live = read_process(*waits);
    ASSERT_TRUE(live.has_value()) << describe(live.error());
    Locator locator((*live)->context());
    Snapshots snapshots(locator, (*live)->target.disassembler.get());
    std::size_t gone = 0, kept = 0;
    for (std::size_t g = 0; g < (*live)->stacks.size(); ++g) {
        const go::GoStack stack = (*live)->stacks.load(g);
        for (std::size_t i = 0; i < stack.frames.size(); ++i)
            for (const report::Slot& slot : snapshots.frame(stack, i).slots) {
                if (!slot.points_to.starts_with("no longer used: ")) {
                    kept += slot.by == "dwarf" && !slot.points_to.empty() ? 1 : 0;
                    continue;
                }
                ++gone;
                ASSERT_TRUE(slot.address);
                const auto maps =
                    go::frame_maps((*live)->memory(), *(*live)->context().runtime, stack.physical[stack.frame_of[i]]);
                ASSERT_TRUE(maps);
                EXPECT_FALSE(maps->locals.pointer_at(*slot.address) || maps->args.pointer_at(*slot.address));
            }
    }
    EXPECT_GT(kept, 20u);
    EXPECT_GT(gone, 2u);
}

INSTANTIATE_TEST_SUITE_P(Bundles, EveryGo, testing::ValuesIn(bundles("go1.")), [](const auto& each) {
    std::string name = each.param;
    std::ranges::replace(name, '.', '_');
    return name;
});
GTEST_ALLOW_UNINSTANTIATED_PARAMETERIZED_TEST(EveryGo);

/// The crash itself is told without reading the heap: one address at a time, through heapArena.spans. Same answers.
TEST_P(EveryGo, LookupOfOneAddressAgreesWithTheIndex) {
    INCIDENT_NEED_PROBE(heap, GetParam(), "stripped", "heap");
    auto live = read_process(*heap);
    ASSERT_TRUE(live.has_value()) << describe(live.error());
    Locator full((*live)->context());
    LocateContext without = (*live)->context();
    without.spans = nullptr;
    Locator single(without);
    std::size_t checked = 0, objects = 0;
    for (AddressRange arena : (*live)->spans->arenas()) {
        for (Address a = arena.begin; a < arena.end; a += 4096 + 264) {
            Placement one = single.place(a), all = full.place(a);
            ASSERT_EQ(one.kind, all.kind) << hex(a.value);
            ASSERT_EQ(one.object.index, all.object.index);
            ASSERT_EQ(one.object.state, all.object.state);
            if (one.object.span != nullptr) {
                ASSERT_EQ(one.object.span->mspan, all.object.span->mspan);
                ASSERT_EQ(one.object.span->pointers, all.object.span->pointers);
                ASSERT_EQ(one.object.span->inline_mark_bits, all.object.span->inline_mark_bits);
            }
            ++checked;
            objects += one.kind == PlaceKind::go_object ? 1 : 0;
        }
    }
    EXPECT_GT(checked, 1000u);
    EXPECT_GT(objects, 200u);
}

TEST(ThreadStacks, AreKnownUnderSignalHandlers) {
    INCIDENT_NEED_PROBE(cgo, "go1.26", "cgo", "csegv");
    auto live = read_process(*cgo);
    ASSERT_TRUE(live.has_value()) << describe(live.error());
    Locator locator((*live)->context());
    std::size_t stacks = 0;
    for (const report::Mapping& row : maps_section(locator)) stacks += row.what.starts_with("stack of thread") ? 1 : 0;
    EXPECT_GE(stacks, (*live)->target.core.threads().size()) << "each thread of a cgo program has a stack of its own";
}

}  // namespace
}  // namespace incident::test
