// Where stacks end: see live_stack.h. First by what the Go runtime knows, then by the mapping, a C thread's descriptor
// and malloc's ranges.
#include "process/live_stack.h"

#include <algorithm>

#include "native/malloc.h"

namespace incident {

namespace {

constexpr std::uint64_t descriptor_size = 4096;  // struct pthread, at the end of a C thread's stack; glibc 2.36: 2304

/// The end of the stack that holds `sp`, by what the Go runtime says; `sp` itself: nobody knows; nullopt: it is no
/// stack of the runtime.
std::optional<Address> end_in_go(const Process& process, std::int32_t tid, Address sp) {
    if (!process.goroutines) return std::nullopt;
    const go::Machine_m* machine = process.goroutines->machine_of_thread(tid);
    if (machine != nullptr) {
        const go::Goroutine* g = process.goroutines->at(machine->curg);
        if (g != nullptr && g->stack.contains(sp)) return g->stack.end;
        if (machine->gsignal_stack.contains(sp)) return machine->gsignal_stack.end;
    }
    if (!process.spans || !process.spans->in_arena(sp)) return std::nullopt;
    // Without cgo, g0 stands in the heap, too; with it, its bounds are a guess.
    if (machine != nullptr && machine->g0_stack.contains(sp)) return machine->g0_stack.end;
    return sp;
}

AddressRange live_stack(const Process& process, const ThreadState& thread, Address sp) {
    const Address begin = sp.align_down(8);
    if (const auto end = end_in_go(process, thread.tid, sp)) return {begin, std::max(begin, *end)};
    const auto segments = process.core.load_segments();
    const auto segment = std::ranges::find_if(segments, [&](const LoadSegment& row) { return row.range.contains(sp); });
    if (segment == segments.end()) return {};
    Address end = segment->range.end;
    const auto& machine = thread.registers.machine();
    if (machine.thread_pointer >= 0)
        if (const auto own = thread.registers.get(static_cast<unsigned>(machine.thread_pointer));
            own && *own > sp.value)
            end = std::min(end, Address{*own} + std::min(descriptor_size, UINT64_MAX - *own));
    if (process.malloc) {
        if (process.malloc->contains(sp)) return {};
        for (AddressRange range : process.malloc->ranges())
            if (range.begin > sp) end = std::min(end, range.begin);
    }
    return {begin, end};
}

}  // namespace

std::vector<AddressRange> live_stacks(const Process& process, const ThreadState& thread) {
    std::vector<AddressRange> stacks;
    const auto add = [&](Address sp) {
        if (std::ranges::any_of(stacks, [&](AddressRange known) { return known.contains(sp); })) return;
        const AddressRange stack = live_stack(process, thread, sp);
        if (stack.empty()) return;
        // A frame that lies below what is known of a stack: the walk went wrong, or came back to it.
        std::erase_if(stacks, [&](AddressRange known) { return stack.contains(known.begin); });
        stacks.push_back(stack);
    };
    if (const auto sp = thread.registers.sp()) add(*sp);
    const auto unwound = std::ranges::find(process.threads, &thread, &NativeThread::state);
    if (unwound != process.threads.end())
        for (const go::PhysicalFrame& frame : unwound->stack.physical)
            if (!frame.sp.is_null()) add(frame.sp);
    return stacks;
}

}  // namespace incident
