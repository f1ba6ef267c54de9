#include "process/crash_frames.h"

#include <algorithm>

#include "process/own_frames.h"

namespace incident {

namespace {

bool ends_the_process(std::string_view name) {
    return name == "runtime.throw" || name == "runtime.fatal" || name == "runtime.fatalpanic";
}

/// What sighandler calls once it has decided that the signal is the end (src/runtime/signal_unix.go).
bool prints_the_end(std::string_view name) {
    return name.starts_with("runtime.traceback") || name == "runtime.goroutineheader" || name == "runtime.dumpregs" ||
           name == "runtime.fatalsignal" || name == "runtime.startpanic_m";
}

}  // namespace

// The runtime's traces read what is broken, and may throw in their turn. What it printed them for came first: an outer
// throw or panic, or the signal in whose handler it stands.
FatalFrames find_fatal_frames(const go::GoStack& stack) {
    FatalFrames found;
    for (std::size_t i = 0; i < stack.physical.size(); ++i) {
        auto& frame = stack.physical[i];
        if (ends_the_process(frame.name())) {
            if (found.death != nullptr && found.while_printing == nullptr) found.while_printing = found.death;
            found.death = &frame;
        } else if (found.death != nullptr && frame.name() == "runtime.sighandler" &&
                   prints_the_end(stack.physical[i - 1].name())) {
            if (found.while_printing == nullptr) found.while_printing = found.death;
            found.death = nullptr;
        }
    }
    return found;
}

bool has_frame(const go::GoStack& stack, std::string_view name) {
    return std::ranges::any_of(stack.physical, [&](auto& frame) { return frame.name() == name; });
}

bool throws_for_signal(const go::GoStack& stack, const go::PhysicalFrame& fatal) {
    for (auto* frame = &fatal; frame != stack.physical.data() + stack.physical.size(); ++frame) {
        if (frame->name() == "runtime.gopanic") return false;
        if (frame->name().starts_with("runtime.sigpanic")) return true;
    }
    return true;
}

bool calls_abort(std::span<const report::Frame> frames) {
    return std::ranges::any_of(frames, [](auto& f) {
        return f.kind == report::FrameKind::native && (f.function == "abort" || f.function == "__GI_abort");
    });
}

void fold_way_of_abort(std::span<report::Frame> frames) {
    auto own = std::ranges::find_if_not(frames, of_the_runtime);
    if (own == frames.end()) return;  // nothing else would be left
    for (auto& frame : frames.first(static_cast<std::size_t>(own - frames.begin()))) frame.runtime_internal = true;
}

void fold_start(std::span<report::Frame> frames) {
    auto own = std::find_if_not(frames.rbegin(), frames.rend(), of_the_runtime);
    if (own == frames.rend()) return;
    for (auto frame = frames.rbegin(); frame != own; ++frame) frame->runtime_internal = true;
}

std::vector<report::Frame> frames_from(const go::GoStack& stack, const go::PhysicalFrame& fatal) {
    auto index = static_cast<std::size_t>(&fatal - stack.physical.data());
    std::vector<report::Frame> frames;
    for (std::size_t i = 0; i < stack.frames.size(); ++i)
        if (stack.frame_of[i] >= index) frames.push_back(stack.frames[i]);
    return frames;
}

std::vector<report::Frame> frames_below_signal(const go::GoStack& stack) {
    std::vector<report::Frame> frames;
    for (std::size_t i = 0; i < stack.frames.size(); ++i)
        if (stack.physical[stack.frame_of[i]].owner != go::StackOwner::signal) frames.push_back(stack.frames[i]);
    return frames;
}

}  // namespace incident
