// The loop. A step proposes a caller; the loop believes it only when sp rises and stays on the stack, so that no
// damaged chain can turn in circles, and lets the next step try when it does not.
#include "unwind/unwinder.h"

#include "base/text.h"

namespace incident {
namespace {

constexpr int most_stack_changes = 16;

/// Empty: the proposal is acceptable.
std::string objection(const UnwindState& frame, const StepResult& result, AddressRange stack) {
    const auto from = frame.registers.sp(), to = result.caller->registers.sp();
    if (!result.caller->registers.pc()) return "no pc for the caller";
    if (!to) return "no sp for the caller";
    if (result.stack)
        return result.stack->contains(*to) || *to == result.stack->end
                   ? ""
                   : "sp " + hex(to->value) + " is outside its new stack";
    if (from && *to <= *from) return "sp does not rise at " + hex(from->value);
    // The outermost frame's sp may be the stack's end itself.
    if (*to < stack.begin || *to > stack.end) return "sp " + hex(to->value) + " is outside the stack";
    return {};
}

}  // namespace

Unwound unwind(const UnwindState& start, AddressRange stack, std::span<const UnwindStep> steps,
               const UnwindLimits& limits) {
    Unwound out;
    out.frames.push_back({start, start.cfa});
    int stack_changes = 0;
    for (;;) {
        const UnwindState current = out.frames.back().state;
        if (out.frames.size() >= limits.frames) {
            out.end = "limit of " + std::to_string(limits.frames) + " frames";
            return out;
        }
        std::string reasons;
        bool moved = false;
        for (const UnwindStep& step : steps) {
            StepResult result = step.step(current, stack);
            UnwoundFrame& frame = out.frames.back();
            if (result.signal_frame) frame.state.kind = report::FrameKind::signal;
            if (result.kind == StepResult::Kind::outermost) {
                if (result.cfa) frame.cfa = frame.state.cfa = result.cfa;
                out.end = result.reason.empty() ? "outermost frame" : std::move(result.reason);
                out.complete = true;
                return out;
            }
            if (result.kind == StepResult::Kind::caller) {
                result.reason = objection(current, result, stack);
                if (result.stack && ++stack_changes > most_stack_changes) result.reason = "too many stacks";
                if (result.reason.empty()) {
                    if (result.cfa) frame.cfa = frame.state.cfa = result.cfa;
                    if (result.stack) stack = *result.stack;
                    out.frames.push_back({*result.caller, std::nullopt});
                    moved = true;
                    break;
                }
            }
            std::string why = std::string(step.name) + ": " + result.reason;
            if (limits.trace) out.trace.push_back("frame " + std::to_string(out.frames.size() - 1) + ": " + why);
            reasons += (reasons.empty() ? "" : "; ") + why;
        }
        if (!moved) {
            out.end = reasons.empty() ? "nothing to unwind with" : std::move(reasons);
            return out;
        }
    }
}

}  // namespace incident
