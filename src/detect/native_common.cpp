// What the detectors of C memory share: frames, names, checks by hand.
#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "base/text.h"
#include "detect/native.h"
#include "process/snapshot.h"

namespace incident::detect {

namespace {

/// Functions that stand between abort and whose fault it is, in static programs too, where no module tells them apart.
constexpr std::array machinery = {"raise",
                                  "abort",
                                  "gsignal",
                                  "pthread_kill",
                                  "__pthread_kill",
                                  "__GI_raise",
                                  "__GI_abort",
                                  "__libc_message",
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
                                  "aligned_alloc"};

bool is_machinery(const report::Frame& frame) {
    if (frame.kind == report::FrameKind::go) return frame.function.starts_with("runtime.");
    if (frame.kind == report::FrameKind::signal) return true;
    std::string_view module = base_name(frame.module);
    if (module.starts_with("libc.so") || module.starts_with("libc-2.") || module.starts_with("libpthread")) return true;
    std::string_view name = frame.function;
    if (name.starts_with("__libc_") || name.starts_with("__GI_")) return name != "__libc_start_call_main";
    if (name.starts_with("operator delete") || name.starts_with("operator new")) return true;
    name = name.substr(0, name.find('.'));  // "__pthread_kill_implementation.constprop.0"
    return name.starts_with("__pthread_kill") || std::ranges::find(machinery, name) != machinery.end();
}

}  // namespace

const NativeThread* dying_thread(const Process& process) {
    if (process.crash && process.crash->tid)
        if (const NativeThread* thread = process.find_thread(*process.crash->tid)) return thread;
    return process.threads.empty() ? nullptr : &process.threads.front();
}

std::optional<std::size_t> first_own_frame(const Process& process) {
    if (!process.crash) return std::nullopt;
    const auto& frames = process.crash->stack.frames;
    for (std::size_t i = 0; i < frames.size(); ++i)
        if (!is_machinery(frames[i])) return i;
    return std::nullopt;
}

void add_crash_snapshot(const Process& process, const Locator& locator, std::size_t index, report::Finding& finding) {
    if (!process.crash || !process.disassembler || index >= process.crash->stack.frames.size()) return;
    Snapshots snapshots(locator, &*process.disassembler);
    auto snapshot = snapshots.frame(process.crash->stack, index);
    snapshot.thread = process.crash->tid;
    finding.snapshots.push_back(std::move(snapshot));
}

}  // namespace incident::detect
