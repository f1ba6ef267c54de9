// crash.*: what the process died of.
//
// Claim: the process ended by this fault, panic, fatal error, abort or request. Proof rule: the kernel's signal frame
// or the runtime's own record (g.sig*, the panic chain, the frame of throw) says so; nothing is inferred, so the
// strength is `proved`. Innocent look-alike: a core that somebody asked for (kill -QUIT, -ABRT, gcore) is no fault:
// crash.requested, info.
#include "detect/crash.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/text.h"
#include "detect/crash_remedy.h"
#include "detect/native.h"
#include "detect/telling.h"
#include "process/fault_access.h"
#include "process/locate.h"
#include "process/snapshot.h"

namespace incident::detect {

namespace {

using report::CrashKind;
using report::Finding;
using report::Frame;

/// The first frame that is the program's own, and the one that called it.
std::size_t first_user_frame(const std::vector<Frame>& frames) {
    auto own = std::ranges::find_if(frames, [](const Frame& f) {
        if (f.kind == report::FrameKind::go)
            return !f.runtime_internal && f.function != "panic" && f.function != "runtime.throw" &&
                   f.function != "runtime.fatal" && !f.function.starts_with("runtime.") &&
                   !f.function.starts_with("sync.") && !f.function.starts_with("syscall.") &&
                   !f.function.starts_with("internal/");
        return f.kind == report::FrameKind::native && !f.module.ends_with(".so.6") && !f.module.empty();
    });
    return own == frames.end() ? 0 : static_cast<std::size_t>(own - frames.begin());
}

constexpr std::size_t most_of_title = 400;  // bytes of a message

bool is_machinery(const Frame& frame) {
    return frame.runtime_internal || frame.function == "panic" || frame.function.starts_with("runtime.");
}

std::string where_of(const Process& process, const CrashContext& crash) {
    std::string where;
    if (!crash.frames.empty()) {
        auto first = first_user_frame(crash.frames);
        where = place_in_source(crash.frames[first]);
        for (auto caller = first + 1; caller < crash.frames.size(); ++caller)
            if (!is_machinery(crash.frames[caller])) {
                where += ", called from " + place_in_source(crash.frames[caller]);
                break;
            }
    }
    if (crash.goid)
        where += fmt::format("{}goroutine {}", where.empty() ? "" : ", ", *crash.goid);
    else if (crash.tid)
        where += fmt::format("{}thread {}", where.empty() ? "" : ", ", *crash.tid);
    if (where.empty() && process.core.threads().empty()) where = "unknown: the core holds no thread";
    return where;
}

std::string signal_words(const SignalInfo& info) {
    auto name = signal_name(info.number);
    auto code = signal_code_name(info.number, info.code);
    std::string words = name.empty() ? fmt::format("signal {}", info.number) : std::string(name);
    words += code.empty() ? fmt::format(" code {}", info.code) : fmt::format(" {}", code);
    if (info.fault_address) words += fmt::format(" at {:#x}", info.fault_address->value);
    if (info.sender_pid) words += fmt::format(" from pid {}", *info.sender_pid);
    return words;
}

/// "0x4cd56b (rodata: main.greeting)"; the address alone where nothing is.
std::string described(const Process& process, Address at) {
    const Placement place = process.locator->place(at);
    const bool nothing = place.kind == PlaceKind::unmapped || place.kind == PlaceKind::null;
    return nothing ? hex(at.value) : fmt::format("{} ({})", hex(at.value), process.locator->describe(place));
}

/// A panic may carry a whole document: the title says how it begins; crash.message has it all.
std::string shortened(std::string_view message, std::size_t most) {
    if (message.size() <= most) return std::string(message);
    std::size_t end = most;
    while (end > 0 && (static_cast<unsigned char>(message[end]) & 0xc0) == 0x80) --end;  // no half characters
    return fmt::format("{} … ({} bytes)", message.substr(0, end), message.size());
}

/// The waits of the program's own goroutines: "goroutine 1 waits (chan receive)" and how many others do.
std::string who_sleeps(const Process& process, const CrashContext& crash) {
    std::size_t others = 0;
    for (auto& g : process.goroutines->all) others += !g.system && g.goid != *crash.goid;
    const auto& g = process.goroutines->all[*crash.goroutine];
    return fmt::format(
        "goroutine {} waits ({}){}; nothing is left that could wake {}", g.goid, g.wait_reason,
        others == 0 ? std::string()
                    : fmt::format(", and so {} {}", others == 1 ? "does" : "do", count_of(others, "other goroutine")),
        others == 0 ? "it" : "them");
}

/// Of a recursion without end: who calls itself, and how deep it got.
std::string recursion(const CrashContext& crash) {
    const std::size_t depth = crash.stack.physical.size() + crash.stack.elided;
    if (crash.frames.empty() || depth < 100) return {};
    return fmt::format("{} calls itself, or is called again by what it calls: {} frames",
                       crash.frames[first_user_frame(crash.frames)].function, depth);
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

struct FaultStory {
    std::string title;
    std::string why;
};

FaultStory tell_fault(const Process& process, const CrashContext& crash, const std::optional<FaultAccess>& access) {
    FaultStory story;
    auto& machine = process.core.machine();
    auto address =
        crash.fault_address ? hex(crash.fault_address->value) : std::string("an address the kernel does not tell");
    const bool told = access && (access->operand || access->instruction.memory.size() == 1);
    std::string verb = told ? (access->write ? "write" : "read") : "access";
    switch (crash.fault) {
        case FaultClass::nil_dereference:
            if (crash.registers && crash.registers->pc() == crash.fault_address) {
                story.title = fmt::format("call of a nil function: jump to {}", address);
                break;
            }
            if (auto callee = access ? nil_callee(process, crash, *access) : ""; !callee.empty()) {
                story.title = fmt::format("nil pointer dereference: {}", callee);
                break;
            }
            story.title = crash.fault_address && crash.fault_address->value == 0
                              ? fmt::format("nil pointer dereference: {} at address 0", verb)
                              : fmt::format("nil pointer dereference: {} at offset {} of a nil pointer", verb, address);
            break;
        case FaultClass::non_canonical:
            story.title = access && access->effective
                              ? fmt::format("{} through {:#x}, which can be no address on this machine", verb,
                                            access->effective->value)
                              : "access through a value that can be no address on this machine";
            break;
        case FaultClass::stack_overflow:
            story.title = fmt::format("stack overflow: {} at {} just below the stack", verb, address);
            break;
        case FaultClass::guard_page:
            story.title = fmt::format("{} at {} in a page without any permission", verb, address);
            break;
        case FaultClass::unmapped: story.title = fmt::format("{} at {}, where nothing is mapped", verb, address); break;
        case FaultClass::read_only: story.title = fmt::format("write at {} to read-only memory", address); break;
        case FaultClass::not_executable: story.title = fmt::format("jump to {}, which is not code", address); break;
        case FaultClass::bus_error:
            story.title =
                fmt::format("bus error at {}: its file is shorter than the mapping, or the memory failed", address);
            break;
        default:
            if (crash.signal && signal_code_name(crash.signal->number, crash.signal->code) == "FPE_INTDIV") {
                story.title = "integer division by zero, or a quotient too large for its register";
                break;
            }
            story.title = "died of " + (crash.signal ? signal_words(*crash.signal) : std::string("a signal"));
            break;
    }
    if (!access) return story;
    if (!access->bad_register && told && crash.fault_address)
        story.why = fmt::format("`{}` {}s {}", readable_text(access->instruction), verb,
                                described(process, *crash.fault_address));
    if (access->bad_register && crash.registers) {
        auto reg = *access->bad_register;
        auto value = access->deduced ? access->deduced : crash.registers->get(reg);
        story.why = fmt::format("`{}` {}s {}; {} was {}", readable_text(access->instruction), verb,
                                operand_text(*access->operand, machine), machine.registers[reg].name,
                                value ? hex(*value) : "unknown");
        if (access->deduced) story.why += " (the faulting address says so)";
        if (access->load) {
            story.why += fmt::format(", loaded from {} by the instruction at {:#x}",
                                     operand_text(access->load->from, machine), access->load->pc.value);
            if (access->load->confirmed)
                story.why += fmt::format(" (the slot {:#x} still holds it)", access->load->slot->value);
        } else if (!access->source.empty()) {
            story.why += ", " + access->source;
        }
    }
    return story;
}

void add_fault_evidence(const Process& process, const CrashContext& crash, const std::optional<FaultAccess>& access,
                        Finding& finding) {
    if (crash.signal) {
        bool from_g = crash.kind == CrashKind::go_panic || (crash.goid && crash.registers_from.starts_with("kernel's"));
        finding.evidence.push_back({"signal", std::nullopt, signal_words(*crash.signal), "core",
                                    from_g ? "g.sig, g.sigcode0, g.sigcode1 of the goroutine" : crash.registers_from});
    }
    if (!access) return;
    finding.evidence.push_back({"faulting instruction", access->instruction.pc, readable_text(access->instruction),
                                std::string(to_string(Origin::core)), "disassembly"});
    if (auto* segment = process.memory.find(access->instruction.pc))
        finding.evidence.back().origin = to_string(segment->origin);
    if (access->load && access->load->slot && access->load->confirmed)
        finding.evidence.push_back(
            {fmt::format("slot that {} was loaded from", process.core.machine().registers[*access->bad_register].name),
             access->load->slot, hex(process.memory.load<std::uint64_t>(*access->load->slot).value_or(0)), "core",
             "disassembly"});
}

std::string requested_title(const Process& process, const CrashContext& crash) {
    if (crash.runtime_function == "gcore") return "core taken from outside while the process ran (gcore)";
    if (!crash.signal) return "core taken from outside";
    auto& info = *crash.signal;
    auto name = signal_name(info.number);
    auto own = process.core.process_info();
    if (info.sender_pid && own && *info.sender_pid == own->pid) return fmt::format("the program sent itself {}", name);
    if (info.sender_pid && *info.sender_pid == 0)
        return fmt::format("core requested from outside by {} (sender outside this PID namespace)", name);
    if (info.sender_pid) return fmt::format("core requested from outside: {} sent by pid {}", name, *info.sender_pid);
    return fmt::format("core requested from outside: {}", name);
}

void add_check(const Process& process, const CrashContext& crash, Finding& finding) {
    const bool go_death = crash.kind == CrashKind::go_panic || crash.kind == CrashKind::go_fatal;
    if (go_death && crash.goid && process.go)
        add_delve_check(process, finding, fmt::format("goroutine {} bt", *crash.goid));
    if (crash.registers && crash.registers->pc())
        finding.verify.push_back(gdb_check(process, {fmt::format("x/i {:#x}", crash.registers->pc()->value)}));
    else if (!go_death)
        finding.verify.push_back(gdb_check(process, {"thread apply all bt"}));
}

}  // namespace

Detection detect_crash(const Process& process) {
    const CrashContext& crash = *process.crash;
    Detection detection;
    detection.checked = 1;
    Finding finding;
    finding.strength = report::Strength::proved;
    finding.severity = report::Severity::error;
    std::optional<FaultAccess> access;
    if (crash.registers && crash.signal && crash.signal->code > 0)
        if (auto pc = crash.registers->pc())
            access = analyse_access(process, *crash.registers, crash.fault_address, function_range(process, *pc));

    bool overflow = crash.message && *crash.message == "stack overflow";
    switch (crash.kind) {
        case CrashKind::signal: {
            finding.kind = crash.fault == FaultClass::stack_overflow ? "crash.stack-overflow" : "crash.fault";
            auto story = tell_fault(process, crash, access);
            finding.title = story.title;
            finding.why = story.why;
            break;
        }
        case CrashKind::go_panic: {
            finding.kind = "crash.panic";
            auto story = crash.signal ? tell_fault(process, crash, access) : FaultStory{};
            finding.title =
                crash.signal && crash.fault != FaultClass::none && crash.fault != FaultClass::other
                    ? story.title
                    : fmt::format("uncaught panic: {}",
                                  shortened(crash.message.value_or("(its value could not be read)"), most_of_title));
            finding.why = !story.why.empty() ? story.why : "nothing recovered it: the runtime ended the process";
            break;
        }
        case CrashKind::go_fatal:
            finding.kind = overflow ? "crash.stack-overflow" : "crash.fatal";
            finding.title =
                overflow
                    ? "goroutine stack overflow: the stack grew past its limit"
                    : fmt::format("fatal error: {}",
                                  shortened(crash.message.value_or("(its text could not be read)"), most_of_title));
            if (overflow) finding.why = recursion(crash);
            // A fault on the way: in the Error method of a panic's value, which was being printed.
            if (crash.signal) finding.why = tell_fault(process, crash, access).why;
            if (crash.message && crash.message->ends_with("deadlock!") && crash.goroutine)
                finding.why = who_sleeps(process, crash);
            if (finding.why.empty())
                finding.why = fmt::format("the runtime ended the process in {}", crash.runtime_function);
            break;
        case CrashKind::abort:
            finding.kind = "crash.abort";
            finding.title = crash.message ? fmt::format("aborted: {}", *crash.message)
                                          : "aborted (SIGABRT that the program sent itself)";
            finding.why = crash.message ? "libc kept the message it printed before abort()"
                          : process.go_expected
                              ? "the Go runtime could not be read: whether a panic came before is not "
                                "known, what it printed to stderr would tell"
                              : "libc kept no message of an abort()";
            break;
        case CrashKind::requested:
            finding.kind = "crash.requested";
            finding.severity = report::Severity::info;
            finding.title = requested_title(process, crash);
            finding.why = "nothing died here by itself: if the process hung, the goroutines and locks tell why";
            break;
    }
    if (crash.kind != CrashKind::requested || (crash.signal && crash.goid)) finding.where = where_of(process, crash);
    if (crash.message)
        finding.evidence.push_back({"message", std::nullopt, *crash.message, "core",
                                    crash.kind == CrashKind::go_panic ? "panic chain"
                                    : crash.kind == CrashKind::abort  ? "__abort_msg"
                                                                      : "frame of " + crash.runtime_function});
    add_fault_evidence(process, crash, access, finding);
    add_check(process, crash, finding);
    finding.remedy =
        crash_remedy(crash, crash.frames.empty() ? "" : place_in_source(crash.frames[first_user_frame(crash.frames)]),
                     process.go || process.go_expected);
    finding.subject.what = "process";
    finding.subject.address = crash.fault_address;
    if (crash.goid) finding.goroutines.push_back(*crash.goid);
    if (crash.tid) finding.threads.push_back(*crash.tid);
    for (auto& note : crash.notes) finding.explanation += (finding.explanation.empty() ? "" : "; ") + note;
    detection.findings.push_back(std::move(finding));
    return detection;
}

}  // namespace incident::detect
