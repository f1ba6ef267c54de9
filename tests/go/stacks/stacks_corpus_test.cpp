// Every goroutine of every probe core against what the program itself wrote: runtime.Stack of all goroutines (ids,
// states, frames with inlined ones, files, lines, creators), what it waits for, its pending defers.
#include <gtest/gtest.h>

#include <iostream>

#include "go/stacks/compare.h"
#include "go/stacks/corpus_cores.h"
#include "go/stacks/defers.h"
#include "go/stacks/panics.h"
#include "go/sync/waits.h"

namespace incident::go::testing {
namespace {

/// By bundle: one for each Go minor version.
class StacksCorpus : public ::testing::TestWithParam<std::string> {};

INSTANTIATE_TEST_SUITE_P(Go, StacksCorpus,
                         ::testing::Values("go1.16", "go1.17", "go1.18", "go1.19", "go1.20", "go1.21", "go1.22",
                                           "go1.23", "go1.24", "go1.25", "go1.26", "go1.27"),
                         [](const auto& one) { return "1_" + one.param.substr(4); });

std::unique_ptr<OpenedCore> open(const ProbeCore& probe) {
    auto opened = OpenedCore::open(probe.core, probe.executable);
    if (!opened) {
        ADD_FAILURE() << probe.name << ": " << describe(opened.error());
        return nullptr;
    }
    return std::move(*opened);
}

TEST_P(StacksCorpus, EqualTheProgramsOwnText) {
    const auto cores = probe_cores(GetParam(), "");
    if (cores.empty()) GTEST_SKIP() << test::corpus_problem();
    std::size_t goroutines = 0, frames = 0;
    for (const auto& probe : cores) {
        auto opened = open(probe);
        if (!opened) continue;
        auto result = compare_stacks(*opened, read_truth(probe.truth));
        goroutines += result.goroutines;
        frames += result.frames;
        for (const auto& difference : result.differences) ADD_FAILURE() << probe.name << ": " << difference;
    }
    std::cout << cores.size() << " cores, " << goroutines << " goroutines, " << frames << " frames compared\n";
}

TEST_P(StacksCorpus, CUnderGoShowsBothAndTheSameGoFrames) {
    const auto cores = probe_cores(GetParam(), "cgo.");
    if (cores.empty()) GTEST_SKIP() << test::corpus_problem();
    for (const auto& probe : cores) {
        auto opened = open(probe);
        if (!opened) continue;
        std::vector<UnwindStep> native{cfi_step(opened->memory, opened->images), frame_pointer_step(opened->memory)};
        auto result = compare_stacks(*opened, read_truth(probe.truth), native);
        for (const auto& difference : result.differences) ADD_FAILURE() << probe.name << ": " << difference;
        if (probe.name.find("csegv") == std::string::npos) continue;

        StackWalker walker(opened->core, opened->memory, opened->runtime, opened->goroutines);
        bool found = false;
        for (const auto& g : opened->goroutines.all) {
            std::string names;
            for (const auto& frame : walker.walk(g, native, &opened->images).frames) {
                if (!frame.runtime_internal && !frame.function.starts_with("_cgo_"))
                    names += std::string(frame.function) + " ";
            }
            found |= names ==
                     "c_store c_inner main._Cfunc_c_inner main.goInner main.goMiddle goMiddle c_outer "
                     "main._Cfunc_c_outer main.goOuter "
                     "main.modeSegv.func1 ";
        }
        EXPECT_TRUE(found) << probe.name << ": no stack of C under Go under C under Go";
    }
}

TEST_P(StacksCorpus, PendingDefersAreAllFound) {
    const auto cores = probe_cores(GetParam(), "waits");
    if (cores.empty()) GTEST_SKIP() << test::corpus_problem();
    for (const auto& probe : cores) {
        auto opened = open(probe);
        if (!opened) continue;
        StackWalker walker(opened->core, opened->memory, opened->runtime, opened->goroutines);
        CalleeResolver callees(opened->memory, opened->runtime, *opened->goroutines.code, &opened->disassembler);
        for (const auto& note : read_truth(probe.truth).notes) {
            const Goroutine* g = opened->goroutines.find(note.id);
            if (g == nullptr || !note.pending) continue;
            auto defers = read_defers(opened->memory, opened->runtime, *g, walker.walk(*g), callees);
            EXPECT_TRUE(defers.complete) << probe.name << " " << note.name << ": " << defers.why;
            int pending = 0;
            std::string names;
            for (const auto& pending_defer : defers.pending) {
                EXPECT_FALSE(pending_defer.function.empty()) << probe.name << " " << note.name;
                EXPECT_TRUE(pending_defer.physical) << probe.name << " " << note.name << ": a defer without a frame";
                if (!pending_defer.running) ++pending;
                names += std::string(pending_defer.function) + " ";
            }
            EXPECT_EQ(pending, *note.pending)
                << probe.name << " goroutine " << note.id << " " << note.name << ": " << names;
            if (note.name == "defer.open") {
                EXPECT_TRUE(names.ends_with("main.deferOpen.func1 sync.(*Mutex).Unlock "))
                    << probe.name << ": " << names;
            }
            if (note.name == "defer.methods") {
                // add(6) is a method value, Close is called through an interface.
                EXPECT_TRUE(names.ends_with("main.(*counter).add main.(*counter).Close main.(*counter).add "))
                    << probe.name << ": " << names;
            }
        }
    }
}

TEST_P(StacksCorpus, WaitingGoroutinesNameTheirObject) {
    const auto cores = probe_cores(GetParam(), "waits");
    if (cores.empty()) GTEST_SKIP() << test::corpus_problem();
    for (const auto& probe : cores) {
        auto opened = open(probe);
        if (!opened) continue;
        StackWalker walker(opened->core, opened->memory, opened->runtime, opened->goroutines);
        Waits waits = Waits::read(opened->memory, opened->runtime, opened->goroutines);
        EXPECT_TRUE(waits.complete()) << probe.name;
        std::size_t compared = 0;
        for (const auto& note : read_truth(probe.truth).notes) {
            const Goroutine* g = opened->goroutines.find(note.id);
            const bool by_object = note.name.starts_with("chan.") || note.name.starts_with("select.") ||
                                   note.name.find(".waiter") != std::string::npos || note.name == "waitgroup.wait" ||
                                   note.name == "cond.wait" || note.name == "timer" || note.name == "ticker" ||
                                   note.name == "inlined" || note.name == "reflect.call";
            if (g == nullptr || !by_object || note.name == "select.empty") continue;
            std::string got;
            for (const auto& object : waits.of(opened->memory, opened->runtime, *g, walker.walk(*g))) {
                got += (got.empty() ? "" : ",") + fmt::format("{:#x}", object.address.value);
            }
            auto sorted = [](std::string list) {
                std::vector<std::string> parts;
                for (std::size_t at = 0; at <= list.size();) {
                    auto comma = std::min(list.find(',', at), list.size());
                    parts.push_back(list.substr(at, comma - at));
                    at = comma + 1;
                }
                std::sort(parts.begin(), parts.end());
                return parts;
            };
            EXPECT_EQ(sorted(got), sorted(note.object)) << probe.name << " goroutine " << note.id << " " << note.name;
            ++compared;
        }
        EXPECT_GT(compared, 20u) << probe.name;
    }
}

TEST_P(StacksCorpus, LabelsAreRead) {
    const auto cores = probe_cores(GetParam(), "waits");
    if (cores.empty()) GTEST_SKIP() << test::corpus_problem();
    const std::vector<std::pair<std::string, std::string>> expected{{"shard", "7"}, {"tenant", "blue"}};
    for (const auto& probe : cores) {
        auto opened = open(probe);
        if (!opened) continue;
        std::size_t labelled = 0;
        for (const auto& g : opened->goroutines.all) {
            auto labels = read_labels(opened->memory, opened->runtime, g);
            if (labels.empty()) continue;
            ++labelled;
            EXPECT_EQ(labels, expected) << probe.name;
        }
        EXPECT_EQ(labelled, 1u) << probe.name;
    }
}

TEST_P(StacksCorpus, ThreadsInASignalHandlerShowWhatItInterrupted) {
    const auto cores = probe_cores(GetParam(), "dwarf.");
    if (cores.empty()) GTEST_SKIP() << test::corpus_problem();
    std::size_t interrupted = 0;
    for (const auto& probe : cores) {
        auto opened = open(probe);
        if (!opened) continue;
        StackWalker walker(opened->core, opened->memory, opened->runtime, opened->goroutines);
        for (const auto& thread : opened->core.threads()) {
            const Machine_m* machine = opened->goroutines.machine_of_thread(thread.tid);
            auto stack = walker.walk_thread(thread);
            EXPECT_TRUE(stack.complete) << probe.name << " thread " << thread.tid << ": " << stack.end;
            if (machine == nullptr || !machine->gsignal_stack.contains(*thread.registers.sp())) continue;
            auto context = interrupted_context(opened->core, opened->memory, opened->runtime, *machine, thread);
            ASSERT_TRUE(context) << probe.name << " thread " << thread.tid;
            ++interrupted;
            EXPECT_TRUE(context->signal == 3 || context->signal == 6) << probe.name << ": signal " << context->signal;
            bool shown = false;
            for (const auto& frame : stack.physical)
                shown |=
                    frame.pc == *context->registers.pc() && frame.sp == *context->registers.sp() && !frame.after_call;
            EXPECT_TRUE(shown) << probe.name << " thread " << thread.tid;
        }
    }
    EXPECT_GT(interrupted, 5u);
}

TEST_P(StacksCorpus, PanicsPrintAsTheRuntimeDid) {
    const auto cores = probe_cores(GetParam(), "panicnested");
    if (cores.empty()) GTEST_SKIP() << test::corpus_problem();
    for (const auto& probe : cores) {
        auto opened = open(probe);
        if (!opened) continue;
        auto truth = read_truth(probe.truth);
        auto begin = truth.died_with.find("panic: ");
        ASSERT_NE(begin, std::string::npos) << probe.name;
        auto text = truth.died_with.substr(begin, truth.died_with.find("\n\n", begin) + 1 - begin);
        bool found = false;
        std::string seen;
        for (const auto& g : opened->goroutines.all) {
            if (g.panics.is_null()) continue;
            auto panics = read_panics(opened->memory, opened->runtime, g);
            EXPECT_TRUE(panics.complete);
            seen += panic_text(panics);
            found |= panic_text(panics) == text;
        }
        EXPECT_TRUE(found) << probe.name << ": expected\n" << text << "got\n" << seen;
    }
}

}  // namespace
}  // namespace incident::go::testing
