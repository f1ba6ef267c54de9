// The heap graph beside what the process said of itself: the collector's own marks, MemStats, and retained sizes that
// the program computed by brute force. Subjects come from truth.txt.
#include "go/heap/heap_build.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <charconv>
#include <map>
#include <random>
#include <set>
#include <sstream>

#include "go/heap/dominators.h"
#include "go/heap/heap_edges.h"
#include "go/stacks/opened_core.h"
#include "support/corpora.h"

namespace incident::go {
namespace {

using testing::OpenedCore;

struct HeapCore {
    std::unique_ptr<OpenedCore> opened;
    std::unique_ptr<GoStacks> stacks;  // the graph keeps its address
    std::optional<Spans> spans;
    std::shared_ptr<const HeapGraph> graph;
    std::string truth;

    static std::optional<HeapCore> open(const test::Probe& probe, unsigned jobs = 2) {
        auto opened = OpenedCore::open(probe.core, probe.executable);
        if (!opened) return std::nullopt;
        HeapCore core;
        core.opened = std::move(*opened);
        const auto& o = *core.opened;
        StackWalker walker(o.core, o.memory, o.runtime, o.goroutines);
        const auto& all = o.goroutines.all;
        core.stacks = std::make_unique<GoStacks>(all.size());
        for (std::size_t i = 0; i < all.size(); ++i) core.stacks->set(i, all[i].stack, walker.walk(all[i]));
        auto spans = Spans::read(o.memory, o.runtime, 1);
        if (!spans) return std::nullopt;
        core.spans = std::move(*spans);
        core.truth = test::read_text(probe.truth);
        if (!core.build(jobs)) return std::nullopt;
        return core;
    }
    bool build(unsigned jobs) {
        auto built = HeapBuild::start(
            {&opened->core, opened->memory, opened->runtime, *spans, &opened->goroutines, stacks.get(), jobs}, false);
        if (!built) return false;
        graph = built->finish().graph;
        return true;
    }
    /// `key=value` of a line, as a number.
    static std::optional<std::uint64_t> number(std::string_view line, std::string_view key) {
        auto at = line.find(std::string(" ") + std::string(key) + "=");
        if (at == std::string_view::npos) return std::nullopt;
        std::string value(line.substr(at + key.size() + 2));
        return std::strtoull(value.c_str(), nullptr, 0);
    }
    std::vector<std::string> lines(std::string_view begin) const {
        std::vector<std::string> found;
        std::istringstream in(truth);
        for (std::string line; std::getline(in, line);)
            if (line.starts_with(begin)) found.push_back(line);
        return found;
    }
};

bool bit(const std::byte* bits, std::uint32_t i) {
    return bits != nullptr && (std::to_integer<unsigned>(bits[i / 8]) >> (i % 8) & 1) != 0;
}

struct Difference {
    std::uint64_t lost = 0;  ///< the last collection marked it, we do not reach it
    std::uint64_t held = 0;  ///< we reach it, the collection did not, and it is older than the collection
    std::uint64_t lost_with_pointers = 0;
    std::string example;
};

Difference compare(const HeapGraph& graph) {
    Difference d;
    const HeapSlots& slots = graph.slots();
    slots.for_each_slot([&](SlotId slot) {
        const Span& s = slots.span(slot);
        std::uint32_t i = slots.index(slot);
        bool marked = bit(s.needs_sweep ? s.mark_bytes : s.alloc_bytes, i);
        bool fresh = !marked && !s.needs_sweep && i < s.free_index;
        if (marked && !graph.live(slot)) {
            ++d.lost;
            d.lost_with_pointers += !slots.noscan(slot);
            d.example = std::to_string(slots.base(slot).value);
        }
        if (graph.live(slot) && !marked && !fresh) ++d.held;
    });
    return d;
}

/// Bundle, build and mode of cores whose world stood still after their last collection.
struct QuietCore {
    std::string bundle, build, mode;
    friend void PrintTo(const QuietCore& core, std::ostream* out) {
        *out << core.bundle << ' ' << core.build << '.' << core.mode;
    }
};

std::vector<QuietCore> quiet_cores() {
    std::vector<QuietCore> cores;
    for (const std::string& bundle : test::bundles("go1."))
        for (const char* build : {"dwarf", "stripped"}) cores.push_back({bundle, build, "heap"});
    for (const std::string& bundle : test::bundles("heap-go1."))
        for (const char* build : {"dwarf", "stripped"}) cores.push_back({bundle, build, "graph"});
    return cores;
}

class QuietHeap : public ::testing::TestWithParam<QuietCore> {};
INSTANTIATE_TEST_SUITE_P(Go, QuietHeap, ::testing::ValuesIn(quiet_cores()), [](const auto& tested) {
    std::string name = tested.param.bundle + "_" + tested.param.build + "_" + tested.param.mode;
    for (char& c : name)
        if (c == '.' || c == '-') c = '_';
    return name;
});

TEST_P(QuietHeap, MarksEqualTheCollectors) {
    INCIDENT_NEED_PROBE(probe, GetParam().bundle, GetParam().build, GetParam().mode);
    auto core = HeapCore::open(*probe);
    ASSERT_TRUE(core);
    const HeapGraph& graph = *core->graph;
    auto difference = compare(graph);
    // Of 1.24 alone: two closures of package unique, whose goroutine goes through its maps after each collection. They
    // lived while that ran.
    std::uint64_t allowed = core->opened->runtime.version().minor == 24 ? 2 : 0;
    // A collection marks the tiny block at hand; the next tiny object may have begun another one since.
    EXPECT_LE(difference.lost, allowed + 1) << difference.example;
    EXPECT_EQ(difference.held, 0u);
    EXPECT_EQ(graph.totals().without_map, 0u);
    EXPECT_EQ(graph.totals().unknown_objects, 0u);
    EXPECT_EQ(graph.roots().frames_without_maps, 0u);
    EXPECT_TRUE(graph.gaps().empty()) << graph.gaps().front().what;
}

TEST_P(QuietHeap, CountsEqualMemStats) {
    INCIDENT_NEED_PROBE(probe, GetParam().bundle, GetParam().build, GetParam().mode);
    auto core = HeapCore::open(*probe);
    ASSERT_TRUE(core);
    auto objects = core->lines("memstats.HeapObjects=");
    auto bytes = core->lines("memstats.HeapAlloc=");
    ASSERT_FALSE(objects.empty());
    // Reading MemStats and writing the truth may allocate a few objects after the numbers were taken.
    auto near = [&](std::uint64_t ours, const std::string& line, std::uint64_t slack) {
        std::uint64_t theirs = std::strtoull(line.c_str() + line.find('=') + 1, nullptr, 10);
        EXPECT_GE(ours, theirs) << line;
        EXPECT_LE(ours, theirs + slack) << line;
    };
    near(core->graph->totals().allocated_objects, objects[0], 24);
    near(core->graph->totals().allocated_bytes, bytes[0], 24 * 512);
}

TEST_P(QuietHeap, OneWorkerFindsTheSame) {
    INCIDENT_NEED_PROBE(probe, GetParam().bundle, GetParam().build, GetParam().mode);
    auto core = HeapCore::open(*probe, 3);
    ASSERT_TRUE(core);
    SlotBits parallel = core->graph->live_bits();
    ASSERT_TRUE(core->build(1));
    EXPECT_TRUE(core->graph->live_bits() == parallel);
}

TEST_P(QuietHeap, RetainedSizesEqualTheProgramsOwn) {
    INCIDENT_NEED_PROBE(probe, GetParam().bundle, GetParam().build, GetParam().mode);
    auto core = HeapCore::open(*probe);
    ASSERT_TRUE(core);
    auto nodes = core->lines("gnode ");
    if (nodes.empty()) GTEST_SKIP() << "this mode has no graph";
    auto dominators = Dominators::compute(*core->graph);
    std::set<SlotId> known;
    for (const std::string& line : nodes) {
        auto slot = core->graph->slot_of(Address{*HeapCore::number(line, "addr")});
        ASSERT_TRUE(slot) << line;
        EXPECT_TRUE(core->graph->live(*slot)) << line;
        EXPECT_EQ(core->graph->slots().size(*slot), HeapCore::number(line, "size")) << line;
        auto retained = dominators.retained_by(*slot);
        EXPECT_EQ(retained.objects, HeapCore::number(line, "retained-count")) << line;
        EXPECT_EQ(retained.bytes, HeapCore::number(line, "retained-bytes")) << line;
        auto path = shortest_path(*core->graph, *slot);
        ASSERT_TRUE(path) << line;
        EXPECT_EQ(path->steps.back().slot, *slot);
        EXPECT_EQ(core->graph->roots().all[path->root].target, path->steps.front().slot);
    }
}

TEST_P(QuietHeap, ReverseEdgesAreTheEdges) {
    INCIDENT_NEED_PROBE(probe, GetParam().bundle, GetParam().build, GetParam().mode);
    auto core = HeapCore::open(*probe);
    ASSERT_TRUE(core);
    const HeapGraph& graph = *core->graph;
    auto reverse = ReverseEdges::build(graph, 2);
    std::uint64_t edges = 0;
    graph.live_bits().for_each([&](SlotId slot) {
        graph.for_each_edge(slot, [&](std::uint64_t, SlotId to) {
            ++edges;
            EXPECT_TRUE(std::ranges::binary_search(reverse.to(to), slot));
        });
    });
    EXPECT_EQ(edges, reverse.count());
    // Every live object has somebody who keeps it: an object or a root.
    RootIndex roots(graph.roots());
    graph.live_bits().for_each([&](SlotId slot) { EXPECT_FALSE(reverse.to(slot).empty() && roots.of(slot).empty()); });
}

TEST_P(QuietHeap, ReachOfAllRootsIsTheLiveSet) {
    INCIDENT_NEED_PROBE(probe, GetParam().bundle, GetParam().build, GetParam().mode);
    auto core = HeapCore::open(*probe);
    ASSERT_TRUE(core);
    const HeapGraph& graph = *core->graph;
    Reach reach(graph);
    EXPECT_TRUE(reach.add_shared());
    for (std::uint32_t g = 0; g < core->opened->goroutines.all.size(); ++g) reach.add_goroutine(g);
    std::uint64_t reached = 0;
    graph.slots().for_each_slot([&](SlotId slot) {
        reached += reach.contains(slot);
        EXPECT_EQ(reach.contains(slot), graph.live(slot));
    });
    EXPECT_EQ(reached, graph.totals().live_objects);
    EXPECT_FALSE(reach.add_shared());
    // With every g closed, one goroutine does not lead to the others through the list of all.
    Reach globals(graph);
    for (const Goroutine& g : core->opened->goroutines.all)
        if (auto slot = graph.slot_of(g.g)) globals.close(*slot);
    globals.add_shared();
    graph.slots().for_each_slot([&](SlotId slot) { EXPECT_LE(globals.contains(slot), graph.live(slot)); });
}

/// Dominators of small random graphs beside the definition: v is dominated by d when v cannot be reached without d.
TEST(ImmediateDominators, EqualsTheDefinitionOnRandomGraphs) {
    std::mt19937 random(7);
    for (int round = 0; round < 400; ++round) {
        unsigned count = 2 + random() % 24, edges = random() % (count * 3);
        std::vector<std::vector<unsigned>> out(count);
        for (unsigned i = 0; i < edges; ++i) out[random() % count].push_back(random() % count);
        // Preorder of what 0 reaches.
        std::vector<unsigned> name, parent;
        std::map<unsigned, unsigned> number;
        std::vector<std::pair<unsigned, unsigned>> stack{{0, 0}};
        while (!stack.empty()) {
            auto [from, v] = stack.back();
            stack.pop_back();
            if (number.contains(v)) continue;
            number[v] = static_cast<unsigned>(name.size());
            name.push_back(v);
            parent.push_back(from);
            for (unsigned to : out[v]) stack.emplace_back(number[v], to);
        }
        auto size = static_cast<unsigned>(name.size());
        std::vector<std::vector<unsigned>> into(size);
        for (unsigned v = 0; v < size; ++v)
            for (unsigned to : out[name[v]]) into[number[to]].push_back(v);
        std::vector<std::uint64_t> begin{0};
        std::vector<std::uint32_t> preds;
        for (auto& list : into) {
            preds.insert(preds.end(), list.begin(), list.end());
            begin.push_back(preds.size());
        }
        auto idom = immediate_dominators(parent, begin, preds);
        auto reached_without = [&](unsigned gone) {
            std::set<unsigned> seen;
            std::vector<unsigned> todo;
            if (gone != 0) todo.push_back(0), seen.insert(0);
            while (!todo.empty()) {
                unsigned v = todo.back();
                todo.pop_back();
                for (unsigned to : out[name[v]])
                    if (number[to] != gone && seen.insert(number[to]).second) todo.push_back(number[to]);
            }
            return seen;
        };
        std::vector<std::set<unsigned>> dominated(size);  // by each vertex, itself left out
        for (unsigned d = 0; d < size; ++d) {
            auto seen = reached_without(d);
            for (unsigned v = 0; v < size; ++v)
                if (v != d && !seen.contains(v)) dominated[d].insert(v);
        }
        for (unsigned v = 1; v < size; ++v) {
            // The immediate dominator is the one that all others dominate.
            EXPECT_TRUE(dominated[idom[v]].contains(v));
            for (unsigned d = 0; d < size; ++d)
                if (dominated[d].contains(v) && d != idom[v]) { EXPECT_TRUE(dominated[d].contains(idom[v])); }
        }
    }
}

TEST(ImmediateDominators, LongChainsAreNoRecursion) {
    std::vector<std::uint32_t> parent{0};
    std::vector<std::uint64_t> begin{0, 0};
    std::vector<std::uint32_t> preds;
    constexpr std::uint32_t count = 2'000'000;
    for (std::uint32_t v = 1; v < count; ++v) {
        parent.push_back(v - 1);
        if (v + 1 < count) preds.push_back(v + 1);  // and every link points back, as in a doubly linked list
        begin.push_back(preds.size());
    }
    auto idom = immediate_dominators(parent, begin, preds);
    EXPECT_EQ(idom[count - 1], count - 2);
    EXPECT_EQ(idom[1], 0u);
}

// Semi-NCA climbs the list anew for each of the leaves: 4 * 10^10 steps, minutes.
TEST(ImmediateDominators, ManyWaysPastALongListAreNoClimbs) {
    constexpr std::uint32_t list = 200'000, leaves = 200'000;
    std::vector<std::uint32_t> parent{0};
    std::vector<std::uint64_t> begin{0, 0};
    std::vector<std::uint32_t> preds;
    for (std::uint32_t v = 1; v < list + leaves; ++v) {
        parent.push_back(std::min(v, list) - 1);
        if (v >= list) preds.push_back(0);
        begin.push_back(preds.size());
    }
    const auto idom = immediate_dominators(parent, begin, preds);
    for (std::uint32_t v = 1; v < list + leaves; ++v) ASSERT_EQ(idom[v], v < list ? v - 1 : 0);
}

}  // namespace
}  // namespace incident::go
