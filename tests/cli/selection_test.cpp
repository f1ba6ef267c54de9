// What a selection of finding kinds makes analyze read: the heap only for those that look at it.
#include <gtest/gtest.h>

#include "analyze.h"
#include "detect/detector.h"

namespace incident {
namespace {

Passes passes(std::vector<std::string> only, std::vector<std::string> skip = {}) {
    AnalyzeOptions options;
    options.command = Command::analyze;
    options.only = std::move(only);
    options.skip = std::move(skip);
    return passes_for(options);
}

TEST(Selection, AQuestionAboutLocksDoesNotPayForTheHeap) {
    EXPECT_TRUE(passes({}).heap && passes({}).heap_types);
    for (const char* kind : {"go.mutex", "lock.cycle", "crash.", "native.heap.corrupt", "go.pool.duplicate"})
        EXPECT_FALSE(passes({kind}).heap || passes({kind}).heap_types) << kind;
    for (const char* kind : {"go.pointer.freed", "go.map", "go.slice.bad"})
        EXPECT_TRUE(passes({kind}).heap && passes({kind}).heap_types) << kind;
    EXPECT_TRUE(passes({"go.goroutine.leaked"}).heap);
    EXPECT_FALSE(passes({"go.goroutine.leaked"}).heap_types) << "reachability needs no types";
    EXPECT_TRUE(passes({"go.mutex", "go.pointer.freed"}).heap);
    EXPECT_FALSE(passes({}, {"go.", "cgo."}).heap);
    EXPECT_TRUE(passes({}, {"go.map"}).heap);
}

TEST(Selection, EveryDetectorCanBeSelectedByEachOfItsKinds) {
    for (const detect::Detector& detector : detect::detectors())
        for (std::string_view kind : detector.kinds) {
            const std::vector<std::string> only{std::string(kind)};
            for (auto need : {detect::Need::heap, detect::Need::heap_types})
                if ((detector.needs & static_cast<unsigned>(need)) != 0) {
                    EXPECT_TRUE(detect::reads(need, only, {})) << kind;
                }
        }
}

}  // namespace
}  // namespace incident
