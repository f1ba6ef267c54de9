// One walk over Go frames. The rules are the runtime's (src/runtime/traceback.go, unwinder): cfa = sp + spdelta + 8,
// the return address below it; a frame under sigpanic or asyncPreempt was interrupted, not called. Beyond the runtime
// we also follow threads through signal handlers and system stacks, as its crash traceback does, and C code.
#include <elf.h>
#include <fmt/format.h>

#include <algorithm>

#include "go/stacks/walk_state.h"

namespace incident::go {

namespace {

constexpr std::size_t trim_slack = 4096;  // frames taken beyond the limit before the middle is dropped
constexpr unsigned max_switches = 4096;   // stack switches of one walk: callbacks nest as deep as the C stack allows

bool is_injected(const Func& func) {
    // go1.27 src/runtime/traceback.go, isInjectedCall: the callee was not called, its "caller" was interrupted.
    return func.special == SpecialFunc::sigpanic || func.special == SpecialFunc::async_preempt ||
           func.name == "runtime.debugCallV2";
}

bool is_bottom(const Func& func) {
    if (func.special == SpecialFunc::goexit || func.special == SpecialFunc::mstart ||
        func.special == SpecialFunc::rt0_go)
        return true;
    return func.top_frame() && func.special != SpecialFunc::sigtramp;
}

}  // namespace

const Goroutine* Walk::current_goroutine() const {
    if (machine_ == nullptr || machine_->curg.is_null()) return nullptr;
    return in_.list.at(machine_->curg);
}

Walk::Next Walk::finish(std::string why, bool complete) {
    stack_.end = std::move(why);
    stack_.complete = complete;
    return Next::end;
}

PhysicalFrame& Walk::push(const Context& context, const CodePoint* code) {
    PhysicalFrame& frame = stack_.physical.emplace_back();
    if (context.owner == StackOwner::goroutine) on_goroutine_ = true;
    frame.code = code;
    frame.pc = context.pc;
    frame.sp = context.sp;
    frame.bp = context.bp;
    frame.after_call = context.after_call;
    frame.trust = context.trust;
    frame.owner = context.owner;
    frame.kind = code != nullptr && code->func ? report::FrameKind::go : report::FrameKind::native;
    return frame;
}

/// Which stack these registers stand on.
Context Walk::context_of(const Registers& registers, bool after_call) {
    Context context;
    context.registers = registers;
    context.pc = registers.pc().value_or(Address{});
    context.sp = registers.sp().value_or(Address{});
    context.bp = registers.fp().value_or(Address{});
    context.after_call = after_call;
    context.trap = !after_call;
    context.trust = report::Trust::context;
    const Goroutine* g = goroutine_ != nullptr ? goroutine_ : current_goroutine();
    if (machine_ != nullptr && machine_->gsignal_stack.contains(context.sp)) {
        context.owner = StackOwner::signal;
        context.stack = machine_->gsignal_stack;
    } else if (g != nullptr && g->stack.contains(context.sp)) {
        context.owner = StackOwner::goroutine;
        context.stack = g->stack;
    } else {
        // g0's own bounds are a guess in cgo programs; the mapping is what binds.
        context.owner = StackOwner::system;
        const Segment* segment = in_.memory.find(context.sp);
        context.stack = segment != nullptr ? segment->range : AddressRange{};
    }
    return context;
}

/// Where the runtime left a goroutine that does not run.
Context Walk::saved_context(const Goroutine& g) {
    Context context;
    const bool in_syscall = !g.syscall_sp.is_null();
    context.pc = in_syscall ? g.syscall_pc : g.sched_pc;
    context.sp = in_syscall ? g.syscall_sp : g.sched_sp;
    context.bp = in_syscall ? g.syscall_bp : g.sched_bp;
    context.owner = StackOwner::goroutine;
    context.stack = g.stack;
    context.trust = report::Trust::context;
    return context;
}

void Walk::goroutine(const Goroutine& g) {
    goroutine_ = &g;
    machine_ = in_.list.machine(!g.m.is_null() ? g.m : g.locked_m);
    if (machine_ != nullptr) in_.callback_sp = machine_->g0_sched_sp;

    const bool on_thread = g.status == Status::running || (g.status == Status::syscall && !in_.native_steps.empty());
    const Machine_m* runs_on = in_.list.machine(g.m);
    if (!on_thread || runs_on == nullptr || runs_on->curg != g.g) {
        if (g.status == Status::running && g.syscall_sp.is_null()) {
            finish("it was running, on a thread that the core does not show", false);
            return;
        }
        return run(saved_context(g));
    }
    const auto threads = in_.core.threads();
    auto thread = std::find_if(threads.begin(), threads.end(),
                               [&](const ThreadState& t) { return runs_on->tid != 0 && t.tid == runs_on->tid; });
    if (thread == threads.end()) {
        if (!g.syscall_sp.is_null()) return run(saved_context(g));
        finish("it was running, on a thread that the core does not show", false);
        return;
    }
    machine_ = runs_on;
    Context context = context_of(thread->registers, false);
    for (int nested = 0; context.owner == StackOwner::signal && nested < 8; ++nested) {
        auto interrupted = find_interrupted(in_.memory, in_.runtime, *machine_, *context.registers);
        if (!interrupted) break;
        context = context_of(interrupted->registers, false);
    }
    // In a plain system call the runtime saved where Go left off; the few instructions since are of no interest. C code
    // under a cgo call is.
    if (!g.syscall_sp.is_null() && context.owner == StackOwner::goroutine) context = saved_context(g);
    run(context);
}

void Walk::thread(const ThreadState& thread) {
    machine_ = in_.list.machine_of_thread(thread.tid);
    from(thread.registers, false, machine_);
}

void Walk::from(const Registers& registers, bool after_call, const Machine_m* machine) {
    machine_ = machine;
    if (machine_ != nullptr) in_.callback_sp = machine_->g0_sched_sp;
    goroutine_ = current_goroutine();
    run(context_of(registers, after_call));
}

void Walk::run(Context context) {
    stack_.physical.reserve(12);
    for (;;) {
        while (step(context) == Next::go_on) {
            if (stack_.physical.size() >= in_.limit + trim_slack) trim();
        }
        // C code or a system stack that could not be walked down to its Go caller: the runtime noted where Go left off.
        if (stack_.complete || on_goroutine_ || goroutine_ == nullptr) break;
        on_goroutine_ = true;
        const CodePoint* saved = in_.code.at(goroutine_->sched_pc, true);
        const bool switched =
            saved->is(SpecialFunc::systemstack_switch) && goroutine_->stack.contains(goroutine_->sched_sp);
        if (goroutine_->syscall_sp.is_null() && !switched) break;
        context = saved_context(*goroutine_);
        context.trust = report::Trust::pclntab;
    }
    trim();
}

/// Of a deep stack (a stack overflow has millions of frames) keeps the innermost and the outermost.
void Walk::trim() {
    if (stack_.physical.size() <= in_.limit) return;
    const std::size_t outer = std::min(in_.outer, in_.limit / 2);
    stack_.elided_at = in_.limit - outer;
    const std::size_t count = stack_.physical.size() - in_.limit;
    auto first = stack_.physical.begin() + static_cast<std::ptrdiff_t>(stack_.elided_at);
    stack_.physical.erase(first, first + static_cast<std::ptrdiff_t>(count));
    stack_.elided += count;
}

Walk::Next Walk::step(Context& context) {
    if (context.pc.is_null() && stack_.physical.empty()) {
        // A call of a nil func: the caller's return address is on top.
        Address caller;
        if (!load(context.sp, caller))
            return finish(fmt::format("pc is 0 and the stack at {:#x} is not in the core", context.sp.value), false);
        context.pc = caller;
        context.sp += 8;
        context.after_call = true;
        context.registers.reset();
    }
    const CodePoint* code = in_.code.at(context.pc, context.after_call);
    if (!code->func) {
        if (context.trap && machine_ != nullptr && !machine_->vdso_sp.is_null() && !machine_->vdso_pc.is_null()) {
            // In the vDSO on the system stack; the runtime notes whose call it is (m.vdsoPC, vdsoSP).
            push(context, code);
            Registers caller(in_.core.machine());
            caller.set_pc(machine_->vdso_pc);
            caller.set_sp(machine_->vdso_sp);
            context = context_of(caller, true);
            context.trust = report::Trust::pclntab;
            context.registers.reset();
            return Next::go_on;
        }
        if (in_.runtime.modules().empty() && context.owner == StackOwner::goroutine) return step_raw(context);
        return step_native(context);
    }
    PhysicalFrame& frame = push(context, code);
    return caller(context, frame, *code);
}

Walk::Next Walk::caller(Context& context, PhysicalFrame& frame, const CodePoint& code) {
    const Func& func = *code.func;
    const bool on_system_stack = context.owner != StackOwner::goroutine;
    const bool innermost = stack_.physical.size() == 1;

    if (on_system_stack) {
        switch (func.special) {
            case SpecialFunc::systemstack:
            case SpecialFunc::mcall:
            case SpecialFunc::morestack: return switch_stack(context, frame, func.special);
            case SpecialFunc::asmcgocall: return from_asmcgocall(context, frame, code);
            default: break;
        }
    }
    if (func.special == SpecialFunc::gogo) return finish("in runtime.gogo, between two stacks", false);
    if (!code.sp_delta || *code.sp_delta < 0)
        return by_frame_pointer(context, frame, fmt::format("{} has no sp delta here", func.name));
    // Functions that move sp by hand (TEXT … SPWRITE): what the table says holds at their entry only. The runtime ends
    // there too, but for cgocallback, which keeps both its stacks walkable, and for the pc that entersyscall saved.
    const bool saved_syscall = innermost && goroutine_ != nullptr && context.pc == goroutine_->syscall_pc &&
                               context.sp == goroutine_->syscall_sp;
    const bool known = func.special == SpecialFunc::cgocallback || func.special == SpecialFunc::sigtramp ||
                       func.special == SpecialFunc::asmcgocall || func.special == SpecialFunc::systemstack ||
                       is_bottom(func);
    if (func.sp_write() && !known && !saved_syscall) {
        if (innermost && machine_ != nullptr && !machine_->vdso_sp.is_null()) {
            context.pc = machine_->vdso_pc;
            context.sp = machine_->vdso_sp;
            context.after_call = true;
            context.registers.reset();
            if (goroutine_ != nullptr && goroutine_->stack.contains(context.sp)) {
                context.owner = StackOwner::goroutine;
                context.stack = goroutine_->stack;
            }
            return Next::go_on;
        }
        return by_frame_pointer(context, frame, fmt::format("{} moves sp by hand", func.name));
    }

    frame.cfa = context.sp + static_cast<std::uint64_t>(*code.sp_delta) + 8;
    if (func.special == SpecialFunc::sigtramp) return from_signal(context, PhysicalFrame(frame));
    if (is_bottom(func)) {
        if (context.owner == StackOwner::system && under_go(context, frame, code) == Next::go_on) return Next::go_on;
        frame.cfa = {};
        return finish(func.special == SpecialFunc::goexit ? "goexit"
                      : func.special == SpecialFunc::none ? std::string(func.name)
                                                          : "start of the thread",
                      true);
    }
    Address caller_pc;
    if (!context.sp.is_aligned(8) || frame.cfa <= context.sp || !context.stack.contains(frame.cfa - 8)) {
        std::string why =
            fmt::format("{}: its frame {:#x}–{:#x} leaves the stack", func.name, context.sp.value, frame.cfa.value);
        frame.cfa = {};
        return by_frame_pointer(context, frame, std::move(why));
    }
    if (!load(frame.cfa - 8, caller_pc))
        return finish(fmt::format("return address at {:#x} is not in the core", (frame.cfa - 8).value), false);

    // The prologue saves rbp just below the return address in every function that has a frame.
    Address caller_bp = context.bp;
    if (*code.sp_delta >= 8) {
        frame.frame_has_saved_bp = true;
        if (!load(frame.cfa - 16, caller_bp)) caller_bp = {};
    }
    const Address cfa = frame.cfa;
    context.registers.reset();
    if (func.special == SpecialFunc::cgocallback && context.owner == StackOwner::goroutine) {
        join_callback(PhysicalFrame(frame));  // pushes frames: `frame` is dangling from here on
    } else if (func.name == "crosscall2" && on_system_stack) {
        context.registers = registers_under_crosscall2(frame, caller_pc);
    }
    context.after_call = !is_injected(func);
    context.trap = !context.after_call;
    context.trust = report::Trust::pclntab;
    context.sp = cfa;
    context.pc = caller_pc;
    context.bp = caller_bp;
    if (caller_pc.is_null()) return finish("return address 0", false);
    const CodePoint* next = in_.code.at(caller_pc, context.after_call);
    if (!next->func && context.owner == StackOwner::system && !context.registers) {
        // Up to 1.20 a signal in C injects a call of sigpanic right onto the C stack.
        Registers& registers = context.registers.emplace(in_.core.machine());
        registers.set_pc(caller_pc);
        registers.set_sp(cfa);
        if (!caller_bp.is_null()) registers.set_fp(caller_bp);
    }
    if (!next->func && context.owner == StackOwner::goroutine) {
        return finish(fmt::format("return address {:#x} of {} is in no Go function", caller_pc.value, func.name),
                      false);
    }
    return Next::go_on;
}

/// A frame on the system stack that was entered from the goroutine which runs on this thread.
Walk::Next Walk::switch_stack(Context& context, const PhysicalFrame& frame, SpecialFunc special) {
    const Goroutine* g = current_goroutine();
    if (g == nullptr || context.owner == StackOwner::signal) {
        return start_of_system_stack(context, special == SpecialFunc::mcall
                                                  ? "scheduler"
                                                  : fmt::format("top of the system stack ({})", frame.name()));
    }
    if (++switches_ > max_switches) return finish("too many stack switches", false);
    return from_saved(context, *g, special == SpecialFunc::systemstack);
}

/// Goes on where `g` left its stack. `keep_pc`: systemstack returns there as itself, runtime.systemstack_switch only
/// marks it.
Walk::Next Walk::from_saved(Context& context, const Goroutine& g, bool keep_pc) {
    if (!g.stack.contains(g.sched_sp))
        return finish(fmt::format("the saved sp {:#x} is not on the goroutine's stack", g.sched_sp.value), false);
    const Address system_pc = context.pc;
    context = {};
    context.pc = g.sched_pc;
    context.sp = g.sched_sp;
    context.bp = g.sched_bp;
    context.owner = StackOwner::goroutine;
    context.stack = g.stack;
    goroutine_ = &g;
    if (keep_pc) {
        // The same frame, but with its sp on the goroutine's stack: not printed twice.
        const CodePoint* code = in_.code.at(system_pc, true);
        if (!code->sp_delta) return Next::go_on;
        PhysicalFrame frame = stack_.physical.back();
        stack_.physical.pop_back();
        context.pc = system_pc;
        frame.sp = context.sp;
        frame.bp = context.bp;
        frame.owner = StackOwner::goroutine;
        stack_.physical.push_back(frame);
        return caller(context, stack_.physical.back(), *code);
    }
    return Next::go_on;
}

/// asmcgocall on the thread's stack keeps {depth on the goroutine's stack, g}, or {sp, 0} when it was called on a
/// system stack: at sp+0 since go1.22, at sp+40 before (src/runtime/asm_amd64.s).
Walk::Next Walk::from_asmcgocall(Context& context, const PhysicalFrame& frame, const CodePoint& code) {
    const std::uint64_t saved = in_.runtime.version().at_least(22) ? 0 : 40;
    Address depth, g_address;
    if (!code.sp_delta || !load(context.sp + saved, depth) || !load(context.sp + saved + 8, g_address)) {
        return finish("runtime.asmcgocall's frame is not in the core", false);
    }
    if (++switches_ > max_switches) return finish("too many stack switches", false);
    Context next;
    next.pc = frame.pc;
    if (g_address.is_null()) {
        next.sp = depth;
        next.owner = StackOwner::system;
        next.stack = context.stack;
        if (depth <= context.sp) return finish("runtime.asmcgocall's saved sp does not rise", false);
    } else {
        const Goroutine* g = in_.list.at(g_address);
        if (g == nullptr || depth.value > g->stack.size()) {
            return finish(
                fmt::format("runtime.asmcgocall was entered from {:#x}, which is no goroutine", g_address.value),
                false);
        }
        next.sp = g->stack.end - depth.value;
        next.owner = StackOwner::goroutine;
        next.stack = g->stack;
        goroutine_ = g;
    }
    PhysicalFrame moved = frame;
    stack_.physical.pop_back();
    moved.sp = next.sp;
    moved.bp = {};
    moved.owner = next.owner;
    stack_.physical.push_back(moved);
    context = next;
    if (context.owner == StackOwner::goroutine) return caller(context, stack_.physical.back(), code);
    // Called on the system stack: an ordinary frame at its old sp.
    PhysicalFrame& on_system = stack_.physical.back();
    on_system.cfa = context.sp + static_cast<std::uint64_t>(std::max(*code.sp_delta, 0)) + 8;
    Address caller_pc;
    if (!context.stack.contains(on_system.cfa - 8) || !load(on_system.cfa - 8, caller_pc))
        return finish("return address of runtime.asmcgocall is not in the core", false);
    context.pc = caller_pc;
    context.sp = on_system.cfa;
    return Next::go_on;
}

Walk::Next Walk::from_signal(Context& context, const PhysicalFrame& trampoline) {
    // The kernel's rt_sigframe: {return address of the restorer, ucontext_t, siginfo_t}; the trampoline's cfa is behind
    // the return address.
    const Address ucontext = trampoline.cfa;
    Registers current = context.registers.value_or(Registers(in_.core.machine()));
    auto interrupted = read_ucontext(in_.memory, in_.core.machine(), ucontext, current);
    if (!interrupted) return finish(fmt::format("no ucontext at {:#x} above runtime.sigtramp", ucontext.value), false);
    if (++switches_ > max_switches) return finish("too many stack switches", false);
    PhysicalFrame& kernel = stack_.physical.emplace_back();
    load(ucontext - 8, kernel.pc);
    kernel.code = in_.code.at(kernel.pc, false);
    kernel.sp = ucontext;
    kernel.cfa = interrupted->registers.sp().value_or(Address{});
    kernel.after_call = false;
    kernel.kind = report::FrameKind::signal;
    kernel.owner = StackOwner::signal;
    Context next = context_of(interrupted->registers, false);
    if (next.owner == StackOwner::signal && next.sp <= context.sp)
        return finish("the interrupted sp does not rise", false);
    context = next;
    return Next::go_on;
}

/// [bp] = caller's bp, [bp+8] = return address. None: rbp does not point into this stack above sp.
std::optional<Walk::SavedPair> Walk::saved_pair(const Context& context) {
    SavedPair pair;
    const bool on_stack = context.bp.is_aligned(8) && context.bp >= context.sp && context.stack.contains(context.bp);
    if (!on_stack || !load(context.bp, pair.bp) || !load(context.bp + 8, pair.pc)) return std::nullopt;
    return pair;
}

Walk::Next Walk::to_caller(Context& context, PhysicalFrame& frame, const SavedPair& saved) {
    frame.cfa = context.bp + 16;
    context = Context{.pc = saved.pc,
                      .sp = frame.cfa,
                      .bp = saved.bp,
                      .after_call = true,
                      .trap = false,
                      .owner = context.owner,
                      .stack = context.stack,
                      .trust = report::Trust::frame_pointer,
                      .registers = std::nullopt};
    return Next::go_on;
}

/// Without the executable there are no tables, only pcs: along the frame pointers, as far as they lead to code.
Walk::Next Walk::step_raw(Context& context) {
    PhysicalFrame& frame = push(context, in_.code.at(context.pc, context.after_call));
    frame.kind = report::FrameKind::go;
    auto is_code = [&](Address pc) {
        return std::ranges::any_of(in_.core.load_segments(), [&](const LoadSegment& s) {
            return (s.permissions & PF_X) != 0 && s.range.contains(pc);
        });
    };
    const auto saved = saved_pair(context);
    if (!saved || !is_code(saved->pc))
        return finish("end of the frame pointers; there is no function table without the executable",
                      context.bp.is_null());
    return to_caller(context, frame, *saved);
}

/// A fallback: the chain skips frameless functions.
Walk::Next Walk::by_frame_pointer(Context& context, PhysicalFrame& frame, std::string why) {
    const auto saved = saved_pair(context);
    if (!saved || !in_.code.at(saved->pc, true)->func || !may_be_return_address(in_.memory, saved->pc))
        return finish(std::move(why), false);
    frame.frame_has_saved_bp = true;
    return to_caller(context, frame, *saved);
}

}  // namespace incident::go
