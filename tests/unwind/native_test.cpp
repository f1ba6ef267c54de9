// Whole stacks of real programs, with and without symbols, optimised or not, and the same stacks by gdb where there is
// one.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <sstream>

#include "support/built_program.h"
#include "support/opened_core.h"
#include "unwind/unwinder.h"

namespace incident {
namespace {

using report::Frame;
using testing::Contains;
using testing::HasSubstr;
using testing::IsSupersetOf;

struct Stack {
    Unwound unwound;
    std::vector<Frame> frames;
};

Stack walk(const OpenedCore& opened, const ThreadState& thread, bool guess = true) {
    std::vector<UnwindStep> steps{cfi_step(opened.memory, opened.images)};
    if (guess) {
        steps.push_back(frame_pointer_step(opened.memory));
        steps.push_back(scan_step(opened.memory, opened.images));
    }
    UnwindState start{thread.registers, /*after_call=*/false};
    const Segment* stack = opened.memory.find(*thread.registers.sp());
    Stack out{unwind(start, stack == nullptr ? AddressRange{} : stack->range, steps), {}};
    for (const auto& frame : out.unwound.frames)
        for (auto& named : symbolize_native(frame, opened.images)) out.frames.push_back(named);
    return out;
}

/// "shop::Cart<Order>::add(Order, int)" -> "shop::Cart<Order>::add"; template and lambda parentheses stay.
std::string without_parameters(std::string name) {
    if (!name.ends_with(')') || name.ends_with("()"))
        return name.ends_with("()") && !name.ends_with("operator()") ? name.substr(0, name.size() - 2) : name;
    int depth = 0;
    for (std::size_t i = name.size(); i-- > 0;) {
        if (name[i] == ')') ++depth;
        if (name[i] == '(' && --depth == 0) return name.substr(0, i);
    }
    return name;
}
std::vector<std::string> names(const Stack& stack) {
    std::vector<std::string> out;
    for (const Frame& frame : stack.frames) out.push_back(without_parameters(std::string(frame.function)));
    return out;
}

struct Crasher : testing::TestWithParam<std::vector<std::string>> {
    bool has_flag(std::string_view flag) const { return std::ranges::find(GetParam(), flag) != GetParam().end(); }
};

TEST_P(Crasher, EveryStackIsCompleteByRulesAlone) {
    auto dead = build_and_crash(crasher_source, GetParam());
    if (!dead.problem.empty()) GTEST_SKIP() << dead.problem;
    auto opened = OpenedCore::open(dead.core);
    ASSERT_TRUE(opened.has_value());
    ASSERT_EQ(opened->core.threads().size(), 3u);
    for (const ThreadState& thread : opened->core.threads()) {
        auto stack = walk(*opened, thread, /*guess=*/false);
        EXPECT_TRUE(stack.unwound.complete) << thread.tid << ": " << stack.unwound.end;
        EXPECT_GE(stack.frames.size(), 4u);
        for (std::size_t i = 1; i < stack.unwound.frames.size(); ++i)
            EXPECT_EQ(stack.unwound.frames[i].state.trust, report::Trust::cfi);
    }
    auto crashed = walk(*opened, opened->core.threads()[0]);
    EXPECT_EQ(std::ranges::count(crashed.frames, report::FrameKind::signal, &Frame::kind), 1);
    const bool stripped = has_flag("-s");
    if (stripped) return;
    EXPECT_THAT(names(crashed),
                IsSupersetOf({"main", "handler", "<signal handler called>", "shop::Cart<Order>::add", "_start"}));
    EXPECT_EQ(std::ranges::count(names(crashed), "shop::Cart<Order>::add"), 4);
    // The interrupted frame behind the signal frame is no caller: its pc is the instruction itself.
    const auto& physical = crashed.unwound.frames;
    for (std::size_t i = 1; i < physical.size(); ++i)
        EXPECT_EQ(physical[i].state.after_call, physical[i - 1].state.kind != report::FrameKind::signal) << i;
    if (!has_flag("-g")) return;
    EXPECT_EQ(crashed.frames[0].function, "shop::boom");
    EXPECT_TRUE(crashed.frames[0].inlined);
    EXPECT_EQ(crashed.frames[0].line, 33u);
    EXPECT_THAT(std::string(crashed.frames[0].file), HasSubstr("program.cpp"));
}

TEST_P(Crasher, NamesAndCountsEqualGdbs) {
    if (!have_command("gdb")) GTEST_SKIP() << "no gdb to compare with";
    auto dead = build_and_crash(crasher_source, GetParam());
    if (!dead.problem.empty()) GTEST_SKIP() << dead.problem;
    auto opened = OpenedCore::open(dead.core);
    ASSERT_TRUE(opened.has_value());
    std::string text;
    run_command(
        "gdb -nx -batch -ex 'set print frame-arguments none' -ex 'set width 0' -ex 'set backtrace past-main on' -ex "
        "'set backtrace past-entry on'"
        " -ex 'thread apply all bt' '" +
            dead.executable + "' '" + dead.core + "'",
        &text);
    std::map<int, std::vector<std::string>> theirs;
    int tid = 0;
    std::istringstream lines(text);
    for (std::string line; std::getline(lines, line);) {
        if (const auto lwp = line.find("(LWP "); line.starts_with("Thread ") && lwp != line.npos)
            tid = std::stoi(line.substr(lwp + 5));
        if (tid == 0 || !line.starts_with('#')) continue;
        auto begin = line.find_first_not_of(" 0123456789#");
        if (const auto in = line.find(" in "); line.compare(begin - 1, 2, "0x") == 0 && in != line.npos) begin = in + 4;
        theirs[tid].push_back(without_parameters(line.substr(begin, line.find(" (", begin) - begin)));
    }
    ASSERT_EQ(theirs.size(), 3u) << text;
    for (const ThreadState& thread : opened->core.threads()) {
        auto ours = names(walk(*opened, thread));
        auto& gdbs = theirs[thread.tid];
        // gdb invents the frames of tail calls from call-site data; they are not on the stack.
        std::erase(gdbs, "__pthread_kill_internal");
        std::erase(ours, "__pthread_kill_internal");
        ASSERT_EQ(ours.size(), gdbs.size()) << testing::PrintToString(ours) << "\n" << testing::PrintToString(gdbs);
        for (std::size_t i = 0; i < ours.size(); ++i) {
            if (gdbs[i] == "??" || gdbs[i].starts_with(ours[i]))
                continue;  // __libc_start_main is also __libc_start_main_impl
            // Names of local classes, and default arguments of templates, are spelled differently; the last part is
            // not.
            EXPECT_EQ(ours[i].substr(0, ours[i].find('<')), gdbs[i].substr(0, gdbs[i].find('<'))) << i;
        }
    }
}

INSTANTIATE_TEST_SUITE_P(Builds, Crasher,
                         testing::Values(std::vector<std::string>{"-O0", "-g"}, std::vector<std::string>{"-O2", "-g"},
                                         std::vector<std::string>{"-O2", "-s"},
                                         std::vector<std::string>{"-O2", "-g", "-fomit-frame-pointer", "-static"}));

TEST(NativeStack, HandlerOnItsOwnStack) {
    auto dead = build_and_crash(crasher_source, {"-O1", "-g"}, "alternate");
    if (!dead.problem.empty()) GTEST_SKIP() << dead.problem;
    auto opened = OpenedCore::open(dead.core);
    ASSERT_TRUE(opened.has_value());
    auto stack = walk(*opened, opened->core.threads()[0]);
    EXPECT_TRUE(stack.unwound.complete) << stack.unwound.end;
    EXPECT_THAT(names(stack), IsSupersetOf({"main", "handler", "<signal handler called>"}));
}

constexpr std::string_view bare_source = R"(
#include <csignal>
#include <cstdlib>
__attribute__((noinline)) int innermost(volatile int* p) { return *p + 1; }
__attribute__((noinline)) int middle(volatile int* p, int n) { volatile int keep[10] = {n}; return innermost(p) + keep[0]; }
int main(int argc, char**) {
    if (argc > 1) { auto nowhere = (int (*)(int))(void*)0x10; return nowhere(argc) + 1; }
    return middle(nullptr, argc) + 1;
}
)";

TEST(NativeStack, WithoutRulesFramePointersAndThenTheScan) {
    const std::vector<std::string> no_rules{
        "-O1", "-g", "-fno-asynchronous-unwind-tables", "-fno-unwind-tables", "-fno-exceptions", "-gdwarf-4"};
    for (const bool frame_pointers : {true, false}) {
        auto flags = no_rules;
        flags.push_back(frame_pointers ? "-fno-omit-frame-pointer" : "-fomit-frame-pointer");
        flags.push_back("-fno-dwarf2-cfi-asm");
        auto dead = build_and_crash(bare_source, flags);
        if (!dead.problem.empty()) GTEST_SKIP() << dead.problem;
        // .debug_frame would still have the rules
        if (run_command("strip -g -R .debug_frame '" + dead.executable + "'") != 0) GTEST_SKIP() << "no strip";
        auto opened = OpenedCore::open(dead.core);
        ASSERT_TRUE(opened.has_value());
        auto stack = walk(*opened, opened->core.threads()[0]);
        EXPECT_THAT(names(stack), IsSupersetOf({"innermost", "middle", "main"})) << stack.unwound.end;
        const auto trust = frame_pointers ? report::Trust::frame_pointer : report::Trust::scan;
        EXPECT_TRUE(std::ranges::any_of(stack.frames, [&](const Frame& f) { return f.trust == trust; }));
    }
}

TEST(NativeStack, ACallThroughABadPointer) {
    auto dead = build_and_crash(bare_source, {"-O0", "-g"}, "bad");
    if (!dead.problem.empty()) GTEST_SKIP() << dead.problem;
    auto opened = OpenedCore::open(dead.core);
    ASSERT_TRUE(opened.has_value());
    auto stack = walk(*opened, opened->core.threads()[0]);
    ASSERT_GE(stack.frames.size(), 2u);
    EXPECT_EQ(stack.frames[0].pc.value, 0x10u);
    EXPECT_EQ(stack.frames[1].function, "main");
    EXPECT_EQ(stack.frames[1].trust, report::Trust::scan);
    EXPECT_TRUE(stack.unwound.complete) << stack.unwound.end;
}

TEST(NativeStack, WithoutAnyFileTheStackStillEndsCleanly) {
    auto dead = build_and_crash(crasher_source, {"-O0"});
    if (!dead.problem.empty()) GTEST_SKIP() << dead.problem;
    std::filesystem::remove(dead.executable);
    auto opened = OpenedCore::open(dead.core);
    ASSERT_TRUE(opened.has_value());
    for (const ThreadState& thread : opened->core.threads()) {
        auto stack = walk(*opened, thread);
        EXPECT_FALSE(stack.frames.empty());
        for (const Frame& frame : stack.frames) {
            if (!frame.module.empty()) { EXPECT_GT(frame.module_offset, 0u); }
        }
    }
}

}  // namespace
}  // namespace incident
