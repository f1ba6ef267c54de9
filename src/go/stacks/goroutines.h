// Goroutines: all of them, from allgs, and the threads (m) they run on. A goroutine's registers come from g.sched
// (parked, runnable), g.syscallsp/pc (in a syscall or in C), its thread's registers or the ucontext on the signal stack
// (running). Their stacks are walk.h, what they wait for is go/sync/waits.h, their defers and panics are defers.h and
// panics.h.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "core/core_file.h"
#include "go/binary/runtime.h"
#include "report/report.h"

namespace incident::go {

enum class Status : std::uint8_t {
    idle,
    runnable,
    running,
    syscall,
    waiting,
    dead,
    copystack,
    preempted,
    leaked,
    deadextra,
    unknown
};
/// The runtime's own words: "runnable", "waiting for cgo callback"; "unknown" for what no runtime has.
std::string_view to_string(Status status);

/// Words of a wait reason number in this release; empty: zero, or a number that this release does not have.
std::string_view wait_reason_words(const Version& version, std::uint8_t number);

/// One runtime.g as read, before its stack is walked. 10^5 of them: keep it small.
struct Goroutine {
    Address g;
    std::int64_t goid = 0;
    Status status = Status::unknown;
    std::uint8_t wait_reason_number = 0;
    bool scanning = false;  ///< the collector held its status (_Gscan bit)
    bool system = false;    ///< runtime's own (isSystemGoroutine)
    bool locked_to_thread = false;
    std::uint32_t raw_status = 0;
    AddressRange stack;
    Address sched_sp, sched_pc, sched_bp;
    Address syscall_sp, syscall_pc, syscall_bp;  ///< null when not in a syscall
    Address m;                                   ///< null when not running on one
    Address locked_m;                            ///< runtime.LockOSThread, or called from C
    std::optional<std::int32_t> tid;             ///< LWP it runs on
    std::string_view wait_reason;                ///< the runtime's words; empty: none or unknown
    std::int64_t wait_since = 0;                 ///< nanotime; 0 unknown
    Address waiting;                             ///< *sudog
    Address defers, panics;                      ///< *_defer, *_panic
    Address gopc, startpc, labels;
    std::int64_t parent_goid = 0;  ///< 0: this runtime does not say
    Address sig_pc, sig_address;   ///< g.sigpc, g.sigcode1
    std::uint32_t sig = 0;
    std::uint64_t sig_code = 0;

    /// What runtime.Stack prints in the brackets: the wait reason when it waits, else the status.
    std::string_view state_words() const;
};

struct Machine_m {  ///< one runtime.m
    Address m, g0, gsignal, curg;
    AddressRange g0_stack,
        gsignal_stack;         ///< of a cgo program's first thread g0's lower bound is a guess of the runtime
    Address g0_sched_sp;       ///< where the next switch to g0 starts; under a callback: its cgocallback frame
    Address vdso_sp, vdso_pc;  ///< caller of a running vDSO call; null: none
    std::int64_t id = 0;
    std::int64_t procid = 0;  ///< m.procid: the LWP id in the process's own PID namespace
    std::int32_t tid = 0;     ///< joined to the core's LWP ids; 0: no thread of the core
    bool in_cgo = false;
    std::int32_t throwing = 0, dying = 0;  ///< m.throwing > 0: it died of a throw
};

/// The latest nanotime that the core shows: a core has no clock of its own.
struct LatestTime {
    std::int64_t nanotime = 0;  ///< 0: nothing in the core tells
    std::string_view basis;     ///< "sched.lastpoll", "waitsince of a goroutine" …
};

class CodeTable;

/// What a quick question (the crash itself) needs is only what runs on a thread.
enum class Which : std::uint8_t { all, on_threads };

struct GoroutineList {
    Which which = Which::all;    ///< what was asked for
    std::vector<Goroutine> all;  ///< in order of allgs, without dead ones
    std::size_t dead = 0;
    std::vector<Machine_m> machines;
    LatestTime latest;
    std::vector<report::Gap> gaps;
    std::shared_ptr<CodeTable> code;  ///< names and lines by pc, shared by all walks; never null

    const Goroutine* find(std::int64_t goid) const;
    const Goroutine* at(Address g) const;  ///< by address of the g; O(log n)
    const Machine_m* machine(Address m) const;
    const Machine_m* machine_of_thread(std::int32_t tid) const;

    std::vector<std::pair<Address, std::uint32_t>> by_address;  ///< sorted; index into `all`
    std::vector<std::pair<std::int64_t, std::uint32_t>> by_goid;
};

/// Reads allgs and allm. Parallel over goroutines. `on_threads` reads no more than each m's current goroutine.
Result<GoroutineList> read_goroutines(const CoreFile& core, const Memory& memory, const Runtime& runtime, unsigned jobs,
                                      Which which = Which::all);

/// What the contract prints as `waited`; nullopt when the runtime noted no time or the core has none to compare with.
std::optional<report::Waited> waited(const GoroutineList& list, const Goroutine& g);

/// Profiler labels (pprof.Do), sorted by key. A map up to Go 1.23, a slice of pairs since 1.24.
std::vector<std::pair<std::string, std::string>> read_labels(const Memory& memory, const Runtime& runtime,
                                                             const Goroutine& g);

/// Who started it and with which function, as runtime.Stack's last lines say.
struct Origin_g {
    std::string_view created_by;  ///< function; empty: unknown, or the runtime would not print it
    std::optional<std::int64_t> created_by_goroutine;
    SourcePosition created_at;
    Address created_pc;
    std::string_view start;  ///< function it began with
};
Origin_g origin_of(const Runtime& runtime, const GoroutineList& list, const Goroutine& g);

}  // namespace incident::go
