#include "process/native_threads.h"

#include <algorithm>

#include "unwind/return_path.h"

namespace incident {

std::vector<UnwindStep> native_steps(const Process& process) {
    return {cfi_step(process.memory, *process.images), return_path_step(process.memory, process.core.machine()),
            frame_pointer_step(process.memory, &*process.images), scan_step(process.memory, *process.images)};
}

go::GoStack walk_native_thread(const Process& process, const ThreadState& thread, std::span<const UnwindStep> steps,
                               std::vector<std::string>* rejected) {
    go::GoStack stack;
    UnwindState start{.registers = thread.registers};
    start.after_call = false;
    auto sp = thread.registers.sp();
    if (!sp || !thread.registers.pc()) {
        stack.end = "the core has no registers of this thread";
        return stack;
    }
    Unwound unwound = unwind(start, stack_range(process.memory, *sp), steps, {.trace = rejected != nullptr});
    if (rejected != nullptr) *rejected = std::move(unwound.trace);
    stack.end = std::move(unwound.end);
    stack.complete = unwound.complete;
    for (const auto& frame : unwound.frames) {
        auto& registers = frame.state.registers;
        go::PhysicalFrame physical;
        physical.pc = registers.pc().value_or(Address{});
        physical.sp = registers.sp().value_or(Address{});
        physical.bp = registers.fp().value_or(Address{});
        physical.cfa = frame.cfa.value_or(Address{});
        physical.after_call = frame.state.after_call;
        physical.trust = frame.state.trust;
        physical.kind = frame.state.kind;
        physical.owner = go::StackOwner::system;
        physical.native = static_cast<std::uint32_t>(stack.native.size());
        for (const auto& logical : symbolize_native(frame, *process.images)) {
            stack.frames.push_back(logical);
            stack.frame_of.push_back(static_cast<std::uint32_t>(stack.physical.size()));
        }
        stack.physical.push_back(physical);
        stack.native.push_back(frame);
    }
    return stack;
}

namespace {

/// Return addresses of a parked goroutine by its saved frame pointers alone.
go::GoStack raw_stack(const Process& process, const go::Goroutine& g) {
    constexpr std::size_t limit = 256;
    go::GoStack stack;
    bool in_syscall = !g.syscall_pc.is_null();
    Address pc = in_syscall ? g.syscall_pc : g.sched_pc, sp = in_syscall ? g.syscall_sp : g.sched_sp;
    Address bp = in_syscall ? g.syscall_bp : g.sched_bp;
    auto add = [&](Address at, Address frame_sp, report::Trust trust) {
        report::Frame frame;
        frame.pc = at;
        if (!frame_sp.is_null()) frame.sp = frame_sp;
        frame.kind = report::FrameKind::go;
        frame.trust = trust;
        if (const Image* image = process.images->find(at)) frame.module = image->path();
        stack.frame_of.push_back(static_cast<std::uint32_t>(stack.physical.size()));
        stack.frames.push_back(frame);
        stack.physical.push_back({.pc = at, .sp = frame_sp, .trust = trust});
    };
    if (pc.is_null()) return stack;
    add(pc, sp, report::Trust::context);
    while (stack.frames.size() < limit && g.stack.contains(bp) && bp.is_aligned(8) && bp >= sp) {
        auto caller = process.memory.load_address(bp + 8), next = process.memory.load_address(bp);
        if (!caller || !next || caller->is_null()) break;
        add(*caller, bp + 16, report::Trust::frame_pointer);
        if (*next <= bp) break;
        bp = *next;
    }
    stack.end = "without the executable there are only saved frame pointers";
    return stack;
}

}  // namespace

GoroutineWalker::GoroutineWalker(const Process& process, std::span<const UnwindStep> native_steps)
    : process_(process),
      native_steps_(native_steps),
      walker_(process.core, process.memory, *process.go, *process.goroutines) {}

go::GoStack GoroutineWalker::walk(const go::Goroutine& g) {
    auto stack = native_steps_.empty() ? walker_.walk(g) : walker_.walk(g, native_steps_, &*process_.images);
    if (stack.frames.empty() && process_.go->modules().empty()) return raw_stack(process_, g);
    return stack;
}

std::vector<NativeThread> walk_threads(const Process& process) {
    std::vector<NativeThread> threads;
    auto steps = native_steps(process);
    std::optional<go::StackWalker> walker;
    if (process.go && process.goroutines)
        walker.emplace(process.core, process.memory, *process.go, *process.goroutines);
    for (const ThreadState& state : process.core.threads()) {
        NativeThread thread;
        thread.state = &state;
        const go::Machine_m* machine = walker ? process.goroutines->machine_of_thread(state.tid) : nullptr;
        if (machine != nullptr) {
            if (const go::Goroutine* g = process.goroutines->at(machine->curg)) thread.goroutine = g->goid;
            thread.stack = walker->walk_thread(state, steps, &*process.images);
        } else {
            thread.stack = walk_native_thread(process, state, steps, process.trace ? &thread.rejected : nullptr);
        }
        threads.push_back(std::move(thread));
    }
    return threads;
}

}  // namespace incident
