// StackWalker: what one worker keeps between walks.
#include "go/stacks/walk_state.h"

namespace incident::go {

struct StackWalker::State {
    const CoreFile& core;
    const Memory& memory;
    const Runtime& runtime;
    const GoroutineList& list;
    CodeCache code;
    MemoryCursor cursor;

    template <class Start>
    GoStack walk(std::span<const UnwindStep> native_steps, const Images* images, const StackOptions& options, Start&& start) {
        Walk walk({.core = core, .memory = memory, .runtime = runtime, .list = list, .code = code, .cursor = cursor,
                   .native_steps = native_steps, .limit = options.limit, .callback_sp = {}});
        start(walk);
        GoStack stack = walk.take();
        if (options.frames) fill_frames(stack, options, images);
        return stack;
    }
};

StackWalker::StackWalker(const CoreFile& core, const Memory& memory, const Runtime& runtime, const GoroutineList& list)
    : state_(new State{core, memory, runtime, list, CodeCache(*list.code), MemoryCursor(memory)}) {}
StackWalker::~StackWalker() = default;
StackWalker::StackWalker(StackWalker&&) noexcept = default;

GoStack StackWalker::walk(const Goroutine& g, std::span<const UnwindStep> native_steps, const Images* images, const StackOptions& options) {
    return state_->walk(native_steps, images, options, [&](Walk& walk) { walk.goroutine(g); });
}

GoStack StackWalker::walk_thread(const ThreadState& thread, std::span<const UnwindStep> native_steps, const Images* images,
                                 const StackOptions& options) {
    return state_->walk(native_steps, images, options, [&](Walk& walk) { walk.thread(thread); });
}

GoStack StackWalker::walk_from(const Registers& registers, bool after_call, const Machine_m* machine, std::span<const UnwindStep> native_steps,
                               const Images* images, const StackOptions& options) {
    return state_->walk(native_steps, images, options, [&](Walk& walk) { walk.from(registers, after_call, machine); });
}

GoStack walk_goroutine(const CoreFile& core, const Memory& memory, const Runtime& runtime, const GoroutineList& list, const Goroutine& g,
                       std::span<const UnwindStep> native_steps, const StackOptions& options) {
    return StackWalker(core, memory, runtime, list).walk(g, native_steps, nullptr, options);
}

}  // namespace incident::go
