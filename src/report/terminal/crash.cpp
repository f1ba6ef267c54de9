// The crash itself: the faulting context (not the thread's last registers, which are the runtime's own raise), the
// stack with its annotated frames, the raw words around sp, and what was being unwound.
#include <fmt/format.h>

#include <algorithm>

#include "base/text.h"
#include "report/terminal/views.h"

namespace incident::report::terminal {

namespace {

Line signal_line(const Context& context, const Crash& crash) {
    Line out = context.canvas.line();
    if (!crash.signal) return out;
    const auto& signal = *crash.signal;
    out.add(Ink::error, signal.name.empty() ? fmt::format("signal {}", signal.number) : signal.name);
    if (!signal.code_name.empty())
        out.space().add(signal.code_name);
    else if (signal.code)
        out.space().add(fmt::format("code {}", *signal.code));
    if (crash.fault_address) out.add(" at ").add(*crash.fault_address);
    if (signal.sender_pid) out.add(fmt::format(" from pid {}", *signal.sender_pid));
    if (signal.sender_uid) out.add(fmt::format(", uid {}", *signal.sender_uid));
    return out;
}

/// A panic's text may have many lines; each is shown, escaped, under the first.
void print_message(Context& context, std::string_view message) {
    constexpr std::size_t most = 20;
    auto& canvas = context.canvas;
    std::size_t shown = 0;
    while (!message.empty()) {
        auto end = message.find('\n');
        if (shown == most && !context.options().all) {
            canvas.row("", canvas.line(Ink::quiet, "… more (--all)"));
            return;
        }
        canvas.row(shown == 0 ? "message" : "", canvas.line(message.substr(0, end)));
        message.remove_prefix(end == std::string_view::npos ? message.size() : end + 1);
        ++shown;
    }
}

}  // namespace

void print_crash(Context& context, const Crash& crash, const Finding* finding) {
    auto& canvas = context.canvas;
    auto in_evidence = [&](std::string_view text) {
        return finding != nullptr && !text.empty() &&
               std::ranges::any_of(finding->evidence, [&](const Evidence& e) { return e.value.contains(text); });
    };
    if (crash.message && !in_evidence(*crash.message)) print_message(context, *crash.message);
    auto signal = signal_line(context, crash);
    if (!signal.empty() && !in_evidence(crash.signal->name)) canvas.row("signal", signal);
    if (crash.instruction && !in_evidence(*crash.instruction)) {
        Line line = canvas.line(Ink::strong, *crash.instruction);
        // Not the innermost frame's pc: that may be the runtime's, above the fault.
        auto pc =
            std::ranges::find_if(crash.registers, [](const Register& r) { return r.name == "rip" || r.name == "pc"; });
        if (pc != crash.registers.end()) line.add(Ink::quiet, " at ").add(Address{pc->value});
        canvas.row("executing", line);
    }
    if (!crash.registers.empty()) {
        canvas.blank();
        std::string where = crash.thread ? fmt::format("thread {}", *crash.thread) : std::string();
        canvas.heading("registers of the faulting context", where);
        print_registers(context, crash.registers);
    }
    std::span<const FrameSnapshot> snapshots = crash.snapshots;
    if (snapshots.empty() && finding != nullptr) snapshots = finding->snapshots;
    // A finding that tells of this death has drawn its frames: a line each is enough here.
    std::vector<FrameSnapshot> fresh;
    if (finding == nullptr) {
        auto drawn = [&](const FrameSnapshot& s) {
            return std::ranges::any_of(context.report.findings, [&](const Finding& f) {
                return std::ranges::any_of(f.snapshots, [&](const FrameSnapshot& other) {
                    return s.frame.pc == other.frame.pc && s.frame.sp == other.frame.sp &&
                           s.goroutine == other.goroutine;
                });
            });
        };
        std::ranges::remove_copy_if(snapshots, std::back_inserter(fresh), drawn);
        snapshots = fresh;
    }
    if (!crash.frames.empty() || !snapshots.empty()) {
        canvas.blank();
        const auto* goroutine = crash.goroutine ? context.goroutine(*crash.goroutine) : nullptr;
        const auto* thread = goroutine == nullptr && crash.thread ? context.thread(*crash.thread) : nullptr;
        if (goroutine != nullptr)
            canvas.wrap(title_of(context, *goroutine), 2);
        else if (thread != nullptr)
            canvas.wrap(title_of(context, *thread), 2);
        else if (crash.goroutine || crash.thread)
            canvas.print(canvas.line(Ink::strong, "").add(actor(context, {crash.goroutine, crash.thread})));
        auto end = goroutine != nullptr ? std::string_view(goroutine->stack_end)
                   : thread != nullptr  ? std::string_view(thread->stack_end)
                                        : "";
        print_stack(context, {crash.frames, snapshots, end});
        if (goroutine != nullptr) print_panics_and_defers(context, *goroutine, false);
    }
    if (!crash.raw_stack.empty()) {
        canvas.blank();
        canvas.heading("words around sp");
        print_slots(context, crash.raw_stack, canvas.line().space(2));
    }
}

}  // namespace incident::report::terminal
