// Sharing of equal stacks; see stack_set.h.
#include "go/stacks/stack_set.h"

#include <algorithm>
#include <optional>

namespace incident::go {

namespace {

/// Where addresses of a shared stack count from: a word behind its end, so that none of [begin, end] counts as null.
std::uint64_t base_of(AddressRange bounds) { return bounds.end.value + 8; }

bool is_movable(Address address, AddressRange bounds) {
    return address.is_null() || (address >= bounds.begin && address <= bounds.end);
}

/// Nothing in it but what lies on the goroutine's own stack.
bool is_movable(const GoStack& stack, AddressRange bounds) {
    if (bounds.empty() || !stack.native.empty()) return false;
    const auto inside = [&](const std::optional<Address>& address) {
        return !address || (!address->is_null() && is_movable(*address, bounds));
    };
    return std::ranges::all_of(stack.physical,
                               [&](const PhysicalFrame& f) {
                                   return is_movable(f.sp, bounds) && is_movable(f.cfa, bounds) &&
                                          is_movable(f.bp, bounds);
                               }) &&
           std::ranges::all_of(stack.frames,
                               [&](const report::Frame& f) { return inside(f.sp) && inside(f.bp) && inside(f.cfa); });
}

}  // namespace

PhysicalFrame MovePhysical::operator()(PhysicalFrame frame) const noexcept {
    for (Address* address : {&frame.sp, &frame.cfa, &frame.bp})
        if (!address->is_null()) *address += base;
    return frame;
}

std::size_t GoStacks::Hash::operator()(const GoStack& stack) const noexcept {
    std::size_t hash = stack.physical.size();
    for (const PhysicalFrame& f : stack.physical)
        for (std::uint64_t part : {f.pc.value, f.sp.value, f.bp.value}) hash = (hash ^ part) * 0x9e3779b97f4a7c15ull;
    return hash ^ hash >> 32;
}

/// The logical frames follow from the physical ones.
bool GoStacks::Equal::operator()(const GoStack& a, const GoStack& b) const noexcept {
    return a.complete == b.complete && a.elided == b.elided && a.elided_at == b.elided_at && a.end == b.end &&
           a.frames.size() == b.frames.size() && a.physical == b.physical;
}

void GoStacks::set(std::size_t goroutine, AddressRange bounds, GoStack walked) {
    Row& row = rows_[goroutine];
    const bool movable = is_movable(walked, bounds);
    if (movable) {
        row.base = base_of(bounds);
        const std::uint64_t back = ~row.base + 1;  // subtracts it
        for (PhysicalFrame& frame : walked.physical) frame = MovePhysical{back}(frame);
        for (report::Frame& frame : walked.frames) frame = report::MoveFrame{back}(frame);
    }
    const std::lock_guard lock(shared_->mutex);
    if (movable) {
        if (auto known = shared_->shapes.find(walked); known != shared_->shapes.end()) {
            row.stack = known->get();
            return;
        }
    }
    walked.physical.shrink_to_fit();
    walked.frames.shrink_to_fit();
    walked.frame_of.shrink_to_fit();
    auto stack = std::make_unique<const GoStack>(std::move(walked));
    row.stack = movable ? shared_->shapes.insert(std::move(stack)).first->get()
                        : shared_->others.emplace_back(std::move(stack)).get();
}

GoStack GoStacks::load(std::size_t goroutine) const {
    GoStack stack = load_physical(goroutine);
    stack.frames = frames(goroutine).load();
    return stack;
}

GoStack GoStacks::load_physical(std::size_t goroutine) const {
    const GoStack& shape = this->shape(goroutine);
    const PhysicalFrames physical = this->physical(goroutine);
    GoStack stack;
    stack.physical.assign(physical.begin(), physical.end());
    stack.native = shape.native;
    stack.frame_of = shape.frame_of;
    stack.end = shape.end;
    stack.elided = shape.elided;
    stack.elided_at = shape.elided_at;
    stack.complete = shape.complete;
    return stack;
}

}  // namespace incident::go
