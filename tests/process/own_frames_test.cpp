#include "process/own_frames.h"

#include <gtest/gtest.h>

namespace incident {
namespace {

report::Frame frame(std::string_view function, std::string_view module = "/opt/app/server") {
    report::Frame out;
    out.kind = report::FrameKind::native;
    out.function = function;
    out.module = module;
    return out;
}

TEST(OwnFrames, ASystemLibrarysAreNot) {
    EXPECT_TRUE(of_the_runtime(frame("", "/lib/libc.so.6")));
    EXPECT_TRUE(of_the_runtime(frame("anything", "/usr/lib/libstdc++.so.6")));
    EXPECT_FALSE(of_the_runtime(frame("", "/opt/app/libledger.so")));
    auto go = frame("runtime.raise", "/lib/libc.so.6");
    go.kind = report::FrameKind::go;
    EXPECT_FALSE(of_the_runtime(go)) << "native frames alone";
    EXPECT_TRUE(is_machinery(go));
}

/// A static program: nothing but the name tells.
TEST(OwnFrames, InAStaticProgramTheNameTells) {
    for (const char* name :
         {"__pthread_kill_implementation.constprop.0", "pthread_mutex_lock", "___pthread_rwlock_wrlock",
          "__lll_lock_wait", "__futex_abstimed_wait_common", "__new_sem_wait_slow64.constprop.0",
          "__libc_start_call_main", "start_thread", "execute_native_thread_routine", "clone3", "_start", "_int_free",
          "free", "__cxa_throw", "_Unwind_Resume", "operator new(unsigned long)", "std::terminate()"})
        EXPECT_TRUE(of_the_runtime(frame(name))) << name;
    for (const char* name :
         {"main", "worker", "free_list_push", "malloc_stats_page", "futexes_in_use", "start_threads", "startle",
          "exit_handler", "lllama", "pthread_pool_run", "lll_queue_push", "std::vector<int>::at"})
        EXPECT_FALSE(of_the_runtime(frame(name))) << name;
}

TEST(OwnFrames, HeadersOfTheCxxLibrary) {
    auto inlined = frame("push");
    inlined.file = "/usr/include/c++/12/bits/stl_vector.h";
    inlined.inlined = true;
    EXPECT_TRUE(of_the_cxx_headers(inlined));
    // The program's own function, at a line of what was inlined into it.
    inlined.inlined = false;
    EXPECT_FALSE(of_the_cxx_headers(inlined));
    auto header = inlined;
    header.function = "void std::destroy_at<shop::Buffer>(shop::Buffer*)";
    EXPECT_TRUE(of_the_cxx_headers(header));
    header.function = "__gthread_mutex_lock";
    EXPECT_TRUE(of_the_cxx_headers(header));
    EXPECT_TRUE(of_the_cxx_headers(frame("std::vector<int>::at")));
    EXPECT_FALSE(of_the_cxx_headers(frame("mystd::vector")));
    // The name of a thread's lambda, when its code was inlined there.
    EXPECT_FALSE(of_the_cxx_headers(
        frame("std::thread::_State_impl<std::thread::_Invoker<std::tuple<work()::{lambda()#1}> > >::_M_run()")));
}

}  // namespace
}  // namespace incident
