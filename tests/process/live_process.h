// A probe core read by every pass that locate and snapshots build on. Header only.
#pragma once

#include <memory>
#include <vector>

#include "go/stacks/stack_set.h"
#include "process/locate.h"
#include "support/opened_target.h"

namespace incident::test {

struct LiveProcess {
    explicit LiveProcess(OpenedTarget opened) : target(std::move(opened)) {}
    LiveProcess(const LiveProcess&) = delete;

    OpenedTarget target;
    std::optional<go::Runtime> runtime;
    std::optional<go::GoroutineList> goroutines;
    std::optional<go::Spans> spans;
    go::GoStacks stacks;

    const Memory& memory() const { return *target.memory; }
    LocateContext context() const {
        return {.core = target.core,
                .memory = *target.memory,
                .images = *target.images,
                .runtime = &*runtime,
                .goroutines = &*goroutines,
                .spans = &*spans,
                .stacks = &stacks};
    }
};

inline Result<std::unique_ptr<LiveProcess>> read_process(const Probe& probe) {
    auto live = std::make_unique<LiveProcess>(TRY(open_target(probe)));
    const auto& t = live->target;
    live->runtime = TRY(go::Runtime::attach(t.core, *t.memory, *t.images, *t.disassembler));
    live->goroutines = TRY(go::read_goroutines(t.core, *t.memory, *live->runtime, 1));
    live->spans = TRY(go::Spans::read(*t.memory, *live->runtime, 1));
    go::StackWalker walker(t.core, *t.memory, *live->runtime, *live->goroutines);
    const auto& all = live->goroutines->all;
    live->stacks = go::GoStacks(all.size());
    for (std::size_t i = 0; i < all.size(); ++i) live->stacks.set(i, all[i].stack, walker.walk(all[i]));
    return live;
}

}  // namespace incident::test
