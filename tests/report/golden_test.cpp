// What people see, compared with files in tests/golden. After a wanted change: INCIDENT_UPDATE_GOLDEN=1 test_report,
// then read the difference in version control.
#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>
#include <sstream>

#include "report/renderers.h"
#include "support/sample_report.h"

namespace incident::report {
namespace {

struct Golden {
    std::string file;
    Report (*sample)();
    std::string command;  ///< empty: the sample's own
    RenderOptions options;
    std::string_view format = "terminal";
    friend void PrintTo(const Golden& golden, std::ostream* out) { *out << golden.file; }
};

RenderOptions with(auto change) {
    RenderOptions options;
    options.min_severity = Severity::warning;
    change(options);
    return options;
}
const RenderOptions plain = with([](RenderOptions&) {});

std::vector<Golden> goldens() {
    return {
        {"hang.txt", test::sample_hang, "", plain},
        {"crash.txt", test::sample_crash, "", plain},
        {"cycle.txt", test::sample_cycle, "", plain},
        {"healthy.txt", test::sample_healthy, "", plain},
        {"core-alone.txt", test::sample_core_alone, "", plain},
        {"hostile.txt", test::sample_hostile, "", plain},
        {"hang-ascii.txt", test::sample_hang, "", with([](auto& o) { o.unicode = false; })},
        {"hang-all.txt", test::sample_hang, "", with([](auto& o) { o.all = true; })},
        {"crash-narrow.txt", test::sample_crash, "", with([](auto& o) { o.width = 60; })},
        {"crash-color.txt", test::sample_crash, "crash", with([](auto& o) { o.color = true; })},
        {"goroutines.txt", test::sample_hang, "goroutines", plain},
        {"goroutines-stacks.txt", test::sample_hang, "goroutines", with([](auto& o) { o.stacks = true; })},
        {"goroutines-group.txt", test::sample_hang, "goroutines", with([](auto& o) { o.group = true; })},
        {"goroutine.txt", test::sample_crash, "goroutine", plain},
        {"threads.txt", test::sample_cycle, "threads", plain},
        {"thread.txt", test::sample_cycle, "thread", plain},
        {"locks.txt", test::sample_cycle, "locks", plain},
        {"heap.txt", test::sample_heap, "heap", plain},
        {"heap-ascii.txt", test::sample_heap, "heap", with([](auto& o) { o.unicode = false; })},
        {"heap-retained.txt", test::sample_retained, "heap", plain},
        {"heap-kept-by.txt", test::sample_kept_by, "heap", plain},
        {"heap.md", test::sample_heap, "heap", plain, "markdown"},
        {"maps.txt", test::sample_memory, "maps", plain},
        {"locate.txt", test::sample_memory, "locate", plain},
        {"read.txt", test::sample_memory, "read", plain},
        {"hang.md", test::sample_hang, "", plain, "markdown"},
        {"crash.md", test::sample_crash, "", plain, "markdown"},
        {"hostile.md", test::sample_hostile, "", plain, "markdown"},
        {"goroutines.md", test::sample_hang, "goroutines", plain, "markdown"},
        {"locks.md", test::sample_cycle, "locks", plain, "markdown"},
        {"hang.json", test::sample_hang, "", plain, "json"},
        {"crash.json", test::sample_crash, "", plain, "json"},
        {"memory.json", test::sample_memory, "", plain, "json"},
    };
}

std::string render(const Golden& golden) {
    auto report = golden.sample();
    if (!golden.command.empty()) report.command = golden.command;
    std::string out;
    find_renderer(golden.format)->render(report, golden.options, [&](std::string_view piece) {
        out += piece;
        return true;
    });
    return out;
}

class GoldenFile : public testing::TestWithParam<Golden> {};

TEST_P(GoldenFile, IsWhatWePrint) {
    auto path = std::string(INCIDENT_SOURCE_DIR "/tests/golden/") + GetParam().file;
    auto text = render(GetParam());
    if (std::getenv("INCIDENT_UPDATE_GOLDEN") != nullptr) {
        std::ofstream(path, std::ios::binary) << text;
        return;
    }
    std::ifstream file(path, std::ios::binary);
    std::stringstream expected;
    expected << file.rdbuf();
    EXPECT_EQ(text, expected.str()) << "if the change is wanted: INCIDENT_UPDATE_GOLDEN=1";
}

INSTANTIATE_TEST_SUITE_P(Report, GoldenFile, testing::ValuesIn(goldens()), [](const auto& test_info) {
    std::string name = test_info.param.file;
    for (char& c : name)
        if (std::isalnum(static_cast<unsigned char>(c)) == 0) c = '_';
    return name;
});

}  // namespace
}  // namespace incident::report
