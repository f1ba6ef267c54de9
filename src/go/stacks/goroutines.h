// Goroutines: all of them, from allgs, and their stacks. A goroutine's registers come from g.sched (parked, runnable),
// g.syscallsp/pc (in a syscall or in C), its thread's registers or the ucontext on the signal stack (running).
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/core_file.h"
#include "go/binary/runtime.h"
#include "report/report.h"
#include "unwind/unwinder.h"

namespace incident::go {

enum class Status : std::uint8_t { idle, runnable, running, syscall, waiting, dead, copystack, preempted, leaked, deadextra, unknown };
std::string_view to_string(Status status);

/// One runtime.g as read, before its stack is walked. 10^5 of them: keep it small.
struct Goroutine {
    Address g;
    std::int64_t goid = 0;
    Status status = Status::unknown;
    std::uint32_t raw_status = 0;
    AddressRange stack;
    Address sched_sp, sched_pc, sched_bp;
    Address syscall_sp, syscall_pc, syscall_bp;     ///< null when not in a syscall
    Address m;                                      ///< null when not running on one
    std::optional<std::int32_t> tid;                ///< LWP it runs on
    std::uint8_t wait_reason_number = 0;
    std::string_view wait_reason;                   ///< the runtime's words; empty: none or unknown
    std::int64_t wait_since = 0;                    ///< nanotime; 0 unknown
    Address waiting;                                ///< *sudog
    Address defers, panics;                         ///< *_defer, *_panic
    Address gopc, startpc, labels;
    std::int64_t parent_goid = 0;                   ///< 0: this runtime does not say
    bool system = false;                            ///< runtime's own (isSystemGoroutine)
    bool locked_to_thread = false;
    Address sig_pc, sig_address;                    ///< g.sigpc, g.sigcode1
    std::uint32_t sig = 0;
    std::uint64_t sig_code = 0;
};

struct Machine_m {                                  ///< one runtime.m
    Address m, g0, gsignal, curg;
    AddressRange g0_stack, gsignal_stack;
    std::int64_t id = 0;
    std::int32_t tid = 0;                           ///< m.procid, joined to the core's LWP ids
    bool in_cgo = false;
};

struct GoroutineList {
    std::vector<Goroutine> all;                     ///< without dead ones
    std::size_t dead = 0;
    std::vector<Machine_m> machines;
    std::vector<report::Gap> gaps;
};

/// Reads allgs and allm. Parallel over goroutines.
Result<GoroutineList> read_goroutines(const CoreFile& core, const Memory& memory, const Runtime& runtime, unsigned jobs);

/// One physical frame of a goroutine's stack: what detectors and defers work on.
struct PhysicalFrame {
    Func func;                     ///< func.table null: not a Go function
    Address pc, sp, cfa;           ///< cfa = sp at entry + 8 (caller's sp)
    std::optional<Address> bp;
    std::optional<Address> varp;   ///< base for locals; amd64: cfa-16 when the frame is non-empty
    bool after_call = true;
    report::Trust trust = report::Trust::pclntab;
    report::FrameKind kind = report::FrameKind::go;
};

struct GoStack {
    std::vector<PhysicalFrame> physical;
    std::vector<report::Frame> frames;      ///< logical, printed ones; physical index in frame_of
    std::vector<std::uint32_t> frame_of;    ///< frames[i] belongs to physical[frame_of[i]]
    std::string end;                        ///< why it ended
    bool complete = false;
};

struct StackOptions {
    std::size_t limit = 10000;     ///< physical frames
    bool elide = true;             ///< drop wrappers and mark runtime frames as the runtime does
};

/// Walks one goroutine. `native_steps` (CFI…) join C frames under Go; empty in parallel passes, which must not touch libdw.
/// [any thread] when native_steps is empty.
GoStack walk_goroutine(const CoreFile& core, const Memory& memory, const Runtime& runtime, const GoroutineList& list, const Goroutine& g,
                       std::span<const UnwindStep> native_steps, const StackOptions& options = {});

}  // namespace incident::go
