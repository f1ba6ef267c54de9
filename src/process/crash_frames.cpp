#include "process/crash_frames.h"

#include <algorithm>

#include "process/own_frames.h"

namespace incident {

const go::PhysicalFrame* find_fatal_frame(const go::GoStack& stack) {
    for (auto& frame : stack.physical) {
        auto name = frame.name();
        if (name == "runtime.throw" || name == "runtime.fatal" || name == "runtime.fatalpanic") return &frame;
    }
    return nullptr;
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
