// FrameList: the frames of one stack, some of which are equal to another's but for where they lie. 10^5 goroutines have
// a few hundred different stacks: those share their frames, and each list only says how far its own lie from them.
// Elements come by value.
#pragma once

#include <memory>
#include <ranges>
#include <utility>
#include <vector>

#include "report/frame.h"

namespace incident::report {

struct MoveFrame {
    std::uint64_t base = 0;  ///< to be added to sp, bp and cfa
    Frame operator()(Frame frame) const noexcept {
        for (std::optional<Address>* address : {&frame.sp, &frame.bp, &frame.cfa})
            if (*address) **address += base;
        return frame;
    }
};
using MovedFrames = std::ranges::transform_view<std::span<const Frame>, MoveFrame>;

class FrameList {
public:
    FrameList() = default;
    FrameList(std::vector<Frame> frames)  // NOLINT(google-explicit-constructor): a vector of frames is such a list
        : frames_(std::make_shared<const std::vector<Frame>>(std::move(frames))) {}
    /// `frames` must outlive the list; of a Report: live as long as `keep_alive`.
    static FrameList view(const std::vector<Frame>& frames, std::uint64_t base) {
        FrameList list;
        list.frames_ = std::shared_ptr<const std::vector<Frame>>(std::shared_ptr<void>(), &frames);
        list.base_ = base;
        return list;
    }

    std::size_t size() const noexcept { return frames_ == nullptr ? 0 : frames_->size(); }
    bool empty() const noexcept { return size() == 0; }
    Frame operator[](std::size_t index) const noexcept { return MoveFrame{base_}((*frames_)[index]); }
    Frame front() const noexcept { return (*this)[0]; }
    /// For loops.
    MovedFrames all() const { return {stored(), MoveFrame{base_}}; }
    std::vector<Frame> load() const {
        auto moved = all();
        return {moved.begin(), moved.end()};
    }
    /// Right in everything but sp, bp and cfa: what is asked of 10^5 stacks is mostly names.
    std::span<const Frame> stored() const noexcept {
        return frames_ == nullptr ? std::span<const Frame>() : std::span<const Frame>(*frames_);
    }

private:
    std::shared_ptr<const std::vector<Frame>> frames_;
    std::uint64_t base_ = 0;
};

}  // namespace incident::report
