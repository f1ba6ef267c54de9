// What one frame's code was found to do serves the frames that are alike, and only those: on the cores of every Go
// version each frame is told the same as if its code had been followed for it alone.
#include "go/sync/frame_runs.h"

#include <gtest/gtest.h>

#include <filesystem>

#include "../stacks/opened_core.h"
#include "go/sync/holders.h"
#include "support/corpora.h"

namespace incident::go {
namespace {

using testing::OpenedCore;

std::string text_of(const Remaining& remaining) {
    std::string text = remaining.incomplete ? "incomplete" : "";
    text += remaining.returns ? " returns" : "";
    auto add = [&](auto... numbers) { ((text += " " + std::to_string(static_cast<std::int64_t>(numbers))), ...); };
    for (const Release& r : remaining.releases) {
        text += "\nrelease";
        add(r.kind, r.address ? r.address->value : 1, r.site.value, r.standard, r.rwmutex);
        text += r.function;
    }
    for (const Balance& b : remaining.balances) {
        text += "\nbalance";
        add(b.address.value, b.kind, b.least, b.most);
    }
    for (Address site : remaining.unresolved) add(site.value);
    return text;
}

class FrameRunsOf : public ::testing::TestWithParam<std::string> {
protected:
    struct Seen {
        std::size_t frames = 0, followed = 0;
    };
    static Seen compare(const std::filesystem::path& core_path, const std::filesystem::path& executable) {
        Seen seen;
        auto opened = OpenedCore::open(core_path.string(), executable.string());
        if (!opened) return seen;
        const OpenedCore& core = **opened;
        RemainingCode shared(core.memory, core.runtime, core.disassembler);
        RemainingCode alone(core.memory, core.runtime, core.disassembler, false);
        StackWalker walker(core.core, core.memory, core.runtime, core.goroutines);
        for (const Goroutine& g : core.goroutines.all) {
            const GoStack stack = walker.walk(g);
            for (std::uint32_t f = 0; f < stack.physical.size(); ++f) {
                const auto& frame = stack.physical[f];
                if (frame.func() == nullptr || frame.owner != StackOwner::goroutine || !alone.interesting(frame.pc))
                    continue;
                ++seen.frames;
                EXPECT_EQ(text_of(shared.of_frame(g, stack, f)), text_of(alone.of_frame(g, stack, f)))
                    << core_path << " goroutine " << g.goid << " frame " << f << " " << frame.name();
            }
        }
        EXPECT_LE(shared.frames_followed(), alone.frames_followed());
        seen.followed = shared.frames_followed();
        return seen;
    }
};

TEST_P(FrameRunsOf, EveryFrameIsToldTheSame) {
    const auto folder = test::corpus(GetParam());
    if (!folder) GTEST_SKIP() << test::corpus_problem();
    std::size_t frames = 0, followed = 0;
    for (const auto& entry : std::filesystem::directory_iterator(*folder)) {
        const std::string name = entry.path().filename().string();
        if (!name.starts_with("dwarf.") && !name.starts_with("stripped.")) continue;
        const auto seen = compare(entry.path() / "core", *folder / ("exe." + name.substr(0, name.find('.'))));
        frames += seen.frames;
        followed += seen.followed;
    }
    EXPECT_GT(frames, 0u);
    EXPECT_LE(followed, frames);
}

INSTANTIATE_TEST_SUITE_P(Bundles, FrameRunsOf, ::testing::ValuesIn(test::bundles("locks-go1.")));

/// 200 goroutines at rest, each with objects of its own.
TEST_F(FrameRunsOf, ManyAlikeAreFollowedOnce) {
    for (const auto& bundle : test::bundles("heap-go1.")) {
        const auto probe = test::probe(bundle, "dwarf", "server");
        if (!probe || bundle == "heap-go1.16") continue;  // arguments on the stack: more words, and none is alike
        const auto seen = compare(probe->core, probe->executable);
        EXPECT_LT(seen.followed * 4, seen.frames) << bundle << ": " << seen.followed << " of " << seen.frames;
    }
}

}  // namespace
}  // namespace incident::go
