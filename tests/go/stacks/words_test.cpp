// The runtime's words and rules that do not need a core.
#include <gtest/gtest.h>

#include "go/stacks/code_table.h"
#include "go/stacks/goroutines.h"
#include "go/stacks/values.h"

namespace incident::go {
namespace {

Version go(int minor) { return {.minor = minor, .patch = 0, .text = {}}; }

TEST(GoWords, WaitReasonNumbersShiftByRelease) {
    EXPECT_EQ(wait_reason_words(go(16), 14), "chan receive");
    EXPECT_EQ(wait_reason_words(go(19), 20), "sync.Cond.Wait");
    EXPECT_EQ(wait_reason_words(go(20), 21), "sync.Mutex.Lock");
    EXPECT_EQ(wait_reason_words(go(24), 24), "sync.WaitGroup.Wait");
    EXPECT_EQ(wait_reason_words(go(25), 19), "semacquire");
    EXPECT_EQ(wait_reason_words(go(26), 15), "chan receive (nil chan)");
    EXPECT_EQ(wait_reason_words(go(27), 19), "chan receive");
}

TEST(GoWords, UnknownWaitReasonsHaveNoWords) {
    EXPECT_EQ(wait_reason_words(go(22), 0), "");
    EXPECT_EQ(wait_reason_words(go(22), 255), "");
    EXPECT_EQ(wait_reason_words(go(15), 14), "");
    EXPECT_EQ(wait_reason_words(go(28), 14), "");
}

TEST(GoWords, AWaitingGoroutineShowsItsReason) {
    Goroutine g;
    g.status = Status::waiting;
    EXPECT_EQ(g.state_words(), "waiting");
    g.wait_reason = "select";
    EXPECT_EQ(g.state_words(), "select");
    g.status = Status::runnable;
    EXPECT_EQ(g.state_words(), "runnable");
    g.status = Status::deadextra;
    EXPECT_EQ(g.state_words(), "waiting for cgo callback");
}

TEST(GoWords, TypeArgumentsAreElidedAsTheRuntimeDoes) {
    EXPECT_EQ(elide_type_arguments("main.main"), "main.main");
    EXPECT_EQ(elide_type_arguments("main.Map[go.shape.int,go.shape.string]"), "main.Map[...]");
    EXPECT_EQ(elide_type_arguments("main.(*box[go.shape.int]).wait"), "main.(*box[...]).wait");
    EXPECT_EQ(elide_type_arguments("main.F[go.shape.map[string]int].func1"), "main.F[...].func1");
    EXPECT_EQ(elide_type_arguments("main.F[go.shape.[]uint8]"), "main.F[...]");
    // A generic method of a generic type keeps what stands between its two lists.
    EXPECT_EQ(elide_type_arguments("main.(*box[go.shape.int]).conv[go.shape.string].func2"),
              "main.(*box[...]).conv[...].func2");
    EXPECT_EQ(elide_type_arguments("main.[broken"), "main.[broken");
    EXPECT_EQ(elide_type_arguments("]["), "][");
}

TEST(GoWords, FramesOfTheRuntimeAreHidden) {
    EXPECT_TRUE(shown_by_runtime("main.main", go(20)));
    EXPECT_TRUE(shown_by_runtime("runtime.Gosched", go(20)));
    EXPECT_FALSE(shown_by_runtime("runtime.gopark", go(20)));
    EXPECT_FALSE(shown_by_runtime("memeqbody", go(20)));
    EXPECT_FALSE(shown_by_runtime("_cgoexp_93eedc5e0224_goMiddle", go(20)));
    // Exported methods count from 1.23 on, the goroutines that run finalizers and cleanups from 1.25 on.
    EXPECT_FALSE(shown_by_runtime("runtime.(*Func).Entry", go(22)));
    EXPECT_TRUE(shown_by_runtime("runtime.(*Func).Entry", go(23)));
    EXPECT_FALSE(shown_by_runtime("runtime.(*mheap).Entry", go(23)));
    EXPECT_FALSE(shown_by_runtime("runtime.runFinalizers", go(24)));
    EXPECT_TRUE(shown_by_runtime("runtime.runFinalizers", go(25)));
}

TEST(GoWords, FloatsPrintAsTheRuntimePrintsThem) {
    EXPECT_EQ(runtime_float(1.5, go(25)), "+1.500000e+000");
    EXPECT_EQ(runtime_float(-0.000123, go(25)), "-1.230000e-004");
    EXPECT_EQ(runtime_float(6.02214076e123, go(25)), "+6.022141e+123");
    // What println of Go 1.26 and 1.27 wrote.
    EXPECT_EQ(runtime_float(1.5, go(26)), "1.5");
    EXPECT_EQ(runtime_float(-0.000123, go(26)), "-0.000123");
    EXPECT_EQ(runtime_float(0.00001234, go(26)), "1.234e-05");
    EXPECT_EQ(runtime_float(6.02214076e123, go(26)), "6.02214076e+123");
    EXPECT_EQ(runtime_float(123456.0, go(26)), "123456");
    EXPECT_EQ(runtime_float(1234567.0, go(26)), "1.234567e+06");
    EXPECT_EQ(runtime_float(1e6, go(26)), "1e+06");
    EXPECT_EQ(runtime_float(1e5, go(26)), "100000");
    EXPECT_EQ(runtime_float(0.0, go(26)), "0");
    EXPECT_EQ(runtime_float(5e-324, go(26)), "5e-324");
    EXPECT_EQ(runtime_float(0.1f, go(26)), "0.1");
    for (int minor : {25, 26}) {
        EXPECT_EQ(runtime_float(0.0 / 0.0, go(minor)), "NaN");
        EXPECT_EQ(runtime_float(-1 / 0.0, go(minor)), "-Inf");
    }
}

}  // namespace
}  // namespace incident::go
