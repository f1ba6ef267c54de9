// Goroutines and locks without a way out: bundled cores, in which the test changes what somebody waits for, who holds a
// lock, or how many wait.
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <regex>

#include "detect/go_goroutine_leaked.h"
#include "detect/locks.h"
#include "go/heap/heap_graph.h"
#include "process/process.h"
#include "support/corpora.h"

namespace incident::detect {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

std::shared_ptr<Process> open(const test::Probe& probe, Passes passes) {
    ProcessOptions options;
    options.core_path = probe.core;
    options.images.executable = probe.executable;
    options.passes = passes;
    auto process = open_process(options);
    return process ? std::const_pointer_cast<Process>(*process) : nullptr;
}

/// Index of the goroutine of that name in the truth.
std::size_t named(const Process& process, const test::Probe& probe, const std::string& name) {
    const std::string truth = test::read_text(probe.truth);
    std::smatch found;
    if (!std::regex_search(truth, found, std::regex("goroutine id=(\\d+) name=" + name + " "))) return SIZE_MAX;
    return process.find_goroutine(std::stoll(found[1])).value_or(SIZE_MAX);
}

std::vector<std::string> words(const report::Finding& finding) {
    std::vector<std::string> all;
    for (auto& evidence : finding.evidence) all.push_back(evidence.what);
    return all;
}

// ---- go.mutex.orphaned: the holder is known and waits for ever

class StuckHolder : public testing::TestWithParam<const char*> {
protected:
    void SetUp() override {
        probe = test::probe(GetParam(), "stripped", "holder_chan");
        if (!probe) GTEST_SKIP() << test::corpus_problem();
        process = open(*probe, {.goroutines = true, .stacks = true, .crash = true, .locks = true});
        ASSERT_TRUE(process);
        holder = named(*process, *probe, "holder");
        ASSERT_LT(holder, process->goroutines->all.size());
    }
    GoLock& lock() {
        return *std::ranges::find_if(process->locks->locks, [&](const GoLock& lock) {
            return std::ranges::find(lock.holders, holder, &LockHolderRow::goroutine) != lock.holders.end();
        });
    }
    std::optional<test::Probe> probe;
    std::shared_ptr<Process> process;
    std::size_t holder = 0;
};
INSTANTIATE_TEST_SUITE_P(Bundles, StuckHolder, testing::Values("locks-go1.16", "locks-go1.22", "locks-go1.27"),
                         [](auto& i) { return "go" + std::string(i.param).substr(10); });

TEST_P(StuckHolder, IsSilentWhileTheHolderMayGoOn) {
    EXPECT_THAT(detect_mutexes(*process).findings, IsEmpty());
    process->goroutines->all[holder].wait_reason = "select";
    EXPECT_THAT(detect_mutexes(*process).findings, IsEmpty());
}

TEST_P(StuckHolder, IsToldWithTheHolderAndItsFrame) {
    for (std::string_view reason : {"select (no cases)", "chan receive (nil chan)", "chan send (nil chan)"}) {
        process->goroutines->all[holder].wait_reason = reason;
        const auto findings = detect_mutexes(*process).findings;
        ASSERT_EQ(findings.size(), 1u) << reason;
        const report::Finding& told = findings[0];
        EXPECT_EQ(told.kind, "go.mutex.orphaned");
        EXPECT_EQ(told.severity, report::Severity::warning);
        EXPECT_EQ(told.strength, report::Strength::likely);
        EXPECT_EQ(told.subject.address, lock().state.address);
        const std::string who = "goroutine " + std::to_string(process->goroutines->all[holder].goid);
        EXPECT_THAT(told.title, HasSubstr(who + " holds a lock and waits for ever"));
        EXPECT_THAT(told.where, HasSubstr("held by " + who + " in main."));
        EXPECT_THAT(told.why, HasSubstr(std::string(reason)));
        EXPECT_THAT(told.remedy, HasSubstr("a way out of its wait"));
        EXPECT_EQ(told.snapshots.size(), 2u);  // the holder's frame, and a waiter's
        EXPECT_EQ(told.goroutines.size(), lock().waiters.size());
    }
}

TEST_P(StuckHolder, IsARemarkWhereSomebodyElseMayUnlock) {
    process->goroutines->all[holder].wait_reason = "select (no cases)";
    lock().possible.push_back({"goroutine 7 may", std::nullopt, false});
    const auto findings = detect_mutexes(*process).findings;
    ASSERT_EQ(findings.size(), 1u);
    EXPECT_EQ(findings[0].severity, report::Severity::info);
    EXPECT_EQ(findings[0].strength, report::Strength::possible);
    EXPECT_THAT(findings[0].innocent, testing::Contains("goroutine 7 may"));
}

TEST_P(StuckHolder, IsNoHolderOfAnotherWhoMayGoOn) {
    process->goroutines->all[holder].wait_reason = "select (no cases)";
    LockHolderRow other = *std::ranges::find(lock().holders, holder, &LockHolderRow::goroutine);
    other.goroutine = static_cast<std::uint32_t>(holder == 0 ? 1 : 0);
    lock().holders.push_back(other);
    EXPECT_THAT(detect_mutexes(*process).findings, IsEmpty());
}

/// Remarks about locks of one cause are one finding; another cause is another story.
TEST_P(StuckHolder, IsNotFoldedWithLocksWithoutAHolder) {
    process->goroutines->all[holder].wait_reason = "select (no cases)";
    GoLock& first = lock();
    first.possible.push_back({"goroutine 7 may", std::nullopt, false});
    GoLock same = first, orphan = first;
    same.state.address = first.state.address + 64;
    orphan.state.address = first.state.address + 128;
    orphan.holders.clear();
    process->locks->locks = {first, same, orphan};
    const auto findings = detect_mutexes(*process).findings;
    ASSERT_EQ(findings.size(), 2u);
    EXPECT_EQ(findings[0].count, 2u);
    EXPECT_THAT(findings[0].title, HasSubstr("and 1 more alike"));
    EXPECT_EQ(findings[1].count, 1u);
    EXPECT_EQ(findings[1].subject.address, orphan.state.address);
}

TEST_P(StuckHolder, AccusationsAreToldOneByOneUntilThereAreMany) {
    process->goroutines->all[holder].wait_reason = "select (no cases)";
    const GoLock first = lock();
    process->locks->locks.clear();
    for (std::uint64_t i = 0; i < 12; ++i) {
        process->locks->locks.push_back(first);
        process->locks->locks.back().state.address = first.state.address + i * 64;
    }
    const auto findings = detect_mutexes(*process).findings;
    ASSERT_EQ(findings.size(), 8u);
    EXPECT_EQ(findings[0].count, 1u);
    EXPECT_EQ(findings[7].count, 5u);
    EXPECT_THAT(findings[7].title, HasSubstr("and 4 more alike"));
}

TEST_P(StuckHolder, WhoWaitsForItselfSurelyHoldsIt) {
    LockHolderRow& self = *std::ranges::find(lock().holders, holder, &LockHolderRow::goroutine);
    self.waits_for_it = true;
    self.basis = HoldBasis::frame;
    // On some ways only, and they come after its wait: whoever holds it, nobody is left to unlock it.
    self.surely = false;
    const auto orphaned = detect_mutexes(*process).findings;
    ASSERT_EQ(orphaned.size(), 1u);
    EXPECT_EQ(orphaned[0].kind, "go.mutex.orphaned");
    self.surely = true;
    const auto findings = detect_mutexes(*process).findings;
    ASSERT_EQ(findings.size(), 1u);
    EXPECT_EQ(findings[0].kind, "go.mutex.self-deadlock");
}

TEST_P(StuckHolder, WhereNotAllWasSearchedNobodyIsAccused) {
    lock().holders.clear();
    process->locks->not_searched.clear();
    EXPECT_EQ(detect_mutexes(*process).findings.at(0).severity, report::Severity::error);
    process->locks->not_searched.push_back("the timers");
    const auto findings = detect_mutexes(*process).findings;
    ASSERT_EQ(findings.size(), 1u);
    EXPECT_EQ(findings[0].severity, report::Severity::info);
    EXPECT_THAT(findings[0].innocent, testing::Contains("not searched: the timers"));
}

/// The same of a reader: a writer waits for it.
TEST(StuckReader, IsToldWhenEveryReaderWaitsForEver) {
    INCIDENT_NEED_PROBE(probe, "locks-go1.22", "stripped", "rw_slow_reader");
    auto process = open(*probe, {.goroutines = true, .stacks = true, .crash = true, .locks = true});
    ASSERT_TRUE(process);
    EXPECT_THAT(detect_rwmutexes(*process).findings, IsEmpty());
    auto& locks = process->locks->locks;
    const auto lock = std::ranges::find_if(locks, [](const GoLock& l) { return l.state.reader_wait > 0; });
    ASSERT_TRUE(lock != locks.end() && !lock->holders.empty());
    for (const LockHolderRow& holder : lock->holders) {
        EXPECT_THAT(detect_rwmutexes(*process).findings, IsEmpty());
        process->goroutines->all[holder.goroutine].wait_reason = "select (no cases)";
    }
    const auto findings = detect_rwmutexes(*process).findings;
    ASSERT_EQ(findings.size(), 1u);
    EXPECT_EQ(findings[0].kind, "go.rwmutex.reader-leaked");
    EXPECT_EQ(findings[0].severity, report::Severity::warning);
    EXPECT_THAT(findings[0].title, HasSubstr("holds a read lock and waits for ever"));
    EXPECT_THAT(findings[0].why, HasSubstr("will never come to its RUnlock"));
}

/// Circles through one lock, and who waits behind it, are one story, however many they are.
TEST(StuckGroup, WhoOwesTheDoneItWaitsForIsTold) {
    const auto probe = test::probe("standard-go1.22", "stripped", "group_self");
    if (!probe) GTEST_SKIP() << test::corpus_problem();
    auto process = open(*probe, {.goroutines = true, .stacks = true, .crash = true, .locks = true});
    ASSERT_TRUE(process);
    auto& group = *std::ranges::find(process->locks->locks, go::WaitObject::wait_group,
                                     [](const GoLock& lock) { return lock.state.type; });
    ASSERT_EQ(group.holders.size(), 1u);
    const auto findings = detect_waitgroups(*process).findings;
    ASSERT_EQ(findings.size(), 1u);
    EXPECT_EQ(findings[0].strength, report::Strength::likely);
    EXPECT_THAT(findings[0].title, HasSubstr("whose Done it owes itself"));
    // Somebody has made the last Done: the waiter is on its way.
    group.state.counter = 0;
    EXPECT_THAT(detect_waitgroups(*process).findings, IsEmpty());
    group.state.counter = 1;
    // On some ways only: it comes to none of them. Another's.
    group.holders[0].surely = false;
    ASSERT_EQ(detect_waitgroups(*process).findings.size(), 1u);
    EXPECT_THAT(detect_waitgroups(*process).findings[0].title, HasSubstr("that nobody alive will make"));
    group.holders[0].surely = true;
    group.holders[0].waits_for_it = false;
    EXPECT_THAT(detect_waitgroups(*process).findings, IsEmpty());
    // Nobody's.
    group.holders.clear();
    ASSERT_EQ(detect_waitgroups(*process).findings.size(), 1u);
    EXPECT_THAT(detect_waitgroups(*process).findings[0].title, HasSubstr("that nobody alive will make"));
}

TEST(LockCycle, WhoWaitsForTheSameIsPartOfTheStory) {
    INCIDENT_NEED_PROBE(probe, "locks-go1.22", "dwarf", "cycle2");
    auto process = open(*probe, {.goroutines = true, .stacks = true, .crash = true, .locks = true});
    ASSERT_TRUE(process);
    LockPicture& picture = *process->locks;
    ASSERT_EQ(picture.cycles.size(), 1u);
    const auto alone = detect_lock_cycles(*process).findings;
    ASSERT_EQ(alone.size(), 1u);
    ASSERT_EQ(alone[0].goroutines.size(), 2u);
    const BlockEdge edge = picture.edges[picture.cycles[0][0]];
    auto& all = process->goroutines->all;
    const auto first = static_cast<std::uint32_t>(all.size());
    constexpr std::uint32_t count = 100;
    for (std::uint32_t i = 0; i < count; ++i) {
        all.push_back(all[edge.from]);
        all.back().goid = 1'000'000 + i;
        BlockEdge behind = edge;
        behind.from = first + i;
        picture.edges.push_back(behind);
    }
    go::GoStacks stacks(all.size());
    for (std::uint32_t i = 0; i < all.size(); ++i)
        stacks.set(i, all[i].stack, process->stacks.load(i < first ? i : edge.from));
    process->stacks = std::move(stacks);
    BlockEdge back = edge;  // a second circle through the same lock
    back.from = edge.to;
    back.to = first;
    back.object = edge.object + 4096;
    picture.edges.push_back(back);
    picture.cycles.push_back({picture.edges.size() - 1 - count, picture.edges.size() - 1});
    const auto findings = detect_lock_cycles(*process).findings;
    ASSERT_EQ(findings.size(), 1u);
    EXPECT_EQ(findings[0].title, alone[0].title);
    EXPECT_EQ(findings[0].goroutines.size(), 2u + count);
    EXPECT_EQ(findings[0].evidence.size(), alone[0].evidence.size() + 5);
    EXPECT_EQ(findings[0].evidence.back().what, "96 more wait for the same");
}

// ---- go.goroutine.leaked: who waits for whom

class Leaked : public testing::Test {
protected:
    void SetUp() override {
        const auto probe = test::probe("heap-go1.22", "stripped", "leak_recv");
        if (!probe) GTEST_SKIP() << test::corpus_problem();
        process = open(*probe,
                       {.goroutines = true, .stacks = true, .spans = true, .locks = true, .heap = true, .leaks = true});
        ASSERT_TRUE(process && process->leaks && process->locks);
        leaked = process->leaks->left.front();
        process->leaks->left.clear();
        process->locks->locks.clear();
    }
    std::int64_t goid(std::size_t goroutine) const { return process->goroutines->all[goroutine].goid; }
    /// They have stacks like the one that leaked.
    std::uint32_t add_goroutines(std::size_t count) {
        auto& all = process->goroutines->all;
        const auto first = static_cast<std::uint32_t>(all.size());
        for (std::size_t i = 0; i < count; ++i) {
            all.push_back(all[leaked.goroutine]);
            all.back().goid = 1'000'000 + static_cast<std::int64_t>(i);
        }
        go::GoStacks stacks(all.size());
        for (std::size_t i = 0; i < all.size(); ++i)
            stacks.set(i, all[i].stack, process->stacks.load(std::min<std::size_t>(i, leaked.goroutine)));
        process->stacks = std::move(stacks);
        return first;
    }
    void blocks(std::uint32_t goroutine, go::WaitObject object, Address at) {
        BlockedForever b = leaked;
        b.goroutine = goroutine;
        if (object != go::WaitObject::channel) b.first = at;
        b.object = object;
        process->leaks->left.push_back(b);
    }
    void holds(Address at, go::WaitObject object, std::vector<std::uint32_t> holders, bool surely = true,
               HoldBasis basis = HoldBasis::frame) {
        GoLock lock;
        lock.state.type = object;
        lock.state.address = at;
        for (std::uint32_t goroutine : holders)
            lock.holders.push_back({.goroutine = goroutine, .basis = basis, .surely = surely});
        process->locks->locks.push_back(lock);
        std::ranges::sort(process->locks->locks, {}, [](const GoLock& l) { return l.state.address; });
    }
    static constexpr Address one{0xc000100000}, two{0xc000200000};
    static constexpr auto mutex = go::WaitObject::mutex, group = go::WaitObject::wait_group,
                          channel = go::WaitObject::channel;
    std::shared_ptr<Process> process;
    BlockedForever leaked;
};

TEST_F(Leaked, WaitersForALeakedWorkerArePartOfItsStory) {
    const std::uint32_t worker = add_goroutines(3), waiter = worker + 1, last = worker + 2;
    blocks(last, mutex, two);  // for the lock of the one who waits for the worker
    blocks(waiter, group, one);
    blocks(worker, channel, {});
    holds(one, group, {worker});
    holds(two, mutex, {waiter}, false, HoldBasis::pending_defer);
    const auto findings = detect_leaked_goroutines(*process).findings;
    ASSERT_EQ(findings.size(), 1u);
    EXPECT_THAT(findings[0].goroutines, ElementsAre(goid(worker), goid(waiter), goid(last)));
    EXPECT_EQ(findings[0].count, 1u);
    EXPECT_THAT(findings[0].title,
                HasSubstr("Goroutine " + std::to_string(goid(worker)) + " is blocked forever on a channel"));
    const std::string text = testing::PrintToString(words(findings[0]));
    EXPECT_THAT(text, HasSubstr("goroutine 1000001 waits for goroutine 1000000 to call Done, in main."));
    EXPECT_THAT(text, HasSubstr("goroutine 1000002 waits for goroutine 1000001 to release a lock, in main."));
}

TEST_F(Leaked, MainMayWaitForTheEndButNotSend) {
    const std::uint32_t main = add_goroutines(1);
    blocks(main, channel, {});
    process->goroutines->all[leaked.goroutine].goid = 2'000'000;
    auto& goroutine = process->goroutines->all[main];
    const auto severity = [&](std::int64_t id, std::string_view reason) {
        goroutine.goid = id;
        goroutine.wait_reason = reason;
        return detect_leaked_goroutines(*process).findings.at(0).severity;
    };
    EXPECT_EQ(severity(1, "chan receive"), report::Severity::info);
    EXPECT_EQ(severity(1, "select"), report::Severity::info);
    EXPECT_EQ(severity(1, "chan send"), report::Severity::warning);
    EXPECT_EQ(severity(7, "chan receive"), report::Severity::warning);
    process->leaks->left.front().object = go::WaitObject::cond;
    EXPECT_EQ(severity(1, "sync.Cond.Wait"), report::Severity::warning);
    // The runtime has said it already.
    process->crash.emplace();
    process->crash->kind = report::CrashKind::go_fatal;
    process->crash->message = "all goroutines are asleep - deadlock!";
    EXPECT_THAT(detect_leaked_goroutines(*process).findings, IsEmpty());
}

TEST_F(Leaked, WhoMayHoldItOrHoldsItHimselfExplainsNothing) {
    const std::uint32_t worker = add_goroutines(2), waiter = worker + 1;
    blocks(worker, channel, {});
    blocks(waiter, mutex, one);
    process->goroutines->all[waiter].wait_reason = "sync.Mutex.Lock";
    holds(one, mutex, {worker}, false);  // some path only
    EXPECT_EQ(detect_leaked_goroutines(*process).findings.size(), 2u);
    process->locks->locks.clear();
    holds(one, mutex, {waiter});
    EXPECT_EQ(detect_leaked_goroutines(*process).findings.size(), 2u);
    process->locks->locks[0].holders.push_back({.goroutine = worker, .surely = true});
    EXPECT_EQ(detect_leaked_goroutines(*process).findings.size(), 1u);
}

TEST_F(Leaked, ACircleAndWhoWaitsBehindItAreOneStory) {
    const std::uint32_t a = add_goroutines(3), b = a + 1, outside = a + 2;
    for (auto order : {std::array{a, b, outside}, std::array{outside, b, a}}) {
        process->leaks->left.clear();
        process->locks->locks.clear();
        for (std::uint32_t g : order) blocks(g, mutex, g == b ? two : one);
        holds(one, mutex, {b});
        holds(two, mutex, {a});
        const auto findings = detect_leaked_goroutines(*process).findings;
        ASSERT_EQ(findings.size(), 1u);
        EXPECT_EQ(findings[0].count, 1u);
        EXPECT_THAT(findings[0].goroutines, testing::UnorderedElementsAre(goid(a), goid(b), goid(outside)));
        const std::string text = testing::PrintToString(words(findings[0]));
        for (std::uint32_t g : {a, b, outside})
            EXPECT_THAT(text, HasSubstr(fmt::format("goroutine {} waits for goroutine {} to release a lock", goid(g),
                                                    goid(g == b ? a : b))));
    }
}

/// 10^5 who wait for the last of 10^5 holders are as many steps, and a few lines.
TEST_F(Leaked, ManyBehindManyAreFewLines) {
    constexpr std::uint32_t count = 100'000;
    const std::uint32_t first = add_goroutines(2 * count);
    std::vector<std::uint32_t> holders;
    for (std::uint32_t i = 0; i < count; ++i) {
        blocks(first + count + i, group, one);
        holders.push_back(first + i);
    }
    blocks(holders.back(), channel, {});
    holds(one, group, holders);
    const auto findings = detect_leaked_goroutines(*process).findings;
    ASSERT_EQ(findings.size(), 1u);
    EXPECT_EQ(findings[0].goroutines.size(), count + 1);
    EXPECT_LT(findings[0].evidence.size(), 16u);
    EXPECT_THAT(words(findings[0]), testing::Contains("99992 more goroutines wait behind them"));
}

TEST_F(Leaked, ManyInOnePlaceAreFewLines) {
    const std::uint32_t first = add_goroutines(20);
    for (std::uint32_t i = 0; i < 20; ++i) blocks(first + i, channel, {});
    const auto findings = detect_leaked_goroutines(*process).findings;
    ASSERT_EQ(findings.size(), 1u);
    EXPECT_EQ(findings[0].count, 20u);
    EXPECT_EQ(findings[0].goroutines.size(), 20u);
    EXPECT_LT(findings[0].evidence.size(), 16u);
    EXPECT_THAT(words(findings[0]), testing::Contains("12 more goroutines wait alike"));
}

/// The doubt: what is not known to be out of reach is a remark; that nobody wakes who waits for nil is no question.
TEST_F(Leaked, GapsOfTheHeapMakeItARemark) {
    const std::uint32_t worker = add_goroutines(1);
    blocks(worker, channel, {});
    const auto sure = detect_leaked_goroutines(*process).findings;
    ASSERT_EQ(sure.size(), 1u);
    EXPECT_EQ(sure[0].severity, report::Severity::warning);
    EXPECT_EQ(sure[0].strength, report::Strength::likely);
    auto& gaps = const_cast<std::vector<report::Gap>&>(process->heap->gaps());  // as a core that was cut short has
    gaps.push_back({"the roots on 1 stack", "could not be walked to its end", ""});
    const auto doubtful = detect_leaked_goroutines(*process).findings;
    ASSERT_EQ(doubtful.size(), 1u);
    EXPECT_EQ(doubtful[0].severity, report::Severity::info);
    EXPECT_EQ(doubtful[0].strength, report::Strength::possible);
    EXPECT_THAT(doubtful[0].innocent, testing::Contains(HasSubstr("the roots on 1 stack")));
    process->leaks->left[0].nil = true;
    const auto nil = detect_leaked_goroutines(*process).findings;
    ASSERT_EQ(nil.size(), 1u);
    EXPECT_EQ(nil[0].severity, report::Severity::warning);
}

}  // namespace
}  // namespace incident::detect
