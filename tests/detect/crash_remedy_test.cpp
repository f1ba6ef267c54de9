#include "detect/crash_remedy.h"

#include <gtest/gtest.h>

namespace incident::detect {
namespace {

using report::CrashKind;

CrashContext died(CrashKind kind, const char* message, FaultClass fault = FaultClass::none) {
    CrashContext crash;
    crash.kind = kind;
    crash.message = message;
    crash.fault = fault;
    if (fault != FaultClass::none) crash.signal = SignalInfo{.number = 11, .code = 1};
    return crash;
}

std::string next(const CrashContext& crash, bool go = true) { return crash_remedy(crash, "main.sum sum.go:7", go); }

TEST(CrashRemedy, EveryDeathHasOne) {
    for (auto kind :
         {CrashKind::signal, CrashKind::go_panic, CrashKind::go_fatal, CrashKind::abort, CrashKind::requested})
        for (auto fault :
             {FaultClass::none, FaultClass::nil_dereference, FaultClass::non_canonical, FaultClass::stack_overflow,
              FaultClass::guard_page, FaultClass::unmapped, FaultClass::read_only, FaultClass::not_executable,
              FaultClass::bus_error, FaultClass::other, FaultClass::no_page, FaultClass::bad_memory,
              FaultClass::wild_jump, FaultClass::misaligned, FaultClass::privileged, FaultClass::unexplained})
            for (bool go : {false, true}) {
                EXPECT_FALSE(next(died(kind, "", fault), go).empty());
                EXPECT_FALSE(crash_remedy(died(kind, "", fault), "", go).contains("read :"));
            }
}

TEST(CrashRemedy, KnowsWhatTerminateWasCalledFor) {
    CrashContext crash = died(CrashKind::abort, "uncaught C++ exception ParseError: no '='");
    crash.why = "no catch on this thread's stack takes it";
    EXPECT_TRUE(next(crash, false).contains("who should have caught what is thrown there"));
    crash.message = "a std::thread was destroyed or assigned to while it was joinable";
    EXPECT_TRUE(next(crash, false).contains("joined or detached"));
}

TEST(CrashRemedy, SaysWhereToReadAndWhatToAsk) {
    EXPECT_EQ(next(died(CrashKind::go_panic, "runtime error: invalid memory address or nil pointer dereference",
                        FaultClass::nil_dereference)),
              "read main.sum sum.go:7: which pointer can be nil there, and which caller leaves it so");
    EXPECT_EQ(next(died(CrashKind::go_panic, "runtime error: integer divide by zero")),
              "read main.sum sum.go:7: which divisor can be zero there");
    EXPECT_TRUE(next(died(CrashKind::go_panic, "ledger is closed")).contains("what made it panic"));
}

TEST(CrashRemedy, MainThatLeftDamagedNothing) {
    const auto remedy = next(died(CrashKind::go_fatal, "no goroutines (main called runtime.Goexit) - deadlock!"));
    EXPECT_TRUE(remedy.contains("main has left")) << remedy;
    EXPECT_FALSE(remedy.contains("unsafe code")) << remedy;
}

TEST(CrashRemedy, TellsTheAllocatorsWordFromTheProgramsOwn) {
    EXPECT_TRUE(next(died(CrashKind::abort, "double free or corruption (out)"), false).contains("ASan"));
    EXPECT_TRUE(next(died(CrashKind::abort, "a.c:9: f: Assertion `malloc_ok' failed."), false)
                    .contains("which of its checks failed"));
}

TEST(CrashRemedy, ACoreOnRequestAsksForWhatTheProgramHas) {
    EXPECT_TRUE(next(died(CrashKind::requested, "")).contains("incident goroutines"));
    EXPECT_FALSE(next(died(CrashKind::requested, ""), false).contains("incident goroutines"));
}

}  // namespace
}  // namespace incident::detect
