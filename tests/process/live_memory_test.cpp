// LiveMemory and escapes on bundled cores of C programs, and on the same cores with other bytes in their heaps.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <random>
#include <regex>

#include "native/malloc.h"
#include "process/escapes.h"
#include "process/live_memory.h"
#include "support/corpora.h"

namespace incident {
namespace {

bool any_word(const LiveMemory::Word&, const native::Chunk*) { return true; }

std::shared_ptr<const Process> open_native(const std::string& core, const std::string& executable) {
    ProcessOptions options;
    options.core_path = core;
    options.images.executable = executable;
    options.passes = {.threads = true, .crash = true, .malloc = true};
    auto process = open_process(options);
    return process && (*process)->malloc ? *process : nullptr;
}

/// Address of the truth's object.
Address object(const test::Probe& probe, const std::string& name) {
    std::smatch found;
    const std::string truth = test::read_text(probe.truth);
    if (!std::regex_search(truth, found, std::regex("object name=" + name + " type=\"[^\"]*\" addr=(0x[0-9a-f]+)")))
        return {};
    return Address{std::stoull(found[1], nullptr, 16)};
}

TEST(LiveMemory, ReachesWhatAVariableLeadsTo) {
    INCIDENT_NEED_PROBE(probe, "native-glibc-2.36", "xxO2", "umap_hold");
    auto process = open_native(probe->core, probe->executable);
    ASSERT_NE(process, nullptr);
    const Address worker = object(*probe, "g_worker"), stale = object(*probe, "stale");
    std::vector<LiveMemory::Word> words;
    LiveMemory live(*process, any_word, [&](const LiveMemory::Word& word) {
        if (word.value == stale.value && word.source == LiveMemory::Source::chunk) words.push_back(word);
    });
    const std::uint32_t chunk = live.find(worker);
    ASSERT_NE(chunk, LiveMemory::no_chunk);
    EXPECT_EQ(live.chunks()[chunk].user.begin, worker);
    EXPECT_EQ(process->memory.load_address(live.chunks()[chunk].from), worker);
    ASSERT_EQ(words.size(), 1u);
    EXPECT_TRUE(live.chunks()[chunk].user.contains(words[0].at));
    // The erased node is a freed chunk: nobody's memory.
    EXPECT_EQ(live.find(process->malloc->find(stale)->user.begin), LiveMemory::no_chunk);
    for (std::uint32_t i = 0; i < live.chunks().size(); ++i) {
        const auto& row = live.chunks()[i];
        EXPECT_TRUE(process->malloc->find(row.user.begin)->used());
        if (row.parent != LiveMemory::no_chunk) {
            EXPECT_LT(row.parent, i);
            EXPECT_EQ(row.depth, live.chunks()[row.parent].depth + 1);
        }
    }
}

TEST(LiveMemory, AnObjectThatWasFreedAccusesNobody) {
    INCIDENT_NEED_PROBE(probe, "native-glibc-2.36", "xxO2", "umap_dead_worker");
    auto process = open_native(probe->core, probe->executable);
    ASSERT_NE(process, nullptr);
    std::size_t into_freed = 0;
    LiveMemory live(*process, any_word, [&](const LiveMemory::Word& word) {
        if (word.source == LiveMemory::Source::stack) return;
        auto chunk = process->malloc->find(Address{word.value});
        into_freed += chunk && chunk->free() && chunk->user.begin.value == word.value ? 1 : 0;
    });
    EXPECT_EQ(into_freed, 0u);
    EXPECT_GT(live.words(), 100u);
}

TEST(LiveMemory, AnyHeap) {
    INCIDENT_NEED_PROBE(probe, "native-glibc-2.36", "O2", "hash_head");
    auto healthy = open_native(probe->core, probe->executable);
    ASSERT_NE(healthy, nullptr);
    ASSERT_FALSE(healthy->malloc->ranges().empty());
    const AddressRange heap = healthy->malloc->ranges().front();
    const std::string bytes = test::read_text(probe->core);
    std::uint64_t offset = 0;  // of the heap in the core
    for (const LoadSegment& segment : healthy->core.load_segments())
        if (segment.range.contains(heap.begin)) offset = segment.file_offset + (heap.begin - segment.range.begin);
    ASSERT_NE(offset, 0u);
    const std::string copy = testing::TempDir() + "any_heap_core." + std::to_string(::getpid());
    std::mt19937_64 random(11);
    const std::uint64_t words = std::min<std::uint64_t>(heap.size(), 0x6000) / 8;
    for (int round = 0; round < 10; ++round) {
        std::string damaged = bytes;
        for (int i = 0; i < 200; ++i) {
            const std::uint64_t values[] = {heap.begin.value + random() % heap.size(),
                                            random(),
                                            0,
                                            ~std::uint64_t{0},
                                            heap.end.value - 8,
                                            0x21 + random() % 64 * 16};
            const std::uint64_t value = values[random() % std::size(values)];
            std::memcpy(damaged.data() + offset + random() % words * 8, &value, sizeof value);
        }
        std::ofstream(copy, std::ios::binary) << damaged;
        auto process = open_native(copy, probe->executable);
        if (process == nullptr) continue;
        LiveMemory live(*process, any_word, [](const LiveMemory::Word&) {});
        for (const auto& row : live.chunks()) EXPECT_LT(row.user.begin, row.user.end);
    }
    std::filesystem::remove(copy);
}

TEST(Escapes, EveryCallOfAProgramHasAnAnswer) {
    for (const char* build : {"O2", "stripped"}) {
        INCIDENT_NEED_PROBE(probe, "native-glibc-2.36", build, "frame_live");
        auto process = open_native(probe->core, probe->executable);
        ASSERT_NE(process, nullptr);
        const Section* text = process->images->executable()->find_section(".text");
        ASSERT_NE(text, nullptr);
        std::size_t kept = 0, asked = 0;
        for (Address at = text->range.begin; at + 5 < text->range.end; at += 1) {
            if (!may_be_return_address(process->memory, at)) continue;
            auto entry = function_entry(*process, at - 1, std::nullopt);
            if (!entry || *entry >= at) continue;
            ++asked;
            kept += keeps_addresses_in(*process, *entry, at) ? 1 : 0;
            keeps_addresses_in(*process, *entry + 1, at);  // from the middle of an instruction
            keeps_addresses_in(*process, at, *entry);      // backwards
        }
        if (std::string_view(build) != "stripped") { EXPECT_GT(asked, 50u); }
        EXPECT_LE(kept, asked);
    }
}

TEST(Escapes, AnAddressThatWasPublishedEscapes) {
    INCIDENT_NEED_PROBE(probe, "native-glibc-2.36", "O2", "frame_live");
    auto process = open_native(probe->core, probe->executable);
    ASSERT_NE(process, nullptr);
    auto publish = process->images->executable()->find_symbol("publish");
    ASSERT_TRUE(publish.has_value());
    // publish() stores &ctx in a global, then calls use(): asked at each of its calls.
    bool any_kept = false, any_escaped = false;
    for (Address at = publish->address + 1; at < publish->address + publish->size; at += 1)
        if (may_be_return_address(process->memory, at))
            (keeps_addresses_in(*process, publish->address, at) ? any_kept : any_escaped) = true;
    EXPECT_TRUE(any_escaped);
}

}  // namespace
}  // namespace incident
