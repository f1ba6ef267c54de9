#include "report/actors.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/go_names.h"
#include "base/system_libraries.h"
#include "base/text.h"

namespace incident::report {

namespace {

/// Where C threads wait, never what they do: libc and its kin.
bool is_library_frame(const Frame& frame) {
    if (frame.kind == FrameKind::signal) return true;
    if (frame.kind == FrameKind::go) return is_standard_library(frame.function);
    return system_library(frame.module) != SystemLibrary::none || in_cxx_headers(frame.function, frame.file);
}

}  // namespace

std::string name_of(const Actor& who) {
    if (who.goroutine) return fmt::format("goroutine {}", *who.goroutine);
    return who.thread ? fmt::format("thread {}", *who.thread) : "somebody";
}

const Frame* telling_frame(std::span<const Frame> frames) {
    const Frame *fallback = nullptr, *nameless = nullptr;
    for (const auto& frame : frames) {
        if (frame.runtime_internal) continue;
        if (frame.function.empty()) {
            const bool own = !frame.module.empty() && system_library(frame.module) == SystemLibrary::none;
            if (nameless == nullptr && own) nameless = &frame;
            continue;
        }
        if (!is_library_frame(frame)) return &frame;
        // http.(*persistConn).readLoop, which the goroutine began in, says more than the net.(*netFD).Read in it.
        if (fallback == nullptr || (frame.kind == FrameKind::go && fallback->kind == FrameKind::go)) fallback = &frame;
    }
    // Of a stripped program: module and offset say more than where libc waits.
    if (nameless != nullptr) return nameless;
    if (fallback != nullptr) return fallback;
    return frames.empty() ? nullptr : &frames.front();
}

const Frame* telling_frame(const Report& report, const Actor& who) {
    if (who.goroutine && report.goroutines) {
        auto found = std::ranges::find(*report.goroutines, *who.goroutine, &Goroutine::id);
        if (found != report.goroutines->end()) return telling_frame(found->frames.stored());
    } else if (who.thread && report.threads) {
        auto found = std::ranges::find(*report.threads, *who.thread, &Thread::tid);
        if (found != report.threads->end()) return telling_frame(found->frames);
    }
    return nullptr;
}

std::string place_text(const Frame& frame) {
    if (frame.function.empty() || frame.file.empty()) return std::string(frame.function);
    return fmt::format("{} {}:{}", frame.function, base_name(frame.file), frame.line);
}

}  // namespace incident::report
