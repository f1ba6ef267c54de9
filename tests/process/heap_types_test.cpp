// Types of heap objects, over the bundled cores of every version: with DWARF nearly every live byte has a type, and the
// program's own counts of its objects are found again.
#include "go/heap/heap_types.h"

#include <gtest/gtest.h>

#include <map>
#include <regex>
#include <sstream>

#include "go/heap/channel_object.h"
#include "go/heap/heap_names.h"
#include "process/process.h"
#include "support/corpora.h"

namespace incident {
namespace {

using go::SlotId;

std::shared_ptr<const Process> open(const test::Probe& probe, unsigned jobs = 2) {
    ProcessOptions options;
    options.core_path = probe.core;
    options.images.executable = probe.executable;
    options.passes = {.goroutines = true, .stacks = true, .spans = true, .heap = true, .heap_types = true};
    options.jobs = jobs;
    auto opened = open_process(options);
    EXPECT_TRUE(opened.has_value()) << (opened ? "" : describe(opened.error()));
    return opened ? *opened : nullptr;
}

std::map<std::string, std::uint64_t> live_counts(const Process& process) {
    std::map<std::string, std::uint64_t> out;
    process.heap->live_bits().for_each([&](SlotId slot) { ++out[process.heap_types->name_of(slot)]; });
    return out;
}

class HeapTypesOf : public ::testing::TestWithParam<std::string> {};

TEST(HeapNames, TheMillionthElementOfAListHasAPathThatCanBeRead) {
    INCIDENT_NEED_PROBE(probe, "go1.25", "dwarf", "heap");
    auto process = open(*probe);
    ASSERT_TRUE(process && process->heap_types);
    ASSERT_FALSE(process->heap->roots().all.empty());
    const go::HeapNames names(*process->heap_types, nullptr);
    const SlotId target = process->heap->roots().all[0].target;
    for (const std::size_t count : {1u, 200u, 1'000'000u}) {
        const go::NamedPath path = names.path({0, std::vector<go::RootPath::Step>(count, {target, 0})});
        EXPECT_EQ(path.steps.size(), std::min<std::size_t>(count, 200));
        EXPECT_EQ(path.text.find("(999800 more)") != std::string::npos, count == 1'000'000);
        EXPECT_EQ(path.steps.back().slot, target);
    }
}

TEST_P(HeapTypesOf, DoNotDependOnTheWorkers) {
    for (const char* build : {"dwarf", "stripped"}) {
        INCIDENT_NEED_PROBE(probe, GetParam(), build, "heap");
        auto alone = open(*probe, 1), four = open(*probe, 4);
        ASSERT_TRUE(alone && four && alone->heap_types && four->heap_types);
        alone->heap->slots().for_each_slot([&](SlotId slot) {
            EXPECT_EQ(alone->heap_types->name_of(slot), four->heap_types->name_of(slot)) << build << " " << slot;
        });
        EXPECT_EQ(alone->heap_types->statics().size(), four->heap_types->statics().size());
    }
}

TEST_P(HeapTypesOf, NearlyEveryLiveByteHasAType) {
    INCIDENT_NEED_PROBE(probe, GetParam(), "dwarf", "heap");
    auto process = open(*probe);
    ASSERT_TRUE(process && process->heap_types);
    const auto& shares = process->heap_types->shares();
    EXPECT_GE(shares.typed_bytes * 1000, shares.live_bytes * 990) << shares.typed_bytes << " of " << shares.live_bytes;
    auto counts = live_counts(*process);
    // truth.txt: "live type=main.tree count=127 size=40"; nodes: a few are static, which the count leaves out.
    EXPECT_EQ(counts["main.tree"], 127u);
    EXPECT_EQ(counts["main.noscan"], 500u);
    EXPECT_EQ(counts["main.record"], 200u);
    EXPECT_EQ(counts["main.node"], 1058u);
    for (const char* name : {"main.class24", "main.class48", "main.class1k", "main.class8k"})
        EXPECT_EQ(counts[name], 10u) << name;
    EXPECT_EQ(counts["main.garbage"], 0u);
    EXPECT_GT(counts["runtime.g"], 3u);
}

// `waits` keeps one large buffer of text by the saved registers of a preempted loop alone: no variable names it.
TEST_P(HeapTypesOf, TextIsBytesWhoeverKeepsIt) {
    INCIDENT_NEED_PROBE(probe, GetParam(), "dwarf", "waits");
    auto process = open(*probe);
    ASSERT_TRUE(process && process->heap_types);
    const auto& shares = process->heap_types->shares();
    EXPECT_GE(shares.typed_bytes * 1000, shares.live_bytes * 990) << shares.typed_bytes << " of " << shares.live_bytes;
}

/// Beside what variables and edges say: every channel says it itself, and nothing else looks like one.
TEST_P(HeapTypesOf, AnObjectIsAChannelWhenItSaysSoItself) {
    std::size_t channels = 0;
    for (const char* mode : {"waits", "heap"}) {
        INCIDENT_NEED_PROBE(probe, GetParam(), "dwarf", mode);
        auto process = open(*probe);
        ASSERT_TRUE(process && process->heap_types);
        const auto& types = process->heap_types->types();
        process->heap->live_bits().for_each([&](SlotId slot) {
            const std::string name = process->heap_types->name_of(slot);
            const auto id = go::channel_element(process->heap->slots(), process->go->layout(), types, slot);
            EXPECT_EQ(id != go::no_type, name.starts_with("chan ")) << name;
            if (id == go::no_type) return;
            EXPECT_EQ(name, "chan " + std::string(types[id].name));
            ++channels;
        });
    }
    EXPECT_GE(channels, 5u);
}

TEST_P(HeapTypesOf, StrippedSaysWhatItKnows) {
    INCIDENT_NEED_PROBE(probe, GetParam(), "stripped", "heap");
    auto process = open(*probe);
    ASSERT_TRUE(process && process->heap_types);
    const auto& shares = process->heap_types->shares();
    EXPECT_GT(shares.typed_objects, 0u);
    EXPECT_EQ(shares.typed_bytes + shares.untyped_scan + shares.untyped_noscan, shares.live_bytes);
    auto counts = live_counts(*process);
    EXPECT_GT(counts["runtime.g"], 3u);
}

/// What a blocked sender sends, what has a finalizer and is kept by what it keeps, the values of a large map: no
/// variable names them.
TEST(HeapTypes, WhatOnlyTheRuntimesOwnRecordsLeadToHasItsType) {
    INCIDENT_NEED_PROBE(probe, "stuck-go1.25", "stripped", "kept_by_runtime");
    auto process = open(*probe);
    ASSERT_TRUE(process && process->heap_types);
    const std::string truth = test::read_text(probe->truth);
    const std::regex object("object name=(\\w+) type=\"([^\"]*)\" addr=(0x[0-9a-f]+)");
    std::size_t seen = 0;
    for (std::sregex_iterator at(truth.begin(), truth.end(), object), end; at != end; ++at, ++seen) {
        const SlotId slot = process->heap->slots().find(Address{std::stoull((*at)[3], nullptr, 16)});
        ASSERT_NE(slot, go::no_slot);
        const bool garbage = (*at)[1] == "strap";  // the collector does not look at pointers of an object to itself
        EXPECT_EQ(process->heap->live(slot), !garbage) << (*at)[1];
        if (!garbage) { EXPECT_EQ(process->heap_types->name_of(slot), (*at)[2].str()) << (*at)[1]; }
    }
    EXPECT_EQ(seen, 7u);
    auto counts = live_counts(*process);
    EXPECT_EQ(counts["main.pebble"], 3000u);
    EXPECT_GT(counts["[]group of map[int64]*main.pebble"], 1u);
}

INSTANTIATE_TEST_SUITE_P(Bundles, HeapTypesOf, ::testing::ValuesIn(test::bundles("go1.")),
                         [](auto& bundle) { return "go1_" + bundle.param.substr(4); });

}  // namespace
}  // namespace incident
