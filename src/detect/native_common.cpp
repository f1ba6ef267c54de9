// What the detectors of C memory share: frames, names, checks by hand.
#include <fmt/format.h>

#include <algorithm>

#include "base/text.h"
#include "detect/native.h"
#include "process/own_frames.h"
#include "process/snapshot.h"

namespace incident::detect {

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

std::optional<std::size_t> first_frame_to_read(const Process& process) {
    const auto own = first_own_frame(process);
    if (!own) return own;
    const auto& frames = process.crash->stack.frames;
    for (std::size_t i = *own; i < frames.size(); ++i)
        if (!is_machinery(frames[i]) && !of_the_cxx_headers(frames[i])) return i;
    return own;
}

void add_crash_snapshot(const Process& process, const Locator& locator, std::size_t index, report::Finding& finding) {
    if (!process.crash || !process.disassembler || index >= process.crash->stack.frames.size()) return;
    Snapshots snapshots(locator, &*process.disassembler);
    auto snapshot = snapshots.frame(process.crash->stack, index);
    snapshot.thread = process.crash->tid;
    finding.snapshots.push_back(std::move(snapshot));
}

}  // namespace incident::detect
