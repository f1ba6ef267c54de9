// Finding the context that died. Candidates, best first: a thread on whose stack the runtime throws or panics fatally;
// a thread in a handler for a fault of its own; one in a handler for SIGABRT; one that another signal was sent to;
// last, what the kernel noted in the core. In a GOTRACEBACK=crash core the thread that wrote the core is only the last
// one that stopped.
#include "process/crash_context.h"

#include <fmt/format.h>

#include <algorithm>
#include <csignal>
#include <span>

#include "base/text.h"
#include "go/stacks/panics.h"
#include "go/stacks/walk.h"
#include "process/crash_frames.h"
#include "process/cxx_death.h"
#include "process/last_words.h"
#include "process/native_threads.h"
#include "process/own_frames.h"
#include "process/process.h"

namespace incident {

namespace {

const ThreadState* thread_of(const CoreFile& core, std::int32_t tid) {
    for (auto& thread : core.threads())
        if (thread.tid == tid) return &thread;
    return nullptr;
}

/// One thread that may be the one that died.
struct Candidate {
    enum Rank { kernel, sent, self_abort, fault, runtime_fatal } rank = kernel;
    const ThreadState* thread = nullptr;
    const go::Machine_m* machine = nullptr;
    go::GoStack stack;
    std::optional<SignalFrame> signal;
    bool foreign = false;  ///< a thread that Go did not make: the goroutine that its handler borrowed is not its own
    FatalFrames fatal;
};

class Finder {
public:
    explicit Finder(const Process& process) : process_(process), steps_(native_steps(process)) {}

    CrashContext find() {
        CrashContext context;
        auto threads = process_.core.threads();
        if (threads.empty()) {
            context.notes.push_back("the core holds no thread");
            context.kind = report::CrashKind::requested;
            return context;
        }
        const ThreadState& dying = dying_thread();
        Candidate best;
        if (process_.go && process_.goroutines) best = find_in_go(dying);
        if (best.thread == nullptr) {
            best.thread = &dying;
            walk(best);
        }
        if (!best.signal && best.fatal.death == nullptr && best.machine == nullptr) look_below_handlers(context, best);
        fill(context, best, dying);
        return context;
    }

private:
    /// The kernel writes the dying thread first. A debugger writes its own order: the one that stands at a signal of
    /// its own.
    const ThreadState& dying_thread() const {
        auto threads = process_.core.threads();
        auto died = [&](const ThreadState& thread) {
            return thread.signal && ends_process(*thread.signal) && !attached_before_panic(thread);
        };
        if (!process_.core.written_by_gcore()) return threads.front();
        auto found = std::ranges::find_if(threads, died);
        return found == threads.end() ? threads.front() : *found;
    }

    /// A handler of the process's own (it prints a trace, then aborts, or faults itself) stands between the fault and
    /// the end: then the fault, whose context the kernel left on the stack, is what the process died of.
    void look_below_handlers(CrashContext& context, Candidate& best) {
        const auto& physical = best.stack.physical;
        auto find = [&](auto wanted) {
            return std::ranges::any_of(physical.rbegin(), physical.rend(), [&](auto& frame) {
                if (frame.kind != report::FrameKind::signal) return false;
                auto found = read_signal_frame(process_.memory, process_.core.machine(), frame.sp - 8);
                if (!found) return false;
                if (found->info.number == 0) found->info = signal_of_trap(process_, *found).value_or(SignalInfo{});
                if (!is_fault(found->info.number) || !wanted(found->info)) return false;
                best.signal = found;
                return true;
            });
        };
        // Or somebody sent the signal that the handler took for a fault, and ended the process for.
        const auto own_pid = process_.core.process_info() ? process_.core.process_info()->pid : best.thread->tid;
        const auto& last = best.thread->signal;
        auto sent = [&](const SignalInfo& info) {
            return info.code <= 0 && info.sender_pid && *info.sender_pid != own_pid && !(last && last->code > 0);
        };
        if (!find([](const SignalInfo& info) { return info.code > 0; }) && !find(sent)) return;
        std::size_t handler = 0;  // the frame that the program's handler begins with
        while (handler < best.stack.frames.size() && of_the_runtime(best.stack.frames[handler])) ++handler;
        auto name = signal_name(best.signal->info.number);
        if (handler < best.stack.frames.size() && best.stack.frames[handler].kind == report::FrameKind::native &&
            !best.stack.frames[handler].function.empty())
            context.notes.push_back(fmt::format("the handler of {} ran when the process ended, in {}", name,
                                                best.stack.frames[handler].function));
        else
            context.notes.push_back(fmt::format("a handler of {} ran when the process ended", name));
        ThreadState interrupted = *best.thread;
        interrupted.registers = best.signal->registers;
        best.stack = walk_native_thread(process_, interrupted, steps_);
    }

    void walk(Candidate& candidate) {
        if (process_.go && process_.goroutines) {
            go::StackWalker walker(process_.core, process_.memory, *process_.go, *process_.goroutines);
            candidate.stack = walker.walk_thread(*candidate.thread, steps_, &*process_.images);
        } else {
            candidate.stack = walk_native_thread(process_, *candidate.thread, steps_);
        }
        candidate.fatal = find_fatal_frames(candidate.stack);
    }

    Candidate find_in_go(const ThreadState& dying) {
        Candidate best;
        auto own_pid = process_.core.process_info() ? process_.core.process_info()->pid : dying.tid;
        for (auto& machine : process_.goroutines->machines) {
            const ThreadState* thread = thread_of(process_.core, machine.tid);
            if (thread == nullptr) continue;
            auto signal = live_signal(machine, *thread);
            bool marked = machine.dying != 0 || machine.throwing > 0;
            const bool died = marked || (thread == &dying && !process_.core.written_by_gcore());
            const bool recoverable = signal && !died && may_be_recovered(*signal);
            if (recoverable) signal.reset();
            if (!signal && !marked && thread != &dying) continue;
            Candidate candidate;
            candidate.thread = thread;
            candidate.machine = &machine;
            candidate.signal = signal;
            walk(candidate);
            if (!candidate.signal && !recoverable) find_signal_on_own_stack(candidate);
            candidate.rank = rank_of(candidate, own_pid);
            bool better = best.thread == nullptr || candidate.rank > best.rank ||
                          (candidate.rank == best.rank && candidate.rank == Candidate::runtime_fatal &&
                           machine.dying != 0 && (best.machine == nullptr || best.machine->dying == 0));
            if (better) best = std::move(candidate);
            best.fatal = find_fatal_frames(best.stack);
        }
        return best;
    }

    /// A thread of C code that Go did not make has no signal stack of the runtime's: Go's handler runs on the thread's
    /// own, above what it interrupted, and raises the signal once more (runtime.badsignal).
    void find_signal_on_own_stack(Candidate& candidate) const {
        auto& physical = candidate.stack.physical;
        for (std::size_t i = 1; i < physical.size(); ++i) {
            if (physical[i].kind != report::FrameKind::signal || !physical[i - 1].name().starts_with("runtime."))
                continue;
            auto found = read_signal_frame(process_.memory, process_.core.machine(), physical[i].sp - 8);
            if (!found || found->info.number == 0 || weight_of(found->info) == 0) continue;
            if (candidate.signal && weight_of(found->info) < weight_of(candidate.signal->info)) continue;
            candidate.signal = found;
            candidate.foreign = true;
            for (std::size_t k = 0; k <= i; ++k) physical[k].owner = go::StackOwner::signal;
        }
    }

    static Candidate::Rank rank_of(const Candidate& c, std::int32_t own_pid) {
        if (c.fatal.death != nullptr) return Candidate::runtime_fatal;
        if (!c.signal) return Candidate::kernel;
        auto& info = c.signal->info;
        if (info.code > 0) return Candidate::fault;
        if (info.number == SIGABRT) return Candidate::self_abort;
        if (info.sender_pid && *info.sender_pid != own_pid) return Candidate::sent;
        // SIGQUIT is what the runtime sends to its threads, one after the other, so that each prints its stack; what
        // the program sends itself else is what it dies of.
        return info.number == SIGQUIT ? Candidate::kernel : Candidate::sent;
    }

    /// A fault in Go code becomes a panic, and panics are recovered: who looks on while the handler runs (gcore, the
    /// death of another thread) sees no death.
    bool may_be_recovered(const SignalFrame& signal) const {
        if (!is_fault(signal.info.number) || signal.info.code <= 0) return false;
        auto pc = signal.registers.pc();
        return pc && process_.go->find_func(*pc);
    }

    /// The same, seen by who attached to the process (gcore PID) in the moment between the fault and its handler. That
    /// stops the other threads by a SIGSTOP of the kernel's own; those of a program that stopped under gdb have one
    /// that gdb sent, and there the fault is what its user wants to see.
    bool attached_before_panic(const ThreadState& thread) const {
        if (!process_.core.written_by_gcore() || !process_.go || !thread.signal) return false;
        auto pc = thread.registers.pc();
        return is_fault(thread.signal->number) && thread.signal->code > 0 && pc && process_.go->find_func(*pc) &&
               std::ranges::any_of(process_.core.threads(), [](const ThreadState& other) {
                   return other.signal && other.signal->number == SIGSTOP && other.signal->code == SI_KERNEL;
               });
    }

    /// The signal that this thread is handling now. Handlers nest: a fault in C is followed by the SIGABRT that the
    /// runtime raises to leave a core, so the outermost frame comes first among equals, and a fault before all.
    std::optional<SignalFrame> live_signal(const go::Machine_m& machine, const ThreadState& thread) {
        auto sp = thread.registers.sp();
        if (!sp || !machine.gsignal_stack.contains(*sp)) return std::nullopt;
        std::optional<SignalFrame> chosen;
        for (auto& frame : find_signal_frames(process_.memory, process_.core.machine(), machine.gsignal_stack)) {
            if (frame.at < *sp || weight_of(frame.info) == 0) continue;
            if (!chosen || weight_of(frame.info) >= weight_of(chosen->info)) chosen = frame;
        }
        return chosen;
    }

    void fill(CrashContext& context, Candidate& best, const ThreadState& dying) {
        context.tid = best.thread->tid;
        const go::Goroutine* goroutine = nullptr;
        if (best.machine != nullptr && process_.goroutines && !best.foreign) {
            goroutine = process_.goroutines->at(best.machine->curg);
            if (goroutine != nullptr) {
                context.goid = goroutine->goid;
                context.goroutine = static_cast<std::size_t>(goroutine - process_.goroutines->all.data());
            }
        }
        if (best.fatal.death != nullptr)
            fill_runtime_fatal(context, best, goroutine);
        else if (best.signal)
            fill_signal(context, *best.signal, best);
        else
            fill_kernel(context, dying, best);
        if (context.frames.empty()) context.frames = best.stack.frames;
        if (best.fatal.while_printing != nullptr) note_second_throw(context, *best.fatal.while_printing);
        choose_stack(context, best);
        if (const go::Goroutine* asleep = sleeper(context)) tell_of_sleeper(context, *asleep);
        if (context.kind == report::CrashKind::abort) {
            fold_way_of_abort(context.frames);
            fold_way_of_abort(context.stack.frames);
        }
        fold_start(context.frames);
        fold_start(context.stack.frames);
        if (context.signal && context.fault == FaultClass::none)
            context.fault = classify_fault(process_, context.sent_again ? *context.sent_again : *context.signal,
                                           context.registers ? &*context.registers : nullptr);
    }

    /// It cut the traces short that people look for in the log, and its text is the last thing that stands there.
    void note_second_throw(CrashContext& context, const go::PhysicalFrame& frame) const {
        auto text = fatal_text(process_.memory, *process_.go, frame);
        context.notes.push_back(fmt::format("the {} in its log came second, while the runtime printed its traces",
                                            text ? "\"fatal error: " + *text + '"' : "fatal error"));
    }

    void fill_runtime_fatal(CrashContext& context, const Candidate& best, const go::Goroutine* goroutine) {
        context.runtime_function = best.fatal.death->name();
        context.frames = frames_from(best.stack, *best.fatal.death);
        auto noted = has_frame(best.stack, "runtime.sigpanic") ? noted_signal(best, goroutine) : std::nullopt;
        bool from_signal = noted.has_value();
        if (noted) {
            context.signal = noted->info;
            context.fault_address = noted->info.fault_address;
            recover_fault_registers(context, best, *noted);
        }
        if (context.runtime_function == "runtime.fatalpanic") {
            context.kind = report::CrashKind::go_panic;
            if (goroutine != nullptr) context.message = uncaught_panic(*goroutine);
            return;
        }
        context.kind = report::CrashKind::go_fatal;
        context.message = fatal_text(process_.memory, *process_.go, *best.fatal.death);
        // sigpanic throws "fault" (or "unexpected signal …") for what it will not turn into a panic: that is a plain
        // fault.
        if (from_signal && throws_for_signal(best.stack, *best.fatal.death)) context.kind = report::CrashKind::signal;
    }

    /// "all goroutines are asleep" is found on a thread that has nothing to do: the story is where the program waits,
    /// main first, as in the runtime's own trace.
    const go::Goroutine* sleeper(const CrashContext& context) const {
        if (!process_.goroutines || !context.deadlock()) return nullptr;
        const go::Goroutine* first = nullptr;
        for (auto& g : process_.goroutines->all)
            if (!g.system && g.status == go::Status::waiting && (first == nullptr || g.goid < first->goid)) first = &g;
        return first;
    }

    void tell_of_sleeper(CrashContext& context, const go::Goroutine& g) {
        go::StackWalker walker(process_.core, process_.memory, *process_.go, *process_.goroutines);
        go::GoStack stack = walker.walk(g, steps_, &*process_.images);
        if (stack.frames.empty()) return;
        context.goid = g.goid;
        context.goroutine = static_cast<std::size_t>(&g - process_.goroutines->all.data());
        context.frames = stack.frames;
        context.stack = std::move(stack);
    }

    /// A stack that begins with the faulting frame itself: the thread's own begins in the signal handler, or in
    /// runtime.raise.
    void choose_stack(CrashContext& context, Candidate& best) {
        bool fault = context.registers && context.registers->sp() && context.faulted();
        if (fault && process_.go && process_.goroutines) {
            go::StackWalker walker(process_.core, process_.memory, *process_.go, *process_.goroutines);
            context.stack = walker.walk_from(*context.registers, false, best.machine, steps_, &*process_.images);
            context.stack_from_registers = !context.stack.frames.empty();
        }
        if (!context.stack_from_registers) {
            context.stack = std::move(best.stack);
            context.stack_from_registers = fault && !process_.go;
        }
    }

    /// The newest panic that nobody recovered.
    std::optional<std::string> uncaught_panic(const go::Goroutine& goroutine) {
        auto panics = go::read_panics(process_.memory, *process_.go, goroutine);
        for (auto& panic : panics.chain)
            if (!panic.recovered && !panic.goexit && !panic.value.empty()) return panic.value;
        return std::nullopt;
    }

    /// What the runtime's handler noted of a fault before it "called" sigpanic.
    struct NotedSignal {
        SignalInfo info;
        Address address, pc;
    };
    std::optional<NotedSignal> noted_signal(const Candidate& best, const go::Goroutine* goroutine) {
        auto make = [](std::uint32_t number, std::uint64_t code, Address address, Address pc) {
            NotedSignal noted{{}, address, pc};
            noted.info.number = static_cast<int>(number);
            noted.info.code = static_cast<int>(code);
            if (noted.info.code > 0 && noted.info.code != SI_KERNEL) noted.info.fault_address = address;
            return noted;
        };
        if (goroutine != nullptr && goroutine->sig != 0)
            return make(goroutine->sig, goroutine->sig_code, goroutine->sig_address, goroutine->sig_pc);
        // Up to Go 1.20 a fault in C code runs sigpanic on the system stack: then g0 holds it.
        if (best.machine == nullptr) return std::nullopt;
        go::StructView g0(process_.memory, best.machine->g0);
        auto& fields = process_.go->layout().g;
        auto number = g0.get(fields.sig);
        auto code = g0.get(fields.sigcode0);
        auto address = g0.get(fields.sigcode1);
        auto pc = g0.get(fields.sigpc);
        if (!number || *number == 0 || !code || !address || !pc) return std::nullopt;
        return make(*number, *code, Address{*address}, *pc);
    }

    // The handler of a fault in Go code rewrites the saved context to "call" sigpanic and returns. The kernel's frame
    // stays on the signal stack until the next signal: when its siginfo still equals what the runtime copied into g,
    // its registers are those of the faulting instruction, but for rip and rsp, which are undone here.
    void recover_fault_registers(CrashContext& context, const Candidate& best, const NotedSignal& noted) {
        if (best.machine == nullptr) return;
        for (auto& frame : find_signal_frames(process_.memory, process_.core.machine(), best.machine->gsignal_stack)) {
            if (frame.info.number != noted.info.number || frame.info.code != noted.info.code) continue;
            if (frame.info.fault_address && *frame.info.fault_address != noted.address) continue;
            auto pc = frame.registers.pc();
            auto target = pc ? process_.go->find_func(*pc) : std::nullopt;
            if (!target || !target->name.starts_with("runtime.sigpanic")) continue;
            Registers registers = frame.registers;
            if (auto sp = registers.sp()) {
                auto pushed = process_.memory.load_address(*sp);
                if (pushed && *pushed == noted.pc) registers.set_sp(*sp + 8);
            }
            registers.set_pc(noted.pc);
            context.registers = registers;
            context.registers_from =
                "kernel's signal frame, still whole on the signal stack of thread " + std::to_string(best.machine->tid);
            return;
        }
        // Overwritten: the signal that ended the process used the same place. What the unwinder knows of the frame
        // remains.
        auto& stack = best.stack.physical;
        auto faulting = std::ranges::find_if(stack, [&](auto& frame) { return frame.pc == noted.pc; });
        if (faulting == stack.end()) return;
        Registers registers(process_.core.machine());
        registers.set_pc(noted.pc);
        registers.set_sp(faulting->sp);
        if (!faulting->bp.is_null()) registers.set_fp(faulting->bp);
        context.registers = registers;
        context.registers_from =
            "g.sigpc and the unwound frame; the kernel's copy of the others was overwritten by a later signal";
    }

    void fill_signal(CrashContext& context, const SignalFrame& signal, const Candidate& best) {
        context.signal = signal.info;
        context.fault_address = signal.info.fault_address;
        context.registers = signal.registers;
        context.registers_from = "signal frame of thread " + std::to_string(best.thread->tid);
        context.frames = frames_below_signal(best.stack);
        set_signal_kind(context, context.frames);
    }

    void fill_kernel(CrashContext& context, const ThreadState& dying, const Candidate& best) {
        auto info = dying.signal;
        if (!info && dying.current_signal != 0) {
            info.emplace();
            info->number = dying.current_signal;
        }
        context.registers = dying.registers;
        context.registers_from = "thread " + std::to_string(dying.tid);
        // A debugger stops a process by SIGSTOP, or by a SIGTRAP of which nothing is known.
        bool noted = info && info->number == SIGTRAP && (info->code > 0 || info->sender_pid);
        bool stopped = info && (info->number == SIGSTOP || (info->number == SIGTRAP && !noted));
        const bool recoverable = attached_before_panic(dying);
        bool by_debugger = process_.core.written_by_gcore() && !(info && ends_process(*info) && !recoverable);
        if (by_debugger || stopped || !info || info->number == 0) {
            context.kind = report::CrashKind::requested;
            if (info && info->number != 0 && !stopped && !recoverable) context.signal = info;
            context.runtime_function = "gcore";
            return;
        }
        context.signal = info;
        context.fault_address = info->fault_address;
        set_signal_kind(context, best.stack.frames);
        if (context.kind == report::CrashKind::signal && info->code <= 0) find_fault_sent_again(context);
    }

    /// A handler that sends its signal once more, with the default action, and returns: the signal that ended the
    /// process has no address, but it was delivered at the very instruction that had faulted.
    void find_fault_sent_again(CrashContext& context) {
        auto pc = context.registers->pc();
        const std::byte* before = pc ? process_.memory.data_at(*pc - 2, 2) : nullptr;
        bool after_system_call = before != nullptr && before[0] == std::byte{0x0f} && before[1] == std::byte{0x05};
        if (before == nullptr || after_system_call) return;
        context.sent_again = deduce_fault(process_, *context.registers, context.signal->number);
        if (!context.sent_again) return;
        context.fault_address = context.sent_again->fault_address;
        context.notes.push_back(
            "the signal was sent once more by the process itself, as handlers do: the fault is "
            "what the instruction at its pc cannot do");
    }

    void set_signal_kind(CrashContext& context, std::span<const report::Frame> frames) {
        auto& info = *context.signal;
        if (info.code > 0) {
            context.kind = report::CrashKind::signal;
            return;
        }
        if (calls_abort(frames)) return fill_abort(context, frames);
        auto own_pid = process_.core.process_info() ? std::optional(process_.core.process_info()->pid) : std::nullopt;
        bool own = info.code == SI_TKILL || (own_pid && info.sender_pid && *info.sender_pid == *own_pid);
        // A stripped libc hides abort's name; SIGABRT raised by C code for its own thread is what abort does.
        // Without the executable nobody can tell C from Go.
        bool can_tell = !process_.go || !process_.go->modules().empty();
        bool from_c = can_tell && !frames.empty() && frames.front().kind == report::FrameKind::native && own;
        // A watchdog's kill(getpid()) reaches whichever thread the kernel picks: that one aborted nothing.
        bool own_hand = info.code == SI_TKILL || stands_in_kill(context);
        if (info.number == SIGABRT && from_c && own_hand) return fill_abort(context, frames);
        // A fault's signal is no way to ask for a core: whoever sends it to himself dies of it, and what the kernel
        // sends for a limit looks as if the process had sent it.
        context.kind = own && ends_by_itself(info.number) ? report::CrashKind::signal : report::CrashKind::requested;
    }

    static bool stands_in_kill(const CrashContext& context) {
        constexpr std::uint64_t kill_call = 62, rt_sigqueueinfo = 129;  // x86-64
        auto call = context.registers ? context.registers->get("orig_rax") : std::nullopt;
        return call && (*call == kill_call || *call == rt_sigqueueinfo);
    }

    void fill_abort(CrashContext& context, std::span<const report::Frame> frames) {
        context.kind = report::CrashKind::abort;
        if (calls_abort(frames)) context.runtime_function = "abort";
        context.message = abort_message(process_.memory, *process_.images);
        const ThreadState* thread = context.tid ? thread_of(process_.core, *context.tid) : nullptr;
        if (context.message || thread == nullptr) return;
        if (auto death = find_cxx_death(process_.memory, *thread, frames)) {
            context.message = std::move(death->message);
            context.why = std::move(death->why);
            context.exception = std::move(death->exception);
        }
    }

    const Process& process_;
    std::vector<UnwindStep> steps_;
};

}  // namespace

CrashContext find_crash_context(const Process& process) { return Finder(process).find(); }

}  // namespace incident
