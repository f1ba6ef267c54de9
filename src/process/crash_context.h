// CrashContext: what the process died of, read from the bytes. The crashing context is not the top frame: a Go process
// that dies with GOTRACEBACK=crash re-raises SIGABRT, after its threads were stopped one by one, so the core's own
// signal and registers show runtime.raise. The real fault is in a kernel signal frame on a signal stack, or in g.sig*
// of the goroutine.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "core/core_file.h"
#include "core/machine.h"
#include "go/stacks/walk.h"
#include "native/exceptions.h"
#include "report/report.h"

namespace incident {

struct Process;

/// Why a faulting access failed.
enum class FaultClass : std::uint8_t {
    none,
    nil_dereference,  ///< address below the first page
    non_canonical,    ///< si_code 0x80: the kernel gives no address
    wild_jump,        ///< the same, for the target of a call, jump or return
    misaligned,       ///< the same, for an instruction that wants 16 bytes or more aligned
    privileged,       ///< the same, for an instruction that only the kernel may execute
    unexplained,      ///< the same, and nothing that the instruction does can have faulted so
    stack_overflow,   ///< guard page next to a stack
    guard_page,       ///< mapped without any permission
    unmapped,
    read_only,       ///< mapped, not writable
    not_executable,  ///< jump to data
    bus_error,       ///< of a file's page, or of who knows what's
    no_page,         ///< a bus error where no file is mapped
    bad_memory,      ///< the processor said so (machine check)
    other,
};

/// The kernel's signal frame, found on a signal stack.
struct SignalFrame {
    Address at;  ///< of rt_sigframe
    SignalInfo info;
    Registers registers;  ///< of the interrupted context
    /// What the processor reported last to this thread: exception, error code, cr2. Old when the signal is no fault's.
    std::uint64_t trap = 0, trap_error = 0;
    Address trap_address;
};

struct CrashContext {
    report::CrashKind kind = report::CrashKind::signal;
    std::optional<SignalInfo> signal;  ///< the real one
    std::optional<Address> fault_address;
    FaultClass fault = FaultClass::none;
    std::optional<Registers> registers;    ///< of the faulting context; empty when it is gone (a Go panic's)
    std::string registers_from;            ///< "signal frame of thread 8812", "thread 8812"
    std::optional<std::int32_t> tid;       ///< thread that died
    std::optional<std::size_t> goroutine;  ///< index into Process::goroutines->all
    std::optional<std::int64_t> goid;
    std::optional<std::string> message;  ///< panic or fatal text, abort message, what std::terminate() was called for
    std::string why;                     ///< of an abort: one clause; empty: nothing is known
    std::optional<native::CxxException> exception;  ///< that nothing caught
    std::optional<SignalInfo> sent_again;           ///< the fault of whose signal `signal` is the repetition, deduced
    std::string runtime_function;                   ///< runtime.throw, runtime.fatal, runtime.fatalpanic, abort …
    std::vector<report::Frame> frames;              ///< of the dying context, innermost first
    go::GoStack stack;  ///< what to annotate: from the faulting context when its registers are known, else
                        ///< from the dying thread's
    bool stack_from_registers = false;  ///< its innermost frame is that of `registers`
    std::vector<std::string> notes;

    /// `registers` are those of an instruction that faulted.
    bool faulted() const { return signal && (signal->code > 0 || sent_again); }
    /// "all goroutines are asleep - deadlock!", "no goroutines (main called runtime.Goexit) - deadlock!".
    bool deadlock() const { return kind == report::CrashKind::go_fatal && message && message->ends_with("deadlock!"); }
};

/// Needs the core, images and, in a Go process, its Ms; reads no heap and no other goroutine.
CrashContext find_crash_context(const Process& process);

/// Kernel signal frames on the stack [range): matched by the alternate stack that the saved ucontext names.
std::vector<SignalFrame> find_signal_frames(const Memory& memory, const Machine& machine, AddressRange stack);
/// The rt_sigframe at `at`, known to be one; nullopt: it cannot be. Signal 0: the kernel writes a siginfo only for
/// handlers that asked for one (SA_SIGINFO).
std::optional<SignalFrame> read_signal_frame(const Memory& memory, const Machine& machine, Address at);

/// "SIGSEGV", "SEGV_MAPERR"; empty when unknown.
std::string_view signal_name(int number);
std::string_view signal_code_name(int number, int code);
/// SIGSEGV, SIGBUS, SIGFPE, SIGILL.
bool is_fault(int number);
/// Signals that nobody sends to get a core.
bool ends_by_itself(int number);
/// Not what a debugger stops a process with.
bool ends_process(const SignalInfo& info);
/// Of several that a thread handles at once, which is its death; 0: none.
int weight_of(const SignalInfo& info);
/// The signal of a frame without siginfo: what the processor reported, if the interrupted instruction can do that.
std::optional<SignalInfo> signal_of_trap(const Process& process, const SignalFrame& frame);
/// What the kernel would have said of the instruction at pc: nullopt when nothing of it can fault with this signal.
std::optional<SignalInfo> deduce_fault(const Process& process, const Registers& registers, int number);
FaultClass classify_fault(const Process& process, const SignalInfo& info, const Registers* registers);
std::string_view to_string(FaultClass fault);

}  // namespace incident
