#include "process/own_frames.h"

#include <algorithm>
#include <string_view>

#include "base/system_libraries.h"

namespace incident {

namespace {

/// Functions of static programs, where no module tells them apart.
constexpr std::string_view runtime_functions[] = {"raise",
                                                  "abort",
                                                  "__restore_sigs",          // musl's raise
                                                  "libc_start_main_stage2",  // musl
                                                  "gsignal",
                                                  "malloc_printerr",
                                                  "_int_free",
                                                  "_int_malloc",
                                                  "_int_realloc",
                                                  "_int_memalign",
                                                  "_int_free_merge_chunk",
                                                  "_int_free_chunk",
                                                  "_int_free_create_chunk",
                                                  "unlink_chunk",
                                                  "munmap_chunk",
                                                  "malloc_consolidate",
                                                  "sysmalloc",
                                                  "tcache_thread_shutdown",
                                                  "systrim",
                                                  "free",
                                                  "cfree",
                                                  "malloc",
                                                  "calloc",
                                                  "realloc",
                                                  "memalign",
                                                  "posix_memalign",
                                                  "aligned_alloc",
                                                  "__assert_fail",
                                                  "__assert_fail_base",
                                                  "__stack_chk_fail",
                                                  "__fortify_fail",
                                                  "__chk_fail",
                                                  "std::terminate()",
                                                  "std::unexpected()",
                                                  "__clang_call_terminate",
                                                  "__gxx_personality_v0",
                                                  "_start",
                                                  "start_thread",
                                                  "execute_native_thread_routine",  // libstdc++'s std::thread
                                                  "clone",
                                                  "clone3",
                                                  "__clone",
                                                  "__clone3",
                                                  "exit",
                                                  "_exit"};

constexpr std::string_view runtime_prefixes[] = {
    "__libc_",
    "__GI_",
    "__pthread_",
    "___pthread_",
    "pthread_mutex_",  // not pthread_ alone: that begins programs' own names, too
    "pthread_cond_",
    "pthread_rwlock_",
    "pthread_barrier_",
    "pthread_spin_",
    "pthread_once",
    "pthread_join",
    "pthread_timedjoin",
    "pthread_clockjoin",
    "pthread_kill",
    "pthread_create",
    "pthread_exit",
    "__lll_",
    "lll_lock",
    "__futex_",
    "futex_wait",
    "futex_abstimed_wait",
    "futex_lock_pi",
    "__sem_",
    "__new_sem_",
    "__gthread",
    "__syscall_cancel",
    "__internal_syscall",
    "__clock_",
    "__nptl_",
    "operator new",
    "operator delete",
    "__cxxabiv1::",
    "__cxa_",
    "__gnu_cxx::__verbose_t",
    "_Unwind_",
    "__sanitizer::",
    "__asan",
    "__tsan",
    "__ubsan",
    "__interceptor_"};

}  // namespace

bool of_the_runtime(const report::Frame& frame) {
    if (frame.kind != report::FrameKind::native) return false;
    if (system_library(frame.module) != SystemLibrary::none) return true;
    std::string_view name = frame.function;
    if (std::ranges::any_of(runtime_prefixes, [name](std::string_view start) { return name.starts_with(start); }))
        return true;
    name = name.substr(0, name.find('.'));  // "__pthread_kill_implementation.constprop.0"
    return std::ranges::find(runtime_functions, name) != std::end(runtime_functions);
}

bool is_machinery(const report::Frame& frame) {
    if (frame.kind == report::FrameKind::go)
        return frame.runtime_internal || frame.function == "panic" || frame.function.starts_with("runtime.");
    return frame.kind == report::FrameKind::signal || frame.runtime_internal || of_the_runtime(frame);
}

bool of_the_cxx_headers(const report::Frame& frame) {
    if (frame.kind != report::FrameKind::native || !in_cxx_headers(frame.function, frame.file)) return false;
    // A line of a header's in a function of the program's own: the compiler inlined the rest of it away.
    const std::string_view name = frame.function;
    // What a thread runs, when it was inlined here: its name says whose it is.
    if (!frame.inlined && name.starts_with("std::thread::_State_impl<") && name.ends_with("::_M_run()")) return false;
    return frame.inlined || name.empty() || name.contains("std::") || name.contains("__gnu_cxx::") ||
           name.starts_with('_') || name.starts_with("operator");
}

}  // namespace incident
