// What a frame's variables call a map.
#include <gtest/gtest.h>

#include <set>
#include <string>

#include "detect/go_map.h"
#include "process/process.h"
#include "process/snapshot.h"
#include "support/corpora.h"

namespace incident {
namespace {

/// "main.writeLoop: m map[int]int" of every frame of every goroutine.
std::set<std::string> names_in(const test::Probe& probe, bool types) {
    const ProcessOptions options{
        .core_path = probe.core,
        .images = {.executable = probe.executable},
        .passes =
            {.goroutines = true, .stacks = true, .spans = true, .crash = true, .heap = types, .heap_types = types},
        .jobs = 1};
    const auto process = open_process(options);
    std::set<std::string> names;
    if (!process) return names;
    const detect::MapTeller teller(**process);
    Snapshots snapshots(*(*process)->locator, &*(*process)->disassembler);
    for (std::size_t g = 0; g < (*process)->stacks.size(); ++g) {
        const go::GoStack stack = (*process)->stacks.load(g);
        for (std::size_t f = 0; f < stack.frames.size(); ++f)
            for (auto& local : teller.local_maps(snapshots.frame(stack, f)))
                if ((*process)->spans->find_object(local.header))
                    names.insert(std::string(stack.frames[f].function) + ": " + local.name + " " + local.type);
    }
    return names;
}

TEST(MapNames, AVariable) {
    INCIDENT_NEED_PROBE(probe, "heap-go1.27", "dwarf", "race_writes");
    EXPECT_TRUE(names_in(*probe, false).contains("main.writeLoop: m map[int]int"));
}

TEST(MapNames, AFieldBehindAPointerWhenTypesAreKnown) {
    INCIDENT_NEED_PROBE(probe, "go1.22", "dwarf", "healthy");
    EXPECT_TRUE(names_in(*probe, true).contains("main.(*server).work: s.hits map[string]int"));
    EXPECT_TRUE(names_in(*probe, false).empty());
}

}  // namespace
}  // namespace incident
