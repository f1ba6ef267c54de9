// Signals: names, and the kernel's signal frames. struct rt_sigframe of x86-64 (arch/x86/include/asm/sigframe.h):
//   +0 pretcode   +8 ucontext {flags, link, ss_sp, ss_flags, ss_size, mcontext 256, sigmask 8}   +312 siginfo
// A frame is known by what the kernel wrote into it: ss_sp and ss_size name the very stack that it lies on.
#include <sys/types.h>

#include <array>

#include "process/crash_context.h"

namespace incident {

namespace {

constexpr std::array<std::string_view, 32> names = {
    "",          "SIGHUP",  "SIGINT",    "SIGQUIT", "SIGILL",   "SIGTRAP", "SIGABRT", "SIGBUS",
    "SIGFPE",    "SIGKILL", "SIGUSR1",   "SIGSEGV", "SIGUSR2",  "SIGPIPE", "SIGALRM", "SIGTERM",
    "SIGSTKFLT", "SIGCHLD", "SIGCONT",   "SIGSTOP", "SIGTSTP",  "SIGTTIN", "SIGTTOU", "SIGURG",
    "SIGXCPU",   "SIGXFSZ", "SIGVTALRM", "SIGPROF", "SIGWINCH", "SIGIO",   "SIGPWR",  "SIGSYS"};

struct CodeName {
    int signal, code;
    std::string_view name;
};
constexpr CodeName code_names[] = {
    {11, 1, "SEGV_MAPERR"},  {11, 2, "SEGV_ACCERR"}, {11, 3, "SEGV_BNDERR"}, {11, 4, "SEGV_PKUERR"},
    {7, 1, "BUS_ADRALN"},    {7, 2, "BUS_ADRERR"},   {7, 3, "BUS_OBJERR"},   {7, 4, "BUS_MCEERR_AR"},
    {7, 5, "BUS_MCEERR_AO"}, {8, 1, "FPE_INTDIV"},   {8, 2, "FPE_INTOVF"},   {8, 3, "FPE_FLTDIV"},
    {8, 4, "FPE_FLTOVF"},    {8, 5, "FPE_FLTUND"},   {8, 6, "FPE_FLTRES"},   {8, 7, "FPE_FLTINV"},
    {8, 8, "FPE_FLTSUB"},    {4, 1, "ILL_ILLOPC"},   {4, 2, "ILL_ILLOPN"},   {4, 3, "ILL_ILLADR"},
    {4, 4, "ILL_ILLTRP"},    {4, 5, "ILL_PRVOPC"},   {5, 1, "TRAP_BRKPT"},   {5, 2, "TRAP_TRACE"},
    {31, 1, "SYS_SECCOMP"},
};
constexpr CodeName any_signal_code_names[] = {
    {0, 0, "SI_USER"},     {0, -1, "SI_QUEUE"}, {0, -2, "SI_TIMER"}, {0, -3, "SI_MESGQ"},
    {0, -4, "SI_ASYNCIO"}, {0, -5, "SI_SIGIO"}, {0, -6, "SI_TKILL"}, {0, 0x80, "SI_KERNEL"},
};

constexpr std::uint64_t ucontext_at = 8, siginfo_at = 312, frame_size = siginfo_at + 128;
constexpr std::uint64_t error_at = ucontext_at + 40 + 19 * 8;  // err, trapno, oldmask, cr2: the last of the gregs

bool synchronous(int number) { return number == 4 || number == 5 || number == 7 || number == 8 || number == 11; }

}  // namespace

std::string_view signal_name(int number) {
    return number > 0 && number < static_cast<int>(names.size()) ? names[static_cast<std::size_t>(number)]
                                                                 : std::string_view();
}

std::string_view signal_code_name(int number, int code) {
    for (auto& row : code_names)
        if (row.signal == number && row.code == code) return row.name;
    for (auto& row : any_signal_code_names)
        if (row.code == code) return row.name;
    return {};
}

std::optional<SignalFrame> read_signal_frame(const Memory& memory, const Machine& machine, Address at) {
    MemoryCursor cursor(memory);
    std::int32_t number = 0, code = 0;
    if (!cursor.load(at + siginfo_at, number) || !cursor.load(at + siginfo_at + 8, code)) return std::nullopt;
    if (number < 0 || number > 64) number = 0;
    SignalFrame frame{at, {}, Registers(machine)};
    frame.info.number = number;
    frame.info.code = code;
    std::uint64_t address = 0;
    std::int32_t pid = 0;
    std::uint32_t uid = 0;
    if (code > 0 && synchronous(number)) {
        // SI_KERNEL (0x80) carries no address: the kernel leaves 0 there, which is not "address 0".
        if (code != 0x80 && cursor.load(at + siginfo_at + 16, address)) frame.info.fault_address = Address{address};
    } else if (cursor.load(at + siginfo_at + 16, pid) && cursor.load(at + siginfo_at + 20, uid)) {
        frame.info.sender_pid = pid;
        frame.info.sender_uid = uid;
    }
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
            found.push_back(std::move(*frame));
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
        case FaultClass::stack_overflow: return "stack overflow";
        case FaultClass::guard_page: return "page without access";
        case FaultClass::unmapped: return "unmapped address";
        case FaultClass::read_only: return "write to read-only memory";
        case FaultClass::not_executable: return "jump to memory that is not code";
        case FaultClass::bus_error: return "bus error";
        case FaultClass::other: return "other";
    }
    return "unknown";
}

}  // namespace incident
