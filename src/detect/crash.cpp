// crash.*: what the process died of.
//
// Claim: the process ended by this fault, panic, fatal error, abort or request. Proof rule: the kernel's signal frame
// or the runtime's own record (g.sig*, the panic chain, the frame of throw) says so; nothing is inferred, so the
// strength is `proved`. Innocent look-alike: a core that somebody asked for (kill -QUIT, -ABRT, gcore) is no fault:
// crash.requested, info.
#include "detect/crash.h"

#include <fmt/format.h>

#include <algorithm>
#include <csignal>

#include "base/go_names.h"
#include "base/text.h"
#include "detect/crash_remedy.h"
#include "detect/fault_story.h"
#include "detect/leak_stories.h"
#include "detect/native.h"
#include "detect/telling.h"
#include "process/fault_access.h"
#include "process/locate.h"
#include "process/own_frames.h"
#include "process/pthread_waits.h"
#include "process/snapshot.h"

namespace incident::detect {

namespace {

using report::CrashKind;
using report::Finding;
using report::Frame;

constexpr std::size_t most_of_title = 400;  // bytes of a message

/// The first frame that is the program's own.
std::size_t first_user_frame(std::span<const Frame> frames) {
    const auto own = [](const Frame& f) {
        if (f.kind == report::FrameKind::go)
            return !is_machinery(f) && !is_go_machinery(f.function) && !f.function.starts_with("syscall.");
        return !is_machinery(f) && !f.module.empty();
    };
    auto found = std::ranges::find_if(frames, [&](const Frame& f) { return own(f) && !of_the_cxx_headers(f); });
    if (found == frames.end()) found = std::ranges::find_if(frames, own);
    return found == frames.end() ? 0 : static_cast<std::size_t>(found - frames.begin());
}

bool of_go_library(const Frame& frame) {
    return frame.kind == report::FrameKind::go && is_standard_library(frame.function);
}

/// The first of the program's own that is at or below the first user frame; that itself where there is none. A deferred
/// function of the library may have panicked again with what it recovered, as package testing does: it was not that.
std::size_t first_program_frame(std::span<const Frame> frames) {
    const std::size_t user = first_user_frame(frames);
    std::size_t at = user;
    const auto of_runtime = [](const Frame& f) { return is_machinery(f) || is_go_machinery(f.function); };
    while (at < frames.size() && (of_go_library(frames[at]) || (at > user && of_runtime(frames[at])))) ++at;
    return at < frames.size() && frames[at].kind == report::FrameKind::go && !is_machinery(frames[at]) ? at : user;
}

/// Where the program's author has to look. A fault may have been panicked again by a deferred function: it is not that
/// one's.
std::string place_to_read(const CrashContext& crash) {
    std::span<const Frame> frames = crash.frames;
    const auto handler = std::ranges::find(frames, std::string_view("runtime.sigpanic"), &Frame::function);
    if (crash.faulted() && frames.end() - handler > 1)
        frames = frames.subspan(static_cast<std::size_t>(handler - frames.begin()) + 1);
    return frames.empty() ? std::string() : place_in_source(frames[first_program_frame(frames)]);
}

/// Of the standard library only what the program called of it: sync.(*RWMutex).RLock, not the sync/atomic.(*Int32).Add
/// in it.
std::size_t telling_frame(std::span<const Frame> frames) {
    const std::size_t program = first_program_frame(frames);
    return program != first_user_frame(frames) && !is_machinery(frames[program - 1]) ? program - 1 : program;
}

/// What the frame called of a system library, as its code names it: "strlen"; of libc's own frames the names are
/// others (__strlen_evex). Empty: the call goes through a pointer, or no symbol names its target.
std::string called_in(const Process& process, const Frame& frame) {
    if (!process.disassembler || !process.locator || !frame.after_call) return {};
    auto call = process.disassembler->call_before(process.memory, frame.pc);
    if (!call || !call->target) return {};
    std::string name = process.locator->symbol(*call->target);
    if (auto version = name.find('@'); version != std::string::npos) name.resize(version);
    return name.contains('+') ? std::string{} : name;
}

/// "deref sig.c:22, called from handle sig.c:23, thread 7155". Of the C and C++ libraries' code in between only what
/// faulted is named.
std::string where_of(const Process& process, const CrashContext& crash) {
    std::string where;
    if (!crash.frames.empty()) {
        const auto own = telling_frame(crash.frames);
        auto fault = std::ranges::find_if(crash.frames.begin(), crash.frames.begin() + static_cast<std::ptrdiff_t>(own),
                                          [](const Frame& f) { return of_the_cxx_headers(f) && !is_machinery(f); });
        if (crash.faulted() && fault < crash.frames.begin() + static_cast<std::ptrdiff_t>(own))
            where = place_in_source(*fault) + ", called from ";
        else if (crash.faulted() && own > 0 && crash.frames[own - 1].kind == report::FrameKind::native &&
                 of_the_runtime(crash.frames[own - 1]))
            if (std::string name = called_in(process, crash.frames[own]); !name.empty())
                where = name + ", called from ";
        where += place_in_source(crash.frames[own]);
        auto caller =
            std::ranges::find_if(crash.frames.begin() + static_cast<std::ptrdiff_t>(own) + 1, crash.frames.end(),
                                 [](const Frame& f) { return !is_machinery(f) && !of_the_cxx_headers(f); });
        if (fault == crash.frames.begin() + static_cast<std::ptrdiff_t>(own) && caller != crash.frames.end()) {
            // A deferred function is called by the panic, not by the code that panicked.
            const bool deferred = std::any_of(crash.frames.begin() + static_cast<std::ptrdiff_t>(own) + 1, caller,
                                              [](const Frame& f) { return f.function == "panic"; });
            if (deferred) {
                const auto panicked =
                    std::span(crash.frames).subspan(static_cast<std::size_t>(caller - crash.frames.begin()));
                caller += static_cast<std::ptrdiff_t>(first_program_frame(panicked));
            }
            where += (deferred ? ", deferred, run by the panic in " : ", called from ") + place_in_source(*caller);
        }
    }
    if (crash.goid)
        where += fmt::format("{}goroutine {}", where.empty() ? "" : ", ", *crash.goid);
    else if (crash.tid)
        where += fmt::format("{}thread {}", where.empty() ? "" : ", ", *crash.tid);
    if (where.empty() && process.core.threads().empty()) where = "unknown: the core holds no thread";
    return where;
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

/// Of a deadlock: not main, which waits for the others, but behind whom they all wait.
void tell_root(const Process& process, const DeadlockRoot& root, Finding& finding) {
    const auto& g = process.goroutines->all[root.goroutine];
    const go::GoStack stack = process.stacks.load(root.goroutine);
    const auto asking = std::ranges::find_if(stack.frames, [](const Frame& f) { return !is_go_machinery(f.function); });
    if (asking == stack.frames.end()) return;
    finding.where = fmt::format("{}, goroutine {}", place_in_source(*asking), g.goid);
    finding.why =
        fmt::format("goroutine {} waits ({}), and {} for it; nothing is left that could wake them", g.goid,
                    g.wait_reason, root.behind == 1 ? "1 other waits" : fmt::format("{} others wait", root.behind));
    add_snapshot(process, finding, stack, static_cast<std::size_t>(asking - stack.frames.begin()), g.goid);
    finding.goroutines.insert(finding.goroutines.begin(), g.goid);
}

/// Of a recursion without end: who calls itself, and how deep it got.
std::string recursion(const CrashContext& crash) {
    const std::size_t depth = crash.stack.physical.size() + crash.stack.elided;
    if (crash.frames.empty() || depth < 100) return {};
    return fmt::format("{} calls itself, or is called again by what it calls: {} frames",
                       crash.frames[first_user_frame(crash.frames)].function, depth);
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
    if (process.core.threads().empty()) return "how the process ended is not known: the core holds no thread";
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

std::string why_requested(const Process& process, const CrashContext& crash) {
    if (process.core.threads().empty()) return "its notes are lost: no signal, no registers";
    auto own = process.core.process_info();
    const bool own_abort =
        crash.signal && crash.signal->number == SIGABRT && own && crash.signal->sender_pid == own->pid;
    if (own_abort && process.go && process.go->modules().empty())
        return "whether it died of a panic or a fatal error, which end so, or asked for a core: not known without its "
               "executable; what it printed to stderr would tell";
    return "nothing died here by itself: if the process hung, the goroutines and locks tell why";
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
    if (crash.registers && crash.faulted())
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
            if (crash.deadlock() && crash.goroutine) finding.why = who_sleeps(process, crash);
            if (finding.why.empty())
                finding.why = fmt::format("the runtime ended the process in {}", crash.runtime_function);
            break;
        case CrashKind::abort:
            finding.kind = "crash.abort";
            finding.title = !crash.message      ? "aborted (SIGABRT that the program sent itself)"
                            : crash.why.empty() ? fmt::format("aborted: {}", *crash.message)
                                                : *crash.message;
            finding.why = !crash.why.empty() ? crash.why
                          : crash.message    ? "libc kept the message it printed before abort()"
                          : process.go_expected
                              ? "the Go runtime could not be read: whether a panic came before is not "
                                "known, what it printed to stderr would tell"
                              : "the program called abort(), or sent itself the signal; libc kept no message";
            break;
        case CrashKind::requested:
            finding.kind = "crash.requested";
            finding.severity = report::Severity::info;
            finding.title = requested_title(process, crash);
            finding.why = why_requested(process, crash);
            if (no_thread_can_wake_another(process))
                finding.explanation =
                    process.core.threads().size() == 1
                        ? "the only thread sleeps without a time limit for what a thread of this very process would "
                          "have to give it: nothing can wake it, unless a signal handler does"
                        : "every thread sleeps in a lock, a condition or a join of this very process, none with a "
                          "time limit: no thread can wake another, unless a signal handler does";
            break;
    }
    // Whom a signal from outside met is told; which thread a debugger had in hand tells nothing.
    if (crash.kind != CrashKind::requested || (crash.signal && crash.goid && crash.runtime_function != "gcore"))
        finding.where = where_of(process, crash);
    if (crash.message)
        finding.evidence.push_back({"message", std::nullopt, *crash.message, "core",
                                    crash.kind == CrashKind::go_panic ? "panic chain"
                                    : !crash.why.empty()              ? "the C++ runtime's frames and records"
                                    : crash.kind == CrashKind::abort  ? "__abort_msg"
                                                                      : "frame of " + crash.runtime_function});
    if (crash.exception)
        finding.evidence.push_back({"exception object", crash.exception->object, crash.exception->type, "core",
                                    "__cxa_eh_globals of the thread"});
    add_fault_evidence(process, crash, access, finding);
    add_check(process, crash, finding);
    finding.remedy = crash_remedy(crash, place_to_read(crash), process.go || process.go_expected);
    finding.subject.what = "process";
    finding.subject.address = crash.fault_address;
    if (crash.goid) finding.goroutines.push_back(*crash.goid);
    if (crash.tid) finding.threads.push_back(*crash.tid);
    if (crash.deadlock() && crash.goroutine)
        if (const auto root = root_of_deadlock(process); root && root->goroutine != *crash.goroutine)
            tell_root(process, *root, finding);
    for (auto& note : crash.notes) finding.explanation += (finding.explanation.empty() ? "" : "; ") + note;
    detection.findings.push_back(std::move(finding));
    return detection;
}

}  // namespace incident::detect
