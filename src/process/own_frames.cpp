#include "process/own_frames.h"

#include <algorithm>
#include <array>
#include <string_view>

#include "base/text.h"

namespace incident {

namespace {

constexpr std::array<std::string_view, 16> runtime_modules = {
    "libc.so",      "libc-2.",    "libpthread",   "libstdc++.so", "libc++.so", "libc++abi.so",
    "libgcc_s.so.", "ld-musl",    "libunwind.so", "ld-linux",     "ld-2.",     "libsupc++",
    "libasan.so",   "libtsan.so", "libubsan.so",  "liblsan.so"};

/// Functions of static programs, where no module tells them apart.
constexpr std::array<std::string_view, 44> runtime_functions = {"raise",
                                                                "abort",
                                                                "gsignal",
                                                                "pthread_kill",
                                                                "__pthread_kill",
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
                                                                "clone",
                                                                "clone3",
                                                                "__clone",
                                                                "__clone3",
                                                                "exit",
                                                                "_exit"};

constexpr std::array<std::string_view, 14> runtime_prefixes = {
    "__libc_",         "__GI_",          "__pthread_kill", "operator new",
    "operator delete", "__cxxabiv1::__", "__cxa_",         "__gnu_cxx::__verbose_t",
    "_Unwind_",        "__sanitizer::",  "__asan",         "__tsan",
    "__ubsan",         "__interceptor_"};

}  // namespace

bool of_the_runtime(const report::Frame& frame) {
    if (frame.kind != report::FrameKind::native) return false;
    auto starts = [](std::string_view text) {
        return [text](std::string_view start) { return text.starts_with(start); };
    };
    std::string_view module = base_name(frame.module);
    if (std::ranges::any_of(runtime_modules, starts(module))) return true;
    std::string_view name = frame.function;
    if (std::ranges::any_of(runtime_prefixes, starts(name))) return true;
    name = name.substr(0, name.find('.'));  // "__pthread_kill_implementation.constprop.0"
    return std::ranges::find(runtime_functions, name) != runtime_functions.end();
}

bool of_the_cxx_headers(const report::Frame& frame) {
    if (frame.kind != report::FrameKind::native) return false;
    return (frame.file.contains("/include/") && frame.file.contains("/c++/")) || frame.function.starts_with("std::") ||
           frame.function.starts_with("__gnu_cxx::");
}

}  // namespace incident
