#include "process/crash_frames.h"

#include <gtest/gtest.h>

#include <deque>
#include <initializer_list>

namespace incident {
namespace {

/// A thread's stack, innermost first, of functions with these names.
struct NamedStack {
    NamedStack(std::initializer_list<std::string_view> names) {
        for (auto name : names) {
            auto& code = codes.emplace_back();
            code.func.emplace().name = name;
            stack.physical.emplace_back().code = &code;
        }
    }
    std::string death() const { return name_of(find_fatal_frames(stack).death); }
    std::string while_printing() const { return name_of(find_fatal_frames(stack).while_printing); }

    static std::string name_of(const go::PhysicalFrame* frame) {
        return frame == nullptr ? "" : std::string(frame->name());
    }
    std::deque<go::CodePoint> codes;
    go::GoStack stack;
};

TEST(FatalFrames, AThrowIsTheDeath) {
    NamedStack stack{"runtime.raise", "runtime.fatalthrow", "runtime.throw", "runtime.mapassign", "main.main"};
    EXPECT_EQ(stack.death(), "runtime.throw");
    EXPECT_EQ(stack.while_printing(), "");
}

TEST(FatalFrames, AThrowInTheTracesOfASignalIsNot) {
    for (const char* prints : {"runtime.tracebacktrap", "runtime.tracebackothers", "runtime.traceback",
                               "runtime.goroutineheader", "runtime.dumpregs"}) {
        NamedStack stack{"runtime.raise",
                         "runtime.throw",
                         "runtime.traceback1",
                         prints,
                         "runtime.sighandler",
                         "runtime.sigtramp",
                         "",
                         "main.main"};
        EXPECT_EQ(stack.death(), "") << prints;
        EXPECT_EQ(stack.while_printing(), "runtime.throw") << prints;
    }
}

TEST(FatalFrames, AThrowOfTheHandlerItselfIsTheDeath) {
    // A profiling or preempting signal ends nobody.
    for (const char* handles : {"runtime.sigprof", "runtime.doSigPreempt", "runtime.sigsend"}) {
        NamedStack stack{"runtime.throw", handles, "runtime.sighandler", "runtime.sigtramp", "", "main.main"};
        EXPECT_EQ(stack.death(), "runtime.throw") << handles;
    }
    NamedStack asked{"runtime.throw", "runtime.traceback1", "runtime.traceback", "runtime.Stack", "main.main"};
    EXPECT_EQ(asked.death(), "runtime.throw") << "who asks for a trace is not dying yet";
}

TEST(FatalFrames, TheFirstOfSeveral) {
    NamedStack panic{"runtime.throw", "runtime.tracebackothers", "runtime.fatalpanic", "runtime.gopanic", "main.main"};
    EXPECT_EQ(panic.death(), "runtime.fatalpanic");
    EXPECT_EQ(panic.while_printing(), "runtime.throw");
    // The signal that goes round, so that every thread prints its stack, met a thread that was throwing.
    NamedStack round{"runtime.throw",    "runtime.tracebacktrap", "runtime.sighandler", "runtime.sigtramp", "",
                     "runtime.printhex", "runtime.fatal",         "runtime.mapassign",  "main.main"};
    EXPECT_EQ(round.death(), "runtime.fatal");
    EXPECT_EQ(round.while_printing(), "runtime.throw");
}

}  // namespace
}  // namespace incident
