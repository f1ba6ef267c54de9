// The "next" row of a crash: one thing to do about each way to die. Claims no cause: it names the place to read and the
// question to read it with. The runtime's texts are those of Go 1.16 to 1.27 (src/runtime/error.go, panic.go, chan.go).
#include "detect/crash_remedy.h"

#include <fmt/format.h>

#include <algorithm>
#include <csignal>
#include <span>
#include <string_view>

#include "detect/native.h"

namespace incident::detect {

namespace {

using report::CrashKind;

struct Advice {
    std::string_view says;  ///< anywhere in the runtime's text
    std::string_view text;  ///< after "read PLACE: ", or alone when it names a command
};

constexpr Advice panics[] = {
    {"index out of range", "where does the index come from, and who says how long the slice is"},
    {"slice bounds out of range", "where do the bounds come from, and who says how long the slice is"},
    {"integer divide by zero", "which divisor can be zero there"},
    {"interface conversion", "which type does the value have there: use `v, ok :=` or a type switch"},
    {"assignment to entry in nil map", "the map was never made: make() it where its owner is built"},
    {"send on closed channel", "who closes the channel: only its sender may, after the last send"},
    {"close of closed channel", "who else closes the channel: one owner may, once"},
    {"close of nil channel", "the channel was never made"},
    {"negative WaitGroup counter", "more Done than Add: call Add before `go`, and Done once for each"},
    {"makeslice: ", "where does the length come from: from input that nobody checked?"},
};

constexpr Advice fatals[] = {
    {"all goroutines are asleep", "`incident goroutines CORE --group` and `incident locks CORE`: who waits for whom"},
    {"main called runtime.Goexit",
     "main has left by runtime.Goexit (t.FailNow() outside of its test does that), and nobody was left to run"},
    {"panic while printing panic value",
     "the panic's value has an Error or String method that panics itself: let it cope with nil and half-built values"},
    {"out of memory",
     "`incident heap CORE --retained`: what keeps the memory; `incident maps CORE --summary`: Go's or not"},
    {"cannot allocate memory",
     "`incident heap CORE --retained`: what keeps the memory; `incident maps CORE --summary`: Go's or not"},
    {"thread limit", "`incident threads CORE`: which call do so many threads block in"},
    {"thread exhaustion", "`incident threads CORE`: which call do so many threads block in"},
};

constexpr std::string_view of_malloc =
    "the allocator found its memory damaged, or freed twice: the damage came before. Run it with ASan";
constexpr Advice aborts[] = {
    // glibc 2.36 debug/
    {"stack smashing detected", "which array among its locals is written beyond its end. Run it with ASan"},
    {"buffer overflow detected", "which copy there is longer than its target"},
};

constexpr std::string_view any_panic = "what made it panic; its frames show the values that its callers held";
constexpr std::string_view any_fatal =
    "look for what breaks the runtime's own state: unsafe code, C code that writes into Go memory, data races (-race)";

const Advice* find(std::span<const Advice> table, std::string_view message) {
    auto at = std::ranges::find_if(table, [&](const Advice& a) { return message.contains(a.says); });
    return at == table.end() ? nullptr : &*at;
}

std::string read(const std::string& place, std::string_view question) {
    return fmt::format("read {}: {}", place.empty() ? "the code that failed" : place, question);
}

/// What to ask of the code that used a bad address; C's sanitizer is named where C code did.
std::string after_fault(const CrashContext& crash, const std::string& place) {
    const bool native = !crash.frames.empty() && crash.frames.front().kind != report::FrameKind::go;
    const std::string_view wild =
        native ? "where does the address come from: memory freed or overwritten before? Run it with ASan"
               : "where does the address come from: unsafe or C code, or a data race (-race)";
    switch (crash.fault) {
        case FaultClass::nil_dereference:
            if (crash.registers && crash.registers->pc() == crash.fault_address)
                return read(place, native ? "which function pointer can be null there, and who leaves it so"
                                          : "which function value can be nil there, and who leaves it so");
            return read(place, native ? "which pointer can be null there, and which caller leaves it so"
                                      : "which pointer can be nil there, and which caller leaves it so");
        case FaultClass::stack_overflow:
            return read(place, "which call there never ends the recursion, or which local is so large");
        case FaultClass::read_only: return read(place, "what does it write to: constants and literals are read-only");
        case FaultClass::bus_error:
            return read(place, "which file was mapped there, and who cut it short while it was in use");
        case FaultClass::no_page:
            return "look for huge pages that were used up, userfaultfd, and reads of the kernel's own pages ([vvar])";
        case FaultClass::bad_memory: return "look into the kernel's log for machine checks: the program is innocent";
        case FaultClass::misaligned:
            return read(place, "which cast gives it an address that its type does not allow; packed data need memcpy");
        case FaultClass::privileged: return read(place, "how did control get there: is it code at all");
        case FaultClass::unexplained:
            return "look for what the thread's stack pointer was, or a signal's stack: a signal may have found no room "
                   "there";
        case FaultClass::wild_jump:
        case FaultClass::not_executable: return read(place, "which function pointer or return address was overwritten");
        case FaultClass::non_canonical:
        case FaultClass::guard_page:
        case FaultClass::unmapped: return read(place, wild);
        default:
            if (crash.signal && signal_code_name(crash.signal->number, crash.signal->code) == "FPE_INTDIV")
                return read(place, "which divisor can be zero there");
            return {};
    }
}

/// Signals of limits and filters: nothing there is read wrongly.
std::string after_signal(const CrashContext& crash, const std::string& place) {
    switch (crash.signal ? crash.signal->number : 0) {
        case SIGILL:
        case SIGTRAP: return read(place, "which check stands there, and on what value it fails");
        case SIGSYS: return "allow the call in the filter, or find who made it: the frames tell";
        case SIGXCPU: return "`incident threads CORE`: which loop runs; or raise the limit";
        case SIGXFSZ: return "raise the limit (LimitFSIZE=, ulimit -f), or find which file grows";
        default: return read(place, "what does it do there that raises such a signal");
    }
}

/// After std::terminate(): what its message says was wrong.
constexpr Advice terminations[] = {
    {"uncaught C++ exception", "who should have caught what is thrown there, and where: a thread's function, main"},
    {"may not throw", "which noexcept function or destructor on the stack lets it through"},
    {"pure virtual", "who calls a virtual method while the object is being built or destroyed, or after"},
    {"joinable", "who should have joined or detached the thread, also when an exception leaves the scope"},
};

}  // namespace

std::string crash_remedy(const CrashContext& crash, const std::string& place, bool go) {
    const std::string_view message = crash.message ? std::string_view(*crash.message) : "";
    switch (crash.kind) {
        case CrashKind::signal: {
            std::string story = after_fault(crash, place);
            return story.empty() ? after_signal(crash, place) : story;
        }
        case CrashKind::go_panic: {
            std::string story = crash.signal ? after_fault(crash, place) : std::string();
            if (!story.empty()) return story;
            const Advice* known = find(panics, message);
            return read(place, known != nullptr ? known->text : any_panic);
        }
        case CrashKind::go_fatal: {
            if (message == "stack overflow") return read(place, "which call there never ends the recursion");
            const Advice* known = find(fatals, message);
            return std::string(known != nullptr ? known->text : any_fatal);
        }
        case CrashKind::abort: {
            if (is_malloc_text(message)) return read(place, of_malloc);
            if (message.empty()) return read(place, "what made it end itself there");
            const Advice* known = find(crash.why.empty() ? std::span<const Advice>(aborts) : terminations, message);
            return read(place, known != nullptr ? known->text : "which of its checks failed, and on what value");
        }
        case CrashKind::requested:
            return go ? "if it hung: `incident goroutines CORE --group`, `incident locks CORE`; if it grew: `incident "
                        "heap CORE --retained`"
                      : "if it hung: `incident threads CORE`, `incident locks CORE`; if it grew: `incident maps CORE "
                        "--summary`";
    }
    return {};
}

}  // namespace incident::detect
