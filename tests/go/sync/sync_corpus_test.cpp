// Semtable, waits, releases in code, timers and finalizers, on the bundled cores of the locks corpus, against what each
// program said of itself: names through truth.txt, never numbers.
#include <gtest/gtest.h>

#include <algorithm>
#include <fstream>

#include "../stacks/opened_core.h"
#include "../stacks/truth.h"
#include "go/stacks/defers.h"
#include "go/sync/holders.h"
#include "go/sync/releasers.h"
#include "go/sync/waits.h"
#include "support/corpora.h"

namespace incident::go {
namespace {

using testing::OpenedCore;

class SyncCorpus : public ::testing::TestWithParam<std::string> {
protected:
    /// Skips the test when the bundle is not unpacked.
    bool open(const std::string& mode) {
        auto folder = test::corpus("locks-" + GetParam());
        if (!folder || !std::filesystem::exists(*folder / ("dwarf." + mode))) return false;
        auto opened =
            OpenedCore::open((*folder / ("dwarf." + mode) / "core").string(), (*folder / "exe.dwarf").string());
        if (!opened) return false;
        core = std::move(*opened);
        std::ifstream truth(*folder / ("dwarf." + mode) / "truth.txt");
        for (std::string line; std::getline(truth, line);) {
            if (line.starts_with("goroutine id=") && line.find(" name=") != std::string::npos)
                ids[testing::field(line, "name")] = std::stoll(testing::field(line, "id"));
            if (line.starts_with("object name=") && lock.is_null())
                lock = Address{std::stoull(testing::field(line, "addr"), nullptr, 16)};
        }
        waits = Waits::read(core->memory, core->runtime, core->goroutines);
        return true;
    }
    const Goroutine& goroutine(const std::string& name) { return *core->goroutines.find(ids.at(name)); }
    GoStack stack_of(const Goroutine& g) {
        return StackWalker(core->core, core->memory, core->runtime, core->goroutines).walk(g);
    }

    std::unique_ptr<OpenedCore> core;
    std::map<std::string, std::int64_t> ids;
    Address lock;
    Waits waits;
};

TEST_P(SyncCorpus, TheSemtableNamesEveryWaiter) {
    if (!open("holder_plain")) GTEST_SKIP();
    EXPECT_TRUE(waits.complete());
    EXPECT_TRUE(waits.gaps().empty());
    for (const char* name : {"waiter1", "waiter2", "waiter3"}) {
        const auto& g = goroutine(name);
        auto list = waits.of(core->memory, core->runtime, g, stack_of(g));
        ASSERT_EQ(list.size(), 1u) << name;
        EXPECT_EQ(list[0].object, WaitObject::mutex);
        EXPECT_EQ(list[0].mode, WaitMode::lock);
        EXPECT_EQ(list[0].address, lock);
        ASSERT_NE(waits.semaphore_of(g.g), nullptr);
        EXPECT_EQ(waits.semaphore_of(g.g)->semaphore, list[0].semaphore);
    }
    EXPECT_EQ(waits.semaphore_of(goroutine("holder").g), nullptr);
    EXPECT_TRUE(waits.of(core->memory, core->runtime, goroutine("holder"), stack_of(goroutine("holder"))).empty());
}

TEST_P(SyncCorpus, ASudogThatLeadsBackStandsOnce) {
    if (!open("holder_plain")) GTEST_SKIP();
    const Address g = goroutine("waiter1").g;
    ASSERT_NE(waits.semaphore_of(g), nullptr);
    const Address sudog = waits.semaphore_of(g)->sudog;
    const auto& f = core->runtime.layout().sudog;
    for (auto link : {f.prev, f.next, f.waitlink}) {
        Memory lying;
        core->core.fill(lying);
        const Address at = sudog + static_cast<std::uint64_t>(link.offset);
        lying.add({{at, at + 8}, reinterpret_cast<const std::byte*>(&sudog), Origin::core, 6});
        lying.freeze();
        Waits read = Waits::read(lying, core->runtime, core->goroutines);
        EXPECT_FALSE(read.complete());
        EXPECT_NE(read.semaphore_of(g), nullptr);
    }
}

TEST_P(SyncCorpus, AHolderHasTheUnlockBeforeIt) {
    if (!open("holder_plain")) GTEST_SKIP();
    RemainingCode code(core->memory, core->runtime, core->disassembler);
    const auto& g = goroutine("holder");
    const auto stack = stack_of(g);
    bool found = false;
    for (std::uint32_t f = 0; f < stack.physical.size(); ++f) {
        if (stack.physical[f].func() == nullptr || !code.interesting(stack.physical[f].pc)) continue;
        for (const Release& release : code.of_frame(g, stack, f).releases)
            found |= release.kind == HoldKind::exclusive && release.address == lock && !release.rwmutex;
    }
    EXPECT_TRUE(found);
}

TEST_P(SyncCorpus, APendingDeferIsARelease) {
    if (!open("holder_defer")) GTEST_SKIP();
    RemainingCode code(core->memory, core->runtime, core->disassembler);
    const auto& g = goroutine("holder");
    CalleeResolver callees(core->memory, core->runtime, *core->goroutines.code, &core->disassembler);
    bool found = false;
    for (const auto& pending : read_defers(core->memory, core->runtime, g, stack_of(g), callees).pending)
        for (const Release& release : code.of_defer(pending).releases) found |= release.address == lock;
    EXPECT_TRUE(found);
}

/// Preempted before its first instruction, a deferred closure has what it captured behind the context register alone.
TEST_P(SyncCorpus, AClosureThatWasStoppedInItsPrologueIsKnown) {
    if (!open("holder_defer")) GTEST_SKIP();
    if (!core->runtime.version().at_least(17)) GTEST_SKIP();  // no closure: the record has the argument
    const auto& holder = goroutine("holder");
    CalleeResolver callees(core->memory, core->runtime, *core->goroutines.code, &core->disassembler);
    const auto pending = read_defers(core->memory, core->runtime, holder, stack_of(holder), callees).pending;
    ASSERT_FALSE(pending.empty());
    const Address closure = pending.front().closure;
    const auto entry = core->memory.load_address(closure);
    ASSERT_TRUE(entry);
    Goroutine g = holder;
    g.sched_pc = *entry;
    GoStack stack = stack_of(holder);
    stack.physical.erase(stack.physical.begin(), stack.physical.end() - 1);
    PhysicalFrame& frame = stack.physical.front();
    frame.code = core->goroutines.code->at(*entry, false);
    frame.pc = *entry;
    frame.after_call = false;
    frame.sp = g.sched_sp = (g.stack.begin + 512).align_down(16);
    frame.cfa = frame.sp + 8;
    auto gives_back = [&](const Memory& memory, std::uint32_t index, std::optional<Address> context) {
        RemainingCode code(memory, core->runtime, core->disassembler);
        const auto rest = code.of_frame(g, stack, index, context);
        return std::ranges::any_of(rest.releases, [&](const Release& r) { return r.address == lock; });
    };
    EXPECT_FALSE(gives_back(core->memory, 0, std::nullopt));
    EXPECT_TRUE(gives_back(core->memory, 0, closure)) << "a thread's register";
    auto lying = [&](Address at) {
        auto memory = std::make_unique<Memory>();
        core->core.fill(*memory);
        core->images.splice_into(*memory);
        memory->add({{at, at + 8}, reinterpret_cast<const std::byte*>(&closure), Origin::core, 6});
        memory->freeze();
        return memory;
    };
    const auto saved = static_cast<std::uint64_t>(core->runtime.layout().g.sched_ctxt.offset);
    EXPECT_TRUE(gives_back(*lying(g.g + saved), 0, std::nullopt)) << "g.sched.ctxt, by morestack";
    const auto preempt = core->runtime.find_func("runtime.asyncPreempt");
    ASSERT_TRUE(preempt);
    g.sched_pc = {};
    PhysicalFrame above = frame;
    above.code = core->goroutines.code->at(preempt->entry, false);
    above.sp = frame.sp - 256;
    stack.physical.insert(stack.physical.begin(), above);
    EXPECT_TRUE(gives_back(*lying(stack.physical.front().sp + 16), 1, std::nullopt)) << "asyncPreempt's frame";
}

// sync.Once.doSlow defers two calls, one of them in an `if`: its code tests bits that it has set itself. Whoever takes
// such a branch for open thinks that the lock may stay taken, and misses that Do of Do waits for itself.
TEST_P(SyncCorpus, BitsOfDefersDecideTheirBranches) {
    if (!open("holder_plain")) GTEST_SKIP();
    if (!core->runtime.version().at_least(17)) GTEST_SKIP();  // results of an unknown callee lie over the slots
    std::optional<Func> slow;
    for (const auto& module : core->runtime.modules())
        if (!slow) slow = module.pclntab.find_by_name("sync.(*Once).doSlow");
    ASSERT_TRUE(slow);
    CodeBook book(core->memory, core->runtime, core->disassembler);
    const FunctionCode* code = book.function(slow->entry);
    ASSERT_NE(code, nullptr);
    const auto call = std::ranges::find_if(code->steps, [&](const CodeStep& step) {
        auto callee = step.flow == Flow::call ? core->runtime.find_func(step.target) : std::nullopt;
        return callee && callee->name.ends_with("Mutex).lockSlow");
    });
    ASSERT_NE(call, code->steps.end());
    // On any stack: what stands in the slot of the Once is some number, and its lock another.
    const auto& g = goroutine("holder");
    GoStack stack = stack_of(g);
    PhysicalFrame& frame = stack.physical.front();
    frame.code = core->goroutines.code->at(call->pc + call->size, true);
    frame.pc = call->pc + call->size;
    frame.sp = (g.stack.begin + 512).align_down(16);
    frame.cfa = frame.sp + 0x100;
    frame.bp = frame.cfa - 16;
    const Remaining rest = RemainingCode(core->memory, core->runtime, core->disassembler).of_frame(g, stack, 0);
    std::vector<std::pair<int, int>> unlocks;
    for (const Balance& b : rest.balances)
        if (b.kind == HoldKind::exclusive) unlocks.emplace_back(b.least, b.most);
    EXPECT_EQ(unlocks, (std::vector<std::pair<int, int>>{{-1, -1}})) << "every way out of doSlow unlocks once";
}

TEST_P(SyncCorpus, AGoroutineThatHasNotRunMayUnlock) {
    if (!open("unlock_unborn")) GTEST_SKIP();
    RemainingCode code(core->memory, core->runtime, core->disassembler);
    bool found = false;
    for (const auto& g : core->goroutines.all)
        if (g.status == Status::runnable && g.sched_pc == g.startpc)
            for (const Release& release : code.of_unborn(g).releases) found |= release.address == lock;
    EXPECT_TRUE(found);
}

TEST_P(SyncCorpus, AWriterGivesBackAnRWMutex) {
    if (!open("rw_slow_writer")) GTEST_SKIP();
    RemainingCode code(core->memory, core->runtime, core->disassembler);
    CalleeResolver callees(core->memory, core->runtime, *core->goroutines.code, &core->disassembler);
    bool found = false;
    for (const auto& g : core->goroutines.all) {
        if (g.system) continue;
        const auto stack = stack_of(g);
        auto note = [&](const Remaining& remaining) {
            for (const Release& release : remaining.releases)
                found |= release.kind == HoldKind::exclusive && release.address == lock && release.rwmutex;
        };
        for (const auto& pending : read_defers(core->memory, core->runtime, g, stack, callees).pending)
            note(code.of_defer(pending));
        for (std::uint32_t f = 0; f < stack.physical.size(); ++f)
            if (stack.physical[f].func() != nullptr && code.interesting(stack.physical[f].pc))
                note(code.of_frame(g, stack, f));
    }
    EXPECT_TRUE(found);
}

TEST_P(SyncCorpus, TimersAndFinalizersAreCallbacks) {
    for (auto [mode, kind] :
         {std::pair("unlock_timer", CallbackKind::timer), {"unlock_finalizer", CallbackKind::finalizer}}) {
        lock = {};
        if (!open(mode)) GTEST_SKIP();
        auto spans = Spans::read(core->memory, core->runtime, 1);
        ASSERT_TRUE(spans);
        auto callbacks = read_callbacks(core->memory, core->runtime, &*spans);
        EXPECT_TRUE(callbacks.timers_read);
        EXPECT_TRUE(callbacks.finalizers_read);
        RemainingCode code(core->memory, core->runtime, core->disassembler);
        bool found = false;
        for (const auto& callback : callbacks.all)
            if (callback.kind == kind)
                for (const Release& release :
                     code.of_function(callback.entry, callback.closure, callback.argument).releases)
                    found |= release.kind == HoldKind::exclusive && (!release.address || *release.address == lock);
        EXPECT_TRUE(found) << mode;
    }
}

TEST_P(SyncCorpus, ChannelsAndConditionsSayWhoWaits) {
    if (!open("cond_live")) GTEST_SKIP();
    std::size_t on_condition = 0;
    for (const auto& g : core->goroutines.all)
        for (const auto& wait : waits.of(core->memory, core->runtime, g, stack_of(g)))
            if (wait.object == WaitObject::cond) ++on_condition;
    EXPECT_GE(on_condition, 1u);
    if (!open("chan_live")) GTEST_SKIP();
    bool channel = false;
    for (const auto& g : core->goroutines.all)
        for (const auto& wait : waits.of(core->memory, core->runtime, g, stack_of(g))) {
            if (g.system || wait.object != WaitObject::channel) continue;
            auto summary = read_channel(core->memory, core->runtime, wait.address);
            ASSERT_TRUE(summary);
            EXPECT_LE(summary->queued, summary->capacity);
            EXPECT_GE(summary->receivers + summary->senders, 1u);
            EXPECT_EQ(wait.what, summary->text());
            channel = true;
        }
    EXPECT_TRUE(channel);
}

INSTANTIATE_TEST_SUITE_P(Bundles, SyncCorpus,
                         ::testing::Values("go1.16", "go1.19", "go1.22", "go1.24", "go1.26", "go1.27"),
                         [](const auto& bundle) { return "go" + bundle.param.substr(bundle.param.find('.') + 1); });

}  // namespace
}  // namespace incident::go
