// Judging addresses; see the header.
#include "detect/dangling.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/text.h"
#include "disasm/disasm.h"

namespace incident::detect {

namespace {

constexpr std::uint64_t page = 8192;
// Below the sp of a goroutine that runs, a callee may be at work that our registers are too old for.
constexpr std::uint64_t red_zone_running = 4096;

// A goroutine's first frames lie within this of the end of its stack, and stacks end where pages do.
constexpr std::uint64_t first_frames = 512;

bool at_rest(const Process& process, std::int64_t goid) {
    auto index = process.find_goroutine(goid);
    if (!index) return false;
    const auto& g = process.goroutines->all[*index];
    return (g.status == go::Status::waiting || g.status == go::Status::runnable || g.status == go::Status::preempted) &&
           !g.scanning;
}

/// A span of objects that ends exactly there: the value may be one past the last of them. Its last object.
std::optional<AddressRange> one_past_a_span(const Process& process, Address value) {
    if (value.value % page != 0) return std::nullopt;
    const auto before = process.spans->find_object(value - 1);
    if (before) return AddressRange{before->base, value};
    return process.spans->find(value - 1) != nullptr ? std::optional(AddressRange{value - page, value}) : std::nullopt;
}

void judge_slot(const Process& process, Judgement& judgement) {
    const go::ObjectRef& object = judgement.place.object;
    const go::Span& span = *object.span;
    if (object.state != go::SlotState::free) return;
    // An object that the allocator hands out right now is not in the bits yet.
    if (const auto& unequal = process.spans->check().unequal; !unequal.empty()) {
        const auto index = static_cast<std::uint32_t>(&span - process.spans->all().data());
        if (std::ranges::find(unequal, index) != unequal.end()) return;
    }
    judgement.gone = Gone::free_slot;
    judgement.state = fmt::format("free slot {} of {}, {} B objects, span {:#x}", object.index, span.elem_count,
                                  span.elem_size, span.range.begin.value);
    if (judgement.place.address == object.base && object.index > 0 &&
        go::Spans::slot_state(span, object.index - 1) == go::SlotState::allocated) {
        judgement.may_end = {object.base - span.elem_size, object.base};
        judgement.innocent.push_back(
            fmt::format("one past the end of the object before it, {:#x}", judgement.may_end.begin.value));
    }
}

/// A frame of the runtime that waits and has called nothing but the runtime: no function of the program has the address
/// of anything in it, not even of an argument. Of time.Sleep's and the like nobody says so.
bool is_runtimes(const Process& process, std::size_t goroutine, const go::PhysicalFrame& wanted) {
    for (const go::PhysicalFrame& frame : process.stacks.physical(goroutine)) {
        if (!frame.name().starts_with("runtime.")) return false;
        if (frame == wanted) return true;
    }
    return false;
}

void judge_stack(const Process& process, Judgement& judgement) {
    const Placement& place = judgement.place;
    // Where one stack ends the next one begins: the address may be one past the other.
    if (place.address == place.range.end || place.address == place.range.begin || !place.goroutine) return;
    if (place.part == StackPart::dead) {
        const auto depth = static_cast<std::uint64_t>(place.sp - place.address);
        if (!at_rest(process, *place.goroutine) && depth < red_zone_running) return;
        judgement.gone = Gone::dead_stack;
        judgement.state = fmt::format("dead part of goroutine {}'s stack, {:#x} below its sp", *place.goroutine, depth);
        return;
    }
    if (place.part != StackPart::live || !place.frame || !at_rest(process, *place.goroutine)) return;
    const go::PhysicalFrame& frame = *place.frame;
    if (frame.owner != go::StackOwner::goroutine || frame.func() == nullptr || !frame.after_call ||
        frame.trust == report::Trust::scan || frame.cfa.is_null())
        return;
    if (place.address > frame.sp && is_runtimes(process, *process.find_goroutine(*place.goroutine), frame)) {
        judgement.gone = Gone::runtimes;
        judgement.state =
            fmt::format("in the frame of {}, goroutine {}: a stack or a call that was there before is gone",
                        frame.name(), *place.goroutine);
        return;
    }
    const Address linkage = frame.cfa - (frame.frame_has_saved_bp ? 16u : 8u);
    if (place.address < linkage || place.address >= frame.cfa || place.address.value % 8 != 0) return;
    judgement.gone = Gone::linkage;
    judgement.state = fmt::format("the {} of {}, goroutine {}: no variable lies there",
                                  place.address == frame.cfa - 8 ? "return address" : "saved frame pointer",
                                  frame.name(), *place.goroutine);
}

}  // namespace

bool ends_a_range(const Memory& memory, Address word, const Judgement& judgement, AddressRange among) {
    if (judgement.may_end.empty()) return false;
    for (const int beside : {-16, -8, 8, 16}) {
        const Address at = word + static_cast<std::uint64_t>(static_cast<std::int64_t>(beside));
        if (!among.empty() && !among.contains(at)) continue;
        if (auto value = memory.load_address(at); value && judgement.may_end.contains(*value)) return true;
    }
    return false;
}

bool was_stack(const Process& process, Address at) {
    if (!process.go || !process.spans) return false;
    // The stack may have been long, and its innermost part is often overwritten or given back to the kernel: the whole
    // run of free pages counts, so far as a stack of middling size reaches.
    constexpr std::uint64_t reach = 256u << 10;
    Address begin = at.align_down(page), end = begin + page;
    while (at - begin < static_cast<std::int64_t>(reach) && process.spans->is_free_page(begin - 1))
        begin = begin - page;
    while (end - at < static_cast<std::int64_t>(reach) && process.spans->is_free_page(end)) end += page;
    unsigned frames = 0;
    for (Address word = begin; word + 16 <= end && frames < 2; word += 8) {
        const auto bp = process.memory.load_address(word);
        const auto pc = process.memory.load_address(word + 8);
        if (!bp || !pc) continue;
        // A frame: its caller's frame pointer, a little higher, and behind it an address that a call stands before.
        if (*bp <= word || *bp > word + (64u << 10)) continue;
        if (!process.go->find_func(*pc) || !may_be_return_address(process.memory, *pc)) continue;
        ++frames;
    }
    return frames >= 2;
}

Judgement judge(const Process& process, const Locator& locator, Address value) {
    Judgement judgement;
    judgement.place = locator.place(value);
    const Placement& place = judgement.place;
    switch (place.kind) {
        case PlaceKind::go_object: judge_slot(process, judgement); break;
        case PlaceKind::go_stack: judge_stack(process, judgement); break;
        case PlaceKind::go_free_page:
            if (const auto before = one_past_a_span(process, value)) {
                judgement.may_end = *before;
                judgement.innocent.push_back(
                    fmt::format("one past the end of what lies before it, {:#x}", before->begin.value));
            }
            if (was_stack(process, value)) {
                judgement.gone = Gone::freed_stack;
                judgement.state =
                    "in free pages that were a stack: return addresses and saved frame pointers still stand in them";
            } else if (page - value.value % page <= first_frames && value.value % 8 == 0) {
                judgement.gone = Gone::freed_stack;
                judgement.state = fmt::format(
                    "in a free page, {:#x} below its end, where the first frames of a goroutine's stack lie",
                    page - value.value % page);
                judgement.innocent.push_back(
                    "it may have been an object at the end of its page: nothing is left of it");
            } else {
                judgement.gone = Gone::free_page;
                judgement.state = "a free page of the Go heap: no span holds it";
            }
            break;
        case PlaceKind::go_freed_stack:
            if (place.address.value % 2048 == 0 && place.address == place.range.begin) break;  // one past another stack
            judgement.gone = Gone::freed_stack;
            judgement.state = fmt::format("a freed stack of {} B", place.range.size());
            break;
        case PlaceKind::g0_stack:
        case PlaceKind::gsignal_stack:
            // Only stacks that the runtime carves from the heap: the thread's own is C's, where locals may be kept.
            if (place.address == place.range.end || !process.spans->in_arena(value)) break;
            judgement.gone = Gone::other_stack;
            judgement.state =
                fmt::format("the {} stack of thread {}, carved from memory that stacks of goroutines had",
                            place.kind == PlaceKind::g0_stack ? "system" : "signal", place.thread.value_or(0));
            break;
        default: break;
    }
    return judgement;
}

}  // namespace incident::detect
