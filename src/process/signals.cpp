// Signals: names, and the kernel's signal frames. struct rt_sigframe of x86-64 (arch/x86/include/asm/sigframe.h):
//   +0 pretcode   +8 ucontext {flags, link, ss_sp, ss_flags, ss_size, mcontext 256, sigmask 8}   +312 siginfo
// A frame is known by what the kernel wrote into it: ss_sp and ss_size name the very stack that it lies on.
#include <sys/types.h>

#include <algorithm>
#include <array>
#include <csignal>
#include <span>

#include "core/notes.h"
#include "process/crash_context.h"

namespace incident {

namespace {

struct Name {
    int number;
    std::string_view text;
};
#define INCIDENT_NAME(constant) {constant, #constant}
constexpr Name names[] = {
    INCIDENT_NAME(SIGHUP),  INCIDENT_NAME(SIGINT),    INCIDENT_NAME(SIGQUIT), INCIDENT_NAME(SIGILL),
    INCIDENT_NAME(SIGTRAP), INCIDENT_NAME(SIGABRT),   INCIDENT_NAME(SIGBUS),  INCIDENT_NAME(SIGFPE),
    INCIDENT_NAME(SIGKILL), INCIDENT_NAME(SIGUSR1),   INCIDENT_NAME(SIGSEGV), INCIDENT_NAME(SIGUSR2),
    INCIDENT_NAME(SIGPIPE), INCIDENT_NAME(SIGALRM),   INCIDENT_NAME(SIGTERM), INCIDENT_NAME(SIGSTKFLT),
    INCIDENT_NAME(SIGCHLD), INCIDENT_NAME(SIGCONT),   INCIDENT_NAME(SIGSTOP), INCIDENT_NAME(SIGTSTP),
    INCIDENT_NAME(SIGTTIN), INCIDENT_NAME(SIGTTOU),   INCIDENT_NAME(SIGURG),  INCIDENT_NAME(SIGXCPU),
    INCIDENT_NAME(SIGXFSZ), INCIDENT_NAME(SIGVTALRM), INCIDENT_NAME(SIGPROF), INCIDENT_NAME(SIGWINCH),
    INCIDENT_NAME(SIGIO),   INCIDENT_NAME(SIGPWR),    INCIDENT_NAME(SIGSYS)};

struct CodesOf {
    int signal;  ///< 0: any
    std::span<const Name> codes;
};
constexpr Name segv[] = {INCIDENT_NAME(SEGV_MAPERR), INCIDENT_NAME(SEGV_ACCERR), INCIDENT_NAME(SEGV_BNDERR),
                         INCIDENT_NAME(SEGV_PKUERR)};
constexpr Name bus[] = {INCIDENT_NAME(BUS_ADRALN), INCIDENT_NAME(BUS_ADRERR), INCIDENT_NAME(BUS_OBJERR),
                        INCIDENT_NAME(BUS_MCEERR_AR), INCIDENT_NAME(BUS_MCEERR_AO)};
constexpr Name fpe[] = {INCIDENT_NAME(FPE_INTDIV), INCIDENT_NAME(FPE_INTOVF), INCIDENT_NAME(FPE_FLTDIV),
                        INCIDENT_NAME(FPE_FLTOVF), INCIDENT_NAME(FPE_FLTUND), INCIDENT_NAME(FPE_FLTRES),
                        INCIDENT_NAME(FPE_FLTINV), INCIDENT_NAME(FPE_FLTSUB)};
constexpr Name ill[] = {INCIDENT_NAME(ILL_ILLOPC), INCIDENT_NAME(ILL_ILLOPN), INCIDENT_NAME(ILL_ILLADR),
                        INCIDENT_NAME(ILL_ILLTRP), INCIDENT_NAME(ILL_PRVOPC)};
constexpr Name trap[] = {INCIDENT_NAME(TRAP_BRKPT), INCIDENT_NAME(TRAP_TRACE), INCIDENT_NAME(TRAP_BRANCH),
                         INCIDENT_NAME(TRAP_HWBKPT)};
constexpr Name sys[] = {{1, "SYS_SECCOMP"}};  // asm-generic/siginfo.h; glibc 2.36 has no name for it
constexpr Name any[] = {INCIDENT_NAME(SI_USER),  INCIDENT_NAME(SI_QUEUE),   INCIDENT_NAME(SI_TIMER),
                        INCIDENT_NAME(SI_MESGQ), INCIDENT_NAME(SI_ASYNCIO), INCIDENT_NAME(SI_SIGIO),
                        INCIDENT_NAME(SI_TKILL), INCIDENT_NAME(SI_KERNEL)};
#undef INCIDENT_NAME
constexpr CodesOf code_names[] = {{SIGSEGV, segv}, {SIGBUS, bus}, {SIGFPE, fpe}, {SIGILL, ill},
                                  {SIGTRAP, trap}, {SIGSYS, sys}, {0, any}};

std::string_view name_of(std::span<const Name> names_of_kind, int number) {
    auto row = std::ranges::find(names_of_kind, number, &Name::number);
    return row == names_of_kind.end() ? std::string_view() : row->text;
}

constexpr std::uint64_t ucontext_at = 8, siginfo_at = 312, frame_size = siginfo_at + 128;
constexpr std::uint64_t error_at = ucontext_at + 40 + 19 * 8;  // err, trapno, oldmask, cr2: the last of the gregs

}  // namespace

std::string_view signal_name(int number) { return name_of(names, number); }

std::string_view signal_code_name(int number, int code) {
    for (const auto& [signal, codes] : code_names)
        if (signal == number || signal == 0)
            if (auto name = name_of(codes, code); !name.empty()) return name;
    return {};
}

std::optional<SignalFrame> read_signal_frame(const Memory& memory, const Machine& machine, Address at) {
    MemoryCursor cursor(memory);
    std::array<std::byte, 24> siginfo;
    if (!memory.load(at + siginfo_at, siginfo)) return std::nullopt;
    SignalFrame frame{at, parse_siginfo(siginfo).value_or(SignalInfo{}), Registers(machine)};
    if (frame.info.number < 0 || frame.info.number > SIGRTMAX) frame.info.number = 0;
    for (unsigned i = 0; i < machine.registers.size(); ++i) {
        auto offset = machine.registers[i].ucontext_offset;
        std::uint64_t value = 0;
        if (offset >= 0 && cursor.load(at + ucontext_at + static_cast<std::uint64_t>(offset), value))
            frame.registers.set(i, value);
    }
    if (!frame.registers.pc() || !frame.registers.sp()) return std::nullopt;
    std::uint64_t cr2 = 0;
    if (cursor.load(at + error_at, frame.trap_error) && cursor.load(at + error_at + 8, frame.trap) &&
        cursor.load(at + error_at + 24, cr2))
        frame.trap_address = Address{cr2};
    return frame;
}

std::vector<SignalFrame> find_signal_frames(const Memory& memory, const Machine& machine, AddressRange stack) {
    std::vector<SignalFrame> found;
    constexpr std::uint64_t longest_signal_stack = 1 << 20;  // Go's is 32 KiB; C programs seldom use more than SIGSTKSZ
    if (stack.size() < frame_size || stack.size() > longest_signal_stack) return found;
    MemoryCursor cursor(memory);
    for (Address at = stack.begin; at + frame_size <= stack.end; at += 8) {
        std::uint64_t ss_sp = 0, ss_size = 0;
        if (!cursor.load(at + ucontext_at + 16, ss_sp) || ss_sp != stack.begin.value) continue;
        if (!cursor.load(at + ucontext_at + 32, ss_size) || ss_size == 0 || ss_size > stack.size()) continue;
        if (auto frame = read_signal_frame(memory, machine, at); frame && frame->info.number != 0)
            found.push_back(*frame);
    }
    return found;
}

std::string_view to_string(FaultClass fault) {
    switch (fault) {
        case FaultClass::none: return "none";
        case FaultClass::nil_dereference: return "nil dereference";
        case FaultClass::non_canonical: return "non-canonical address";
        case FaultClass::wild_jump: return "jump to a non-canonical address";
        case FaultClass::misaligned: return "misaligned access";
        case FaultClass::privileged: return "privileged instruction";
        case FaultClass::unexplained: return "no fault of this instruction's";
        case FaultClass::stack_overflow: return "stack overflow";
        case FaultClass::guard_page: return "page without access";
        case FaultClass::unmapped: return "unmapped address";
        case FaultClass::read_only: return "write to read-only memory";
        case FaultClass::not_executable: return "jump to memory that is not code";
        case FaultClass::bus_error: return "bus error";
        case FaultClass::no_page: return "bus error outside of files";
        case FaultClass::bad_memory: return "memory failure";
        case FaultClass::other: return "other";
    }
    return "unknown";
}

bool is_fault(int number) { return number == SIGSEGV || number == SIGBUS || number == SIGFPE || number == SIGILL; }

bool ends_by_itself(int number) {
    return is_fault(number) || number == SIGTRAP || number == SIGXCPU || number == SIGXFSZ || number == SIGSYS;
}

bool ends_process(const SignalInfo& info) { return (is_fault(info.number) && info.code > 0) || info.number == SIGABRT; }

int weight_of(const SignalInfo& info) {
    // Those of which the runtime dies and leaves a core. All others (a child's end, a timer, preemption) are a
    // healthy program's, also where their code is positive.
    const bool deadly = is_fault(info.number) || info.number == SIGTRAP || info.number == SIGABRT ||
                        info.number == SIGQUIT || info.number == SIGSYS || info.number == SIGSTKFLT;
    if (!deadly) return 0;
    return info.code > 0 ? 3 : 1;
}

}  // namespace incident
