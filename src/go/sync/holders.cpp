// Where code is followed from: frames, closures, defers, goroutines that have not run.
#include "go/sync/holders.h"

#include "go/stacks/stackmaps.h"
#include "go/sync/frame_runs.h"
#include "go/sync/holders_run.h"
#include "go/sync/waits.h"

namespace incident::go {

struct RemainingCode::State {
    const Memory& memory;
    const Runtime& runtime;
    CodeBook book;
    std::uint64_t serial = 0;
    FrameRuns runs;
    bool reuse = true;
    std::size_t frames_followed = 0;
    State(const Memory& m, const Runtime& r, const Disassembler& d, bool reuse_runs)
        : memory(m), runtime(r), book(m, r, d), runs(m, r), reuse(reuse_runs) {}

    /// A closure that was preempted before it had fetched what it captured: only rdx tells of that.
    std::optional<Address> preempted_context(const Goroutine& g, const GoStack& stack, std::uint32_t index) const {
        const PhysicalFrame& frame = stack.physical[index];
        // morestack, which a preempted function's prologue calls, saves it; gogo clears it. 1.16–1.27 asm_amd64.s
        if (index == 0 && frame.pc == g.sched_pc && frame.sp == g.sched_sp)
            if (auto saved = StructView(memory, g.g).get(runtime.layout().g.sched_ctxt); saved && !saved->is_null())
                return *saved;
        // It pushes rbp and the flags, then ax, cx and dx are the lowest words. 1.16–1.27 src/runtime/preempt_amd64.s
        constexpr std::uint64_t saved_rdx = 16;
        if (index == 0 || frame.after_call || stack.physical[index - 1].name() != "runtime.asyncPreempt")
            return std::nullopt;
        auto saved = memory.load_address(stack.physical[index - 1].sp + saved_rdx);
        return saved ? std::optional(*saved) : std::nullopt;
    }

    Remaining run_entry(Address entry, std::optional<Address> closure, std::optional<Address> argument,
                        std::optional<Address> sp) {
        Remaining result;
        FunctionCode* code = book.function(entry);
        if (code == nullptr) {
            result.incomplete = true;
            return result;
        }
        CodeRun run(book, result, serial);
        PathState state = run.blank();
        // A stack of its own that no core has: slots are what the code itself writes there.
        state[rows().sp] = {0, sp ? sp->value : 1ull << 62};
        if (closure) state[rows().rdx] = {0, closure->value};
        if (argument) {
            if (runtime.version().at_least(17))
                state[rows().rax] = {0, argument->value};
            else
                state.memory.write({{0, (1ull << 62) + 8}, {0, argument->value}, 8});
        }
        if (code->facts.kind == CalleeKind::primitive) {
            // defer mu.Unlock() without a wrapper: the function itself is the operation.
            if (argument) {
                HoldKind kind = code->facts.op == LockOp::unlock    ? HoldKind::exclusive
                                : code->facts.op == LockOp::runlock ? HoldKind::shared
                                                                    : HoldKind::group;
                const bool releases = code->facts.op == LockOp::unlock || code->facts.op == LockOp::runlock ||
                                      code->facts.op == LockOp::group_done;
                if (releases) {
                    result.releases.push_back({kind, *argument, entry, code->func.name, true, code->facts.rwmutex});
                    result.balances.push_back({*argument, kind, -1, -1});
                }
                if (code->facts.op == LockOp::lock) result.balances.push_back({*argument, HoldKind::exclusive, 1, 1});
                if (code->facts.op == LockOp::rlock) result.balances.push_back({*argument, HoldKind::shared, 1, 1});
            } else {
                result.incomplete = true;
            }
            result.returns = true;
            return result;
        }
        if (code->facts.kind != CalleeKind::ordinary && !code->func.name.ends_with("-fm")) return result;
        run.finish(run.follow(*code, std::max(code->step_at(entry), 0), std::move(state), 0));
        return result;
    }
};

RemainingCode::RemainingCode(const Memory& memory, const Runtime& runtime, const Disassembler& disassembler, bool reuse)
    : state_(new State(memory, runtime, disassembler, reuse)) {}
RemainingCode::~RemainingCode() = default;

std::size_t RemainingCode::frames_followed() const { return state_->frames_followed; }

bool RemainingCode::interesting(Address pc) {
    FunctionCode* code = state_->book.function(pc);
    return code != nullptr && state_->book.interesting_from(*code, code->step_at(pc));
}

Remaining RemainingCode::of_frame(const Goroutine& g, const GoStack& stack, std::uint32_t index,
                                  std::optional<Address> context) {
    Remaining result;
    const PhysicalFrame& frame = stack.physical[index];
    FunctionCode* code = frame.func() == nullptr ? nullptr : state_->book.function(frame.pc);
    if (code == nullptr || frame.sp.is_null()) {
        result.incomplete = frame.func() != nullptr;
        return result;
    }
    const std::int32_t step = code->step_at(frame.pc);
    if (step < 0) {
        result.incomplete = true;
        return result;
    }
    // What a channel or select will write when it comes back is not there yet.
    std::vector<Address> to_come;
    for (const Sudog& sudog : waiting_sudogs(state_->memory, state_->runtime, g))
        if (!sudog.channel.is_null() && !frame.cfa.is_null() && sudog.element >= frame.sp && sudog.element < frame.cfa)
            to_come.push_back(sudog.element);
    std::optional<Address> bp;
    if (!frame.bp.is_null())
        bp = frame.bp;
    else if (frame.frame_has_saved_bp && !frame.cfa.is_null())
        bp = frame.cfa - 16;
    FrameRuns::Start start{frame.pc, frame.sp, frame.cfa, bp, g.g, g.stack, {}};
    for (const Address element : to_come) start.to_come.push_back(static_cast<std::uint64_t>(element - frame.sp));
    if (!context) context = state_->preempted_context(g, stack, index);
    Footprint* footprint = nullptr;
    if (!context && state_->reuse) {
        if (auto known = state_->runs.find(start)) return std::move(*known);
        footprint = state_->runs.begin(start);
    }
    ++state_->frames_followed;
    CodeRun run(state_->book, result, state_->serial);
    run.stack = g.stack;
    run.forget_below(frame.sp);
    if (footprint != nullptr) run.tell(*footprint);
    if (auto maps = frame_maps(state_->memory, state_->runtime, frame))
        for (const StackObject& object : maps->objects) run.objects.push_back(object.range);
    auto given = [&](Address value) {
        return footprint != nullptr ? footprint->input(value.value) : Symbolic{0, value.value};
    };
    PathState state = run.blank();
    state[rows().sp] = run.on_stack(frame.sp);
    state[rows().r14] = given(g.g);
    if (bp) state[rows().bp] = given(*bp);
    if (context) state[rows().rdx] = {0, context->value};
    for (const Address element : to_come) {
        AddressRange range{element.align_down(8), element + 8};
        for (const AddressRange& object : run.objects)
            if (object.contains(element)) range = object;
        for (Address word = range.begin; word < range.end && word < range.begin + 1024; word += 8)
            run.forget(state, word);
    }
    run.finish(run.follow(*code, step, std::move(state), 0));
    if (footprint != nullptr) state_->runs.end(result, run.released, run.balanced);
    return result;
}

Remaining RemainingCode::of_closure(Address closure, std::optional<Address> argument) {
    auto entry = state_->memory.load_address(closure);
    if (!entry) {
        Remaining result;
        result.incomplete = true;
        return result;
    }
    return of_function(*entry, closure, argument);
}

Remaining RemainingCode::of_function(Address entry, std::optional<Address> closure, std::optional<Address> argument) {
    return state_->run_entry(entry, closure, argument, std::nullopt);
}

Remaining RemainingCode::of_defer(const PendingDefer& pending) {
    std::optional<Address> argument;
    if (!pending.arguments.empty() && pending.arguments.front().size() >= 8)
        if (auto word = state_->memory.load_address(pending.arguments.front().begin)) argument = *word;
    if (pending.closure.is_null()) return {};
    return of_closure(pending.closure, argument);
}

Remaining RemainingCode::of_unborn(const Goroutine& g) {
    std::optional<Address> closure;
    if (auto ctxt = StructView(state_->memory, g.g).get(state_->runtime.layout().g.sched_ctxt);
        ctxt && !ctxt->is_null())
        closure = *ctxt;
    std::optional<Address> argument;
    if (!state_->runtime.version().at_least(17))
        if (auto word = state_->memory.load_address(g.sched_sp + 8)) argument = *word;
    Remaining result = state_->run_entry(g.sched_pc, closure, argument, g.sched_sp);
    return result;
}

}  // namespace incident::go
