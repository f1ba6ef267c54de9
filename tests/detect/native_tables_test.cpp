// Hash tables read from bundled cores, at their place and at every other.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <regex>

#include "detect/native_live_tables.h"
#include "support/corpora.h"

namespace incident::detect {
namespace {

using testing::Contains;
using testing::HasSubstr;

bool any_word(const LiveMemory::Word&, const native::Chunk*) { return true; }

struct Opened {
    std::shared_ptr<const Process> process;
    std::string truth;
    Address object(const std::string& name) const {
        std::smatch found;
        if (!std::regex_search(truth, found, std::regex("object name=" + name + " type=\"[^\"]*\" addr=(0x[0-9a-f]+)")))
            return {};
        return Address{std::stoull(found[1], nullptr, 16)};
    }
    const Memory& memory() const { return process->memory; }
    const native::Heaps& heaps() const { return *process->malloc; }
};

std::optional<Opened> open(std::string_view build, std::string_view mode) {
    auto probe = test::probe("native-glibc-2.36", build, mode);
    if (!probe) return std::nullopt;
    ProcessOptions options;
    options.core_path = probe->core;
    options.images.executable = probe->executable;
    options.passes = {.threads = true, .crash = true, .malloc = true};
    auto process = open_process(options);
    if (!process || !(*process)->malloc) return std::nullopt;
    return Opened{*process, test::read_text(probe->truth)};
}

#define NEED(name, build, mode)    \
    auto name = open(build, mode); \
    if (!name) GTEST_SKIP() << test::corpus_problem()

TEST(Tables, ByStructureOnlyTheUsualLoadFactor) {
    NEED(usual, "tbO2", "ht_multi_right");
    auto table = read_unordered(usual->memory(), usual->heaps(), usual->object("g_multi"));
    ASSERT_TRUE(table.has_value());
    EXPECT_EQ(table->elements, 89u);
    EXPECT_TRUE(table->freed_nodes.empty());
    NEED(other, "tbO2", "ht_load_right");
    const Address header = other->object("g_map");
    EXPECT_FALSE(read_unordered(other->memory(), other->heaps(), header).has_value());
    auto typed = read_unordered(other->memory(), other->heaps(), header, TableBasis::dwarf);
    ASSERT_TRUE(typed.has_value());
    EXPECT_EQ(typed->elements, 63u);
    EXPECT_EQ(typed->load_factor, 0.5f);
}

TEST(Tables, FreedBehindTheirBack) {
    NEED(node, "tbO0", "ht_first_freed");
    auto first = read_unordered(node->memory(), node->heaps(), node->object("g_map"), TableBasis::dwarf);
    ASSERT_TRUE(first.has_value());
    EXPECT_EQ(first->freed_nodes.size(), 1u);
    NEED(array, "tbO0", "ht_buckets_freed");
    auto buckets = read_unordered(array->memory(), array->heaps(), array->object("g_map"), TableBasis::dwarf);
    ASSERT_TRUE(buckets.has_value());
    EXPECT_TRUE(buckets->freed_buckets);
}

TEST(Tables, ADestroyedTableIsToldFromOneInUse) {
    NEED(gone, "tbO2", "ht_destroyed");
    const Address header = gone->object("g_map");
    auto word = gone->memory().load_address(header);
    ASSERT_TRUE(word.has_value());
    auto chunk = gone->heaps().find(*word);
    ASSERT_TRUE(chunk && chunk->free());
    EXPECT_TRUE(is_destroyed_table(gone->memory(), header, *chunk));
    EXPECT_FALSE(is_destroyed_table(gone->memory(), header + 8, *chunk));
    NEED(freed, "tbO2", "ht_buckets_freed");
    auto array = freed->heaps().find(*freed->memory().load_address(freed->object("g_map")));
    ASSERT_TRUE(array.has_value());
    EXPECT_FALSE(is_destroyed_table(freed->memory(), freed->object("g_map"), *array));
}

TEST(Tables, NamedByTheirTypes) {
    NEED(opened, "tbO2", "ht_load_iter");
    LiveTables tables(*opened->process);
    std::optional<LiveMemory::Word> iterator;
    LiveMemory live(*opened->process, any_word, [&](const LiveMemory::Word& word) {
        if (may_be_load_factor(word.value)) tables.look(word);
        if (word.source == LiveMemory::Source::chunk && word.at == opened->object("g_cursor") + 8) iterator = word;
    });
    const Locator& locator = *opened->process->locator;
    WordNames names(*opened->process, locator, live);
    tables.read(names, live);
    EXPECT_THAT(tables.all(), Contains(testing::Field(&UnorderedTable::name, HasSubstr("g_map"))));
    ASSERT_TRUE(iterator.has_value());
    WordName name = names.name(*iterator);
    EXPECT_THAT(name.text, HasSubstr("g_cursor->it._M_cur"));
    EXPECT_TRUE(name.typed);
    EXPECT_THAT(name.owner, HasSubstr("_Node_iterator_base<"));
    EXPECT_EQ(name.member, "_M_cur");
}

TEST(Tables, AtEveryPlace) {
    for (const char* mode : {"ht_set_hold", "hc_bucket", "ht_destroyed"}) {
        NEED(opened, "tbO2", mode);
        for (AddressRange range : opened->heaps().ranges())
            for (Address at = range.begin; at < range.end && at < range.begin + 0x30000; at += 8)
                for (TableBasis basis : {TableBasis::structure, TableBasis::dwarf})
                    if (auto table = read_unordered(opened->memory(), opened->heaps(), at, basis)) {
                        EXPECT_GT(table->bucket_count, 0u);
                    }
        opened->heaps().for_each_chunk([&](const native::Chunk& chunk) {
            for (BucketLinks links : {BucketLinks::needed, BucketLinks::unknown})
                if (auto array = read_bucket_array(opened->memory(), opened->heaps(), chunk, links)) {
                    EXPECT_LE(array->used, array->buckets);
                }
        });
    }
}

}  // namespace
}  // namespace incident::detect
