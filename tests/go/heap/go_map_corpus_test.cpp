// Maps of the probes: 21 kinds with known contents, of every Go version: walked whole, counted, every one sound; and
// all that the finder recognises without types is sound too.
#include <gmock/gmock.h>

#include <algorithm>
#include <fstream>
#include <set>

#include "../stacks/corpus_cores.h"
#include "../stacks/opened_core.h"
#include "../stacks/truth.h"
#include "go/heap/go_map_find.h"

namespace incident::go::testing {
namespace {

struct TruthMap {
    std::string name, type;
    Address header;
    std::uint64_t length = 0;
};

std::vector<TruthMap> maps_of(const std::string& truth) {
    std::vector<TruthMap> maps;
    std::ifstream in(truth);
    for (std::string line; std::getline(in, line);) {
        std::string type = field(line, "type");
        if (!line.starts_with("object ") || !type.starts_with("map[") || field(line, "len").empty()) continue;
        Address at{std::stoull(field(line, "addr"), nullptr, 16)};
        if (!at.is_null()) maps.push_back({field(line, "name"), type, at, std::stoull(field(line, "len"))});
    }
    return maps;
}

class GoMaps : public ::testing::TestWithParam<std::string> {};

TEST_P(GoMaps, EveryMapOfTheProbesIsSoundAndHasItsLength) {
    auto cores = probe_cores(GetParam(), ".heap");
    if (cores.empty()) GTEST_SKIP() << test::corpus_problem();
    for (const auto& probe : cores) {
        SCOPED_TRACE(probe.name);
        auto opened = OpenedCore::open(probe.core, probe.executable);
        ASSERT_TRUE(opened.has_value()) << describe(opened.error());
        auto& o = **opened;
        auto spans = Spans::read(o.memory, o.runtime, 2);
        ASSERT_TRUE(spans.has_value());
        MapFinder finder(o.memory, o.runtime, *spans);
        std::map<std::string, const MapShape*> by_name;
        for (const MapShape& shape : finder.shapes())
            if (auto name = o.runtime.type_name(shape.rtype)) by_name[*name] = &shape;
        EXPECT_GE(finder.shapes().size(), 15u);
        auto maps = maps_of(probe.truth);
        EXPECT_GE(maps.size(), 20u);
        std::set<Address> recognised;
        for (const TruthMap& map : maps) {
            SCOPED_TRACE(map.name);
            auto shape = by_name.find(map.type);
            ASSERT_NE(shape, by_name.end()) << map.type;
            std::uint64_t cells = 0;
            MapCell count = [&](Address key, Address) { cells += o.memory.data_at(key, 1) != nullptr; };
            MapWalk walk = finder.reader().walk(map.header, *shape->second, &count);
            EXPECT_TRUE(walk.complete);
            EXPECT_EQ(walk.found, 0u) << walk.contradictions[0].what << " at " << std::hex
                                      << walk.contradictions[0].at.value;
            EXPECT_EQ(walk.count, map.length);
            EXPECT_EQ(walk.cells, map.length);
            EXPECT_EQ(cells, map.length);
            if (map.length >= 16) {
                auto found = finder.recognise(map.header);
                ASSERT_TRUE(found.has_value());
                EXPECT_EQ(found->walk.found, 0u);
            }
            if (map.length > 8) recognised.insert(map.header);
        }
        auto all = finder.find_all(2);
        EXPECT_TRUE(all.bad.empty()) << all.bad.size() << " maps contradict themselves, first "
                                     << all.bad[0].walk.contradictions[0].what;
        EXPECT_GE(all.sound, recognised.size());
    }
}

INSTANTIATE_TEST_SUITE_P(Versions, GoMaps,
                         ::testing::Values("go1.16", "go1.17", "go1.18", "go1.19", "go1.20", "go1.21", "go1.22",
                                           "go1.23", "go1.24", "go1.25", "go1.26", "go1.27"),
                         [](const auto& version) {
                             std::string name = version.param;
                             std::ranges::replace(name, '.', '_');
                             return name;
                         });

}  // namespace
}  // namespace incident::go::testing
