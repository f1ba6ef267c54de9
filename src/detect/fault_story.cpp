#include "detect/fault_story.h"

#include <fmt/format.h>

#include <algorithm>
#include <csignal>

#include "base/text.h"
#include "detect/telling.h"
#include "process/locate.h"
#include "process/snapshot.h"
#include "unwind/unwinder.h"

namespace incident::detect {

namespace {

/// The fault as the kernel would have told it, when a handler sent the signal once more.
const SignalInfo& fault_of(const CrashContext& crash) { return crash.sent_again ? *crash.sent_again : *crash.signal; }

bool in_go_code(const CrashContext& crash) {
    return !crash.frames.empty() && crash.frames.front().kind == report::FrameKind::go;
}

/// "`idiv ecx` divides by ecx, which was 0"
std::string tell_division(const FaultAccess& access, const Process& process, const CrashContext& crash,
                          std::string& title) {
    const Instruction& instruction = access.instruction;
    if (instruction.mnemonic != "div" && instruction.mnemonic != "idiv") return {};
    std::optional<std::uint64_t> divisor;
    unsigned bytes = 8;
    if (!instruction.memory.empty()) {
        auto slot = Disassembler::effective_address(instruction.memory.front(), *crash.registers);
        bytes = instruction.memory.front().size;
        std::uint64_t word = 0;
        if (slot && bytes <= 8 && process.memory.load(*slot, std::as_writable_bytes(std::span(&word, 1)).first(bytes)))
            divisor = word;
    } else if (instruction.operands.starts_with('r')) {
        divisor = crash.registers->get(instruction.operands);
    } else if (instruction.operands.starts_with('e')) {
        divisor = crash.registers->get("r" + instruction.operands.substr(1));
        bytes = 4;
    }
    if (!divisor) return {};
    if (bytes < 8) *divisor &= (std::uint64_t{1} << bytes * 8) - 1;
    title = *divisor == 0 ? "integer division by zero"
                          : "integer division overflow: the quotient does not fit (the smallest number by -1)";
    return fmt::format("`{}`: its divisor was {:#x}", readable_text(instruction), *divisor);
}

/// Signals that say of themselves what happened.
FaultStory tell_signal(const Process& process, const CrashContext& crash, const std::optional<FaultAccess>& access) {
    FaultStory story;
    if (!crash.signal) return {"died of a signal", {}};
    const SignalInfo& info = fault_of(crash);
    const std::string instruction = access ? access->instruction.mnemonic : std::string();
    story.title = "died of " + signal_words(*crash.signal);
    if (info.number == SIGFPE && signal_code_name(info.number, info.code) == "FPE_INTDIV") {
        story.title = "integer division by zero, or a quotient too large for its register";
        if (access) story.why = tell_division(*access, process, crash, story.title);
    } else if (info.code <= 0 && info.number != SIGXFSZ) {  // the kernel's own SIGXFSZ reads so, too
        story.title = fmt::format("the program sent itself {}", signal_name(info.number));
        story.why = "no instruction faulted: raise() or kill()";
    } else if (info.number == SIGILL && instruction.starts_with("ud")) {
        story.title = fmt::format("executed `{}`, which compilers put where nothing may come by", instruction);
        story.why = "__builtin_trap(), __builtin_unreachable(), a failed check of a hardened build";
    } else if (info.number == SIGILL) {
        story.title = fmt::format("illegal instruction{}{}",
                                  info.fault_address ? fmt::format(" at {:#x}", info.fault_address->value) : "",
                                  access ? fmt::format(": `{}`", readable_text(access->instruction)) : "");
        story.why = "code for a newer processor, or a jump into the middle of something";
    } else if (info.number == SIGTRAP) {
        story.title = "breakpoint instruction (int3) without a debugger";
        story.why = "a failed check (__debugbreak, CHECK), or padding that was jumped into";
    } else if (info.number == SIGSYS) {
        auto call = crash.registers ? crash.registers->get("orig_rax") : std::nullopt;
        story.title = call ? fmt::format("system call {} was refused by a seccomp filter", *call)
                           : "a system call was refused by a seccomp filter";
        story.why = "the sandbox's list of system calls (container, systemd, the program's own) does not allow it";
    } else if (info.number == SIGXCPU) {
        story.title = "used up its CPU time: SIGXCPU";
        story.why = "the limit RLIMIT_CPU (ulimit -t)";
    } else if (info.number == SIGXFSZ) {
        story.title = "wrote beyond its limit of file size: SIGXFSZ";
        story.why = "the limit RLIMIT_FSIZE (ulimit -f)";
    }
    return story;
}

/// "a frame of 16.8 MB": the stack overflowed at once.
std::string far_below(const Process& process, const CrashContext& crash) {
    auto sp = crash.registers ? crash.registers->sp() : std::nullopt;
    if (!sp || process.memory.is_mapped(*sp)) return "just below the stack";
    const AddressRange above = stack_range(process.memory, *sp);
    const Segment* stack = above.empty() ? nullptr : process.memory.find(above.end - 1);
    constexpr std::uint64_t page = 4096;
    if (stack == nullptr || stack->range.begin.value - sp->value < 16 * page) return "just below the stack";
    return fmt::format("below the stack: sp is {} below what there is of it, a local array or alloca() of that size",
                       human_size(stack->range.begin.value - sp->value));
}

/// Of an access without an operand, such as a push's or a ret's: "a stack pointer (0x4141414141414140)".
std::string stack_register(const CrashContext& crash, const Instruction& instruction) {
    const bool frame = instruction.mnemonic == "leave";
    if (!crash.registers || !instruction.memory.empty()) return "a value";
    const auto value = frame ? crash.registers->fp() : crash.registers->sp();
    return value ? fmt::format("a {} pointer ({:#x})", frame ? "frame" : "stack", value->value) : "a value";
}

std::string tell_registers(const Process& process, const CrashContext& crash, const FaultAccess& access,
                           std::string_view verb) {
    auto& machine = process.core.machine();
    auto reg = *access.bad_register;
    auto value = access.deduced ? access.deduced : crash.registers->get(reg);
    std::string why = fmt::format("`{}` {}s {}; {} was {}", readable_text(access.instruction), verb,
                                  operand_text(*access.operand, machine), machine.registers[reg].name,
                                  value ? hex(*value) + text_in(*value) : "unknown");
    if (access.deduced) why += " (the faulting address says so)";
    if (access.load) {
        why += fmt::format(", loaded from {} by the instruction at {:#x}", operand_text(access.load->from, machine),
                           access.load->pc.value);
        if (access.load->confirmed) why += fmt::format(" (the slot {:#x} still holds it)", access.load->slot->value);
    } else if (!access.source.empty()) {
        why += ", " + access.source;
    }
    return why;
}

/// How the process came to a pc that is no code. `ret` has taken the pc from the word below sp, and what lies at sp now
/// is data of the function that it returned to; a call would have left there where to return.
std::string_view way_to_no_code(const Process& process, const CrashContext& crash) {
    const auto sp = crash.registers ? crash.registers->sp() : std::nullopt;
    const auto pc = crash.registers ? crash.registers->pc() : std::nullopt;
    if (!sp || !pc || sp->value < 8) return "jump";
    const auto taken = process.memory.load_address(*sp - 8), next = process.memory.load_address(*sp);
    if (!taken || *taken != *pc) return "jump";
    const bool called = next && process.disassembler && process.disassembler->call_before(process.memory, *next);
    return called ? "jump" : "return";
}

/// "0x4cd56b (rodata: main.greeting)"; the address alone where nothing is.
std::string described(const Process& process, Address at) {
    const Placement place = process.locator->place(at);
    const bool nothing = place.kind == PlaceKind::unmapped || place.kind == PlaceKind::null;
    return nothing ? hex(at.value) : fmt::format("{} ({})", hex(at.value), process.locator->describe(place));
}

/// What Go's compiler loads from a nil value before an indirect call: the code of a func value, or a method of an
/// interface's table (go1.27 src/internal/abi/iface.go, ITab.Fun at 0x18). Empty: something else.
std::string_view nil_callee(const Process& process, const CrashContext& crash, const FaultAccess& access) {
    const Instruction& load = access.instruction;
    if (!process.go || crash.frames.empty() || crash.frames.front().kind != report::FrameKind::go ||
        !load.destination || !access.operand || access.write || access.operand->index)
        return {};
    constexpr std::size_t near = 6;  // arguments are moved between the load and the call
    for (const Instruction& next :
         process.disassembler->decode_range(process.memory, {load.pc + load.size, load.pc + load.size + 64}, near)) {
        const bool calls = next.flow == Flow::indirect_call && next.memory.empty();
        if (calls && (next.source == load.destination || next.destination == load.destination))
            return access.operand->displacement == 0      ? "call of a nil func value"
                   : access.operand->displacement >= 0x18 ? "call of a method on a nil interface"
                                                          : "";
        if (next.flow != Flow::next || next.destination == load.destination) return {};
    }
    return {};
}

/// linux 6.1 arch/x86/kernel/signal.c: a signal's frame that cannot be written or read back is answered so
/// (force_sigsegv), kernel/rseq.c as well; then the instruction is any.
FaultStory tell_unexplained(const Process& process, const CrashContext& crash, const std::string& instruction) {
    FaultStory story;
    story.title = fmt::format("{} from the kernel, which no access explains", signal_name(fault_of(crash).number));
    story.why = fmt::format(
        "nothing that {} does can fault so; the kernel sends it as well when it cannot put a signal's frame on the "
        "stack, or take one back, and for a damaged rseq area",
        instruction.empty() ? "the instruction" : instruction);
    const auto sp = crash.registers ? crash.registers->sp() : std::nullopt;
    if (sp && !process.memory.is_mapped(*sp))
        story.why += fmt::format(": nothing is mapped where the stack pointer leads, {:#x}", sp->value);
    return story;
}

}  // namespace

std::string signal_words(const SignalInfo& info) {
    auto name = signal_name(info.number);
    auto code = signal_code_name(info.number, info.code);
    std::string words = name.empty() ? fmt::format("signal {}", info.number) : std::string(name);
    words += code.empty() ? fmt::format(" code {}", info.code) : fmt::format(" {}", code);
    if (info.fault_address) words += fmt::format(" at {:#x}", info.fault_address->value);
    if (info.sender_pid) words += fmt::format(" from pid {}", *info.sender_pid);
    return words;
}

FaultStory tell_fault(const Process& process, const CrashContext& crash, const std::optional<FaultAccess>& access) {
    FaultStory story;
    auto address =
        crash.fault_address ? hex(crash.fault_address->value) : std::string("an address the kernel does not tell");
    const bool told = access && (access->operand || access->instruction.memory.size() == 1);
    std::string_view verb = told ? (access->write ? "write" : "read") : "access";
    std::string_view nil = in_go_code(crash) ? "nil" : "null";
    const std::string text = access ? fmt::format("`{}`", readable_text(access->instruction)) : std::string();
    switch (crash.fault) {
        case FaultClass::nil_dereference:
            if (crash.registers && crash.registers->pc() == crash.fault_address) {
                story.title =
                    crash.fault_address->is_null()
                        ? fmt::format("call of a {} function: jump to {}", nil, address)
                        : fmt::format("{} to {}, where no code can be", way_to_no_code(process, crash), address);
                break;
            }
            if (auto callee = access ? nil_callee(process, crash, *access) : ""; !callee.empty()) {
                story.title = fmt::format("nil pointer dereference: {}", callee);
                break;
            }
            story.title =
                crash.fault_address && crash.fault_address->value == 0
                    ? fmt::format("{} pointer dereference: {} at address 0", nil, verb)
                    : fmt::format("{} pointer dereference: {} at offset {} of a {} pointer", nil, verb, address, nil);
            break;
        case FaultClass::non_canonical:
            story.title = access && access->effective
                              ? fmt::format("{} through {:#x}, which can be no address on this machine", verb,
                                            access->effective->value)
                              : fmt::format("access through {} that can be no address on this machine",
                                            access ? stack_register(crash, access->instruction) : "a value");
            break;
        case FaultClass::wild_jump: {
            std::string_view how = access && access->instruction.flow == Flow::ret             ? "return"
                                   : access && access->instruction.flow == Flow::indirect_call ? "call"
                                                                                               : "jump";
            auto pc = access || !crash.registers ? std::nullopt : crash.registers->pc();  // it is there already
            auto target = access ? access->target : pc ? std::optional(pc->value) : std::nullopt;
            story.title = fmt::format("{} to {}, which can be no address on this machine", how,
                                      target ? hex(*target) : "a value");
            if (access) story.why = fmt::format("{} was about to leave through it", text);
            break;
        }
        case FaultClass::misaligned:
            story.title = access && access->effective
                              ? fmt::format("misaligned {} at {:#x}: the instruction wants a multiple of {}", verb,
                                            access->effective->value, access->operand->size)
                              : "misaligned access";
            story.why = fmt::format("{}; the kernel gives no address for such a fault", text);
            break;
        case FaultClass::privileged:
            story.title = fmt::format("executed {}, which only the kernel may", text);
            if (access && access->instruction.mnemonic == "hlt")
                story.why =
                    "musl (a_crash, when its heap or a stack protector's word is damaged) and an abort() whose signal "
                    "does not end it leave a program so; else it jumped into what is no code";
            break;
        case FaultClass::unexplained: return tell_unexplained(process, crash, text);
        case FaultClass::stack_overflow:
            story.title = fmt::format("stack overflow: {} at {} {}", verb, address, far_below(process, crash));
            break;
        case FaultClass::guard_page:
            story.title = fmt::format("{} at {} in a page without any permission", verb, address);
            break;
        case FaultClass::unmapped: {
            const bool since = crash.fault_address && process.memory.is_mapped(*crash.fault_address);
            story.title = fmt::format("{} at {}, where nothing {}", verb, address,
                                      since ? "was mapped; by now something is" : "is mapped");
            break;
        }
        case FaultClass::read_only: story.title = fmt::format("write at {} to read-only memory", address); break;
        case FaultClass::not_executable:
            story.title = fmt::format("{} to {}, which is not code", way_to_no_code(process, crash), address);
            break;
        case FaultClass::bus_error:
            story.title =
                fmt::format("bus error at {}: its file is shorter than the mapping, or could give no page", address);
            break;
        case FaultClass::no_page:
            story.title = fmt::format("bus error at {}: no page could be had there, and no file is mapped", address);
            break;
        case FaultClass::bad_memory:
            story.title = fmt::format("bus error at {}: the machine's memory failed", address);
            break;
        default: return tell_signal(process, crash, access);
    }
    if (!story.why.empty() || !access) return story;
    if (access->bad_register && crash.registers)
        story.why = tell_registers(process, crash, *access, verb);
    else if (told && crash.fault_address)
        story.why = fmt::format("{} {}s {}", text, verb, described(process, *crash.fault_address));
    return story;
}

}  // namespace incident::detect
