// StackWalker: what one worker keeps between walks.
#include <algorithm>

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
    void walk(GoStack& stack, std::span<const UnwindStep> native_steps, const Images* images,
              const StackOptions& options, Start&& start) {
        stack.clear();
        Walk walk({.core = core,
                   .memory = memory,
                   .runtime = runtime,
                   .list = list,
                   .code = code,
                   .cursor = cursor,
                   .native_steps = native_steps,
                   .limit = std::max<std::size_t>(options.limit, 1),
                   .outer = options.outer,
                   .callback_sp = {}},
                  stack);
        start(walk);
        if (options.frames) fill_frames(stack, options, images);
    }
};

void GoStack::clear() {
    physical.clear();
    native.clear();
    frames.clear();
    frame_of.clear();
    end.clear();
    elided = elided_at = 0;
    complete = false;
}

StackWalker::StackWalker(const CoreFile& core, const Memory& memory, const Runtime& runtime, const GoroutineList& list)
    : state_(new State{core, memory, runtime, list, CodeCache(*list.code), MemoryCursor(memory)}) {}
StackWalker::~StackWalker() = default;
StackWalker::StackWalker(StackWalker&&) noexcept = default;

GoStack StackWalker::walk(const Goroutine& g, std::span<const UnwindStep> native_steps, const Images* images,
                          const StackOptions& options) {
    GoStack stack;
    walk_into(stack, g, native_steps, images, options);
    return stack;
}

void StackWalker::walk_into(GoStack& stack, const Goroutine& g, std::span<const UnwindStep> native_steps,
                            const Images* images, const StackOptions& options) {
    state_->walk(stack, native_steps, images, options, [&](Walk& walk) { walk.goroutine(g); });
}

GoStack StackWalker::walk_thread(const ThreadState& thread, std::span<const UnwindStep> native_steps,
                                 const Images* images, const StackOptions& options) {
    GoStack stack;
    state_->walk(stack, native_steps, images, options, [&](Walk& walk) { walk.thread(thread); });
    return stack;
}

GoStack StackWalker::walk_from(const Registers& registers, bool after_call, const Machine_m* machine,
                               std::span<const UnwindStep> native_steps, const Images* images,
                               const StackOptions& options) {
    GoStack stack;
    state_->walk(stack, native_steps, images, options, [&](Walk& walk) { walk.from(registers, after_call, machine); });
    return stack;
}

}  // namespace incident::go
