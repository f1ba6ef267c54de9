// Where the stacks that threads stand on end: carved from the Go heap, or a C thread's own.
#include <gtest/gtest.h>

#include "native/malloc.h"
#include "process/live_memory.h"
#include "process/live_stack.h"
#include "support/corpora.h"

namespace incident {
namespace {

std::shared_ptr<const Process> open_mixed(const test::Probe& probe) {
    ProcessOptions options;
    options.core_path = probe.core;
    options.images.executable = probe.executable;
    options.passes = {.threads = true, .goroutines = true, .spans = true, .crash = true, .malloc = true};
    auto process = open_process(options);
    return process && (*process)->goroutines && (*process)->spans && (*process)->malloc ? *process : nullptr;
}

TEST(LiveStack, BelowAHandlerTheGoroutinesOwnCountsToItsEnd) {
    INCIDENT_NEED_PROBE(probe, "cgo-go1.22", "dwarf", "cgo_idle-quit");
    const auto process = open_mixed(*probe);
    ASSERT_NE(process, nullptr);
    unsigned in_handlers = 0, on_goroutines = 0;
    for (const ThreadState& thread : process->core.threads()) {
        const auto stacks = live_stacks(*process, thread);
        ASSERT_FALSE(stacks.empty());
        ASSERT_TRUE(stacks[0].contains(*thread.registers.sp()));
        const go::Machine_m* machine = process->goroutines->machine_of_thread(thread.tid);
        const go::Goroutine* g = machine == nullptr ? nullptr : process->goroutines->at(machine->curg);
        for (const AddressRange& stack : stacks) {
            if (machine != nullptr && machine->gsignal_stack.contains(stack.begin)) {
                EXPECT_EQ(stack.end, machine->gsignal_stack.end);
                ++in_handlers;
            }
            if (g != nullptr && g->stack.contains(stack.begin)) {
                EXPECT_EQ(stack.end, g->stack.end);
                ++on_goroutines;
            }
        }
    }
    EXPECT_NE(in_handlers, 0u);
    EXPECT_NE(on_goroutines, 0u);
}

TEST(LiveStack, NoWordOfTheGoHeapCountsAsOneOfAStack) {
    INCIDENT_NEED_PROBE(probe, "cgo-go1.22", "dwarf", "cgo_idle-quit");
    const auto process = open_mixed(*probe);
    ASSERT_NE(process, nullptr);
    std::uint64_t on_stacks = 0, in_objects = 0;
    const auto every = [](const LiveMemory::Word&, const native::Chunk*) { return true; };
    const LiveMemory live(*process, every, [&](const LiveMemory::Word& word) {
        if (word.source != LiveMemory::Source::stack || word.at.is_null()) return;
        ++on_stacks;
        const go::Span* span = process->spans->find(word.at);
        if (span != nullptr && span->state == go::SpanState::in_use) ++in_objects;
    });
    EXPECT_NE(on_stacks, 0u);
    EXPECT_EQ(in_objects, 0u);
}

TEST(LiveStack, OfACThreadEndsBehindItsDescriptor) {
    INCIDENT_NEED_PROBE(probe, "native-glibc-2.36", "O0", "pt_cycle2");
    ProcessOptions options;
    options.core_path = probe->core;
    options.images.executable = probe->executable;
    options.passes = {.threads = true, .crash = true, .malloc = true};
    const auto process = open_process(options);
    ASSERT_TRUE(process);
    unsigned others = 0;
    for (const ThreadState& thread : (*process)->core.threads()) {
        const auto stacks = live_stacks(**process, thread);
        const Address sp = *thread.registers.sp();
        ASSERT_FALSE(stacks.empty());
        const AddressRange stack = stacks[0];
        ASSERT_TRUE(stack.contains(sp));
        const auto descriptor = thread.registers.get(static_cast<unsigned>(thread.registers.machine().thread_pointer));
        ASSERT_TRUE(descriptor);
        if (*descriptor < sp.value) continue;  // the first thread's lies elsewhere
        ++others;
        EXPECT_GT(stack.end.value, *descriptor);
        EXPECT_LE(stack.end.value, *descriptor + 4096);
    }
    EXPECT_NE(others, 0u);
}

}  // namespace
}  // namespace incident
