// Report: the JSON schema "incident-report/1" as structs (contract.md holds the promises). Written by analyze, read by
// renderers, front-ends and tests. An empty optional means "unknown or not computed" and prints as null; an empty
// vector means "looked, and there is none". Enumerations and structs may gain members, never lose them.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/address.h"
#include "report/frame.h"
#include "report/frame_list.h"

namespace incident::report {

inline constexpr std::string_view schema = "incident-report/1";

struct Tool {
    std::string name = "incident";
    std::string version;
};

enum class ModuleStatus : std::uint8_t { verified, unverified, missing, mismatched };
std::string_view to_string(ModuleStatus status);

struct Module {
    std::string path;                     ///< as the target knew it
    std::optional<std::string> build_id;  ///< lower-case hex, from the core's own memory when it is there
    ModuleStatus status = ModuleStatus::missing;
    std::string found_at;  ///< where our copy was; empty when missing
    std::string note;      ///< "build-id of the file is …", "only its first page is in the core"
};

struct CoreInput {
    std::string path;
    std::uint64_t size = 0;   ///< bytes of the file as given
    std::string compression;  ///< "", "zstd", "xz", "lz4", "gzip"
    std::string arch;         ///< "x86-64"
    std::optional<std::int32_t> pid;
    std::string program;    ///< pr_fname; empty: unknown
    std::string arguments;  ///< pr_psargs
    struct Truncated {
        std::uint64_t at = 0;  ///< first missing byte of the (decompressed) file
        std::uint64_t missing_bytes = 0;
    };
    std::optional<Truncated> truncated;
};

struct Input {
    CoreInput core;
    std::optional<Module> executable;
    std::vector<Module> modules;
};

struct GoRuntime {
    std::string version;     ///< "go1.26.8"
    std::string layout;      ///< dwarf, table
    std::string debug_info;  ///< dwarf, symbols, stripped
    std::string variant;     ///< GOEXPERIMENT or buildmode facts worth a word; may be empty
};

struct Libc {
    std::string name;  ///< glibc, musl
    std::optional<std::string> version;
};

struct Runtime {
    std::optional<GoRuntime> go;
    std::optional<Libc> libc;
};

enum class CrashKind : std::uint8_t { signal, go_panic, go_fatal, abort, requested };
std::string_view to_string(CrashKind kind);  ///< contract words: "go-panic"

struct Signal {
    int number = 0;
    std::string name;         ///< "SIGSEGV"
    std::optional<int> code;  ///< si_code
    std::string code_name;    ///< "SEGV_MAPERR"; empty: unknown
    std::optional<std::int32_t> sender_pid;
    std::optional<std::int32_t> sender_uid;
};

/// One register of the faulting context.
struct Register {
    std::string name;
    std::uint64_t value = 0;
    std::string points_to;  ///< one line of locate
    std::string note;       ///< "base of the faulting access [rax+0x10]"
};

struct Crash {
    CrashKind kind = CrashKind::signal;
    std::optional<Signal> signal;
    std::optional<Address> fault_address;
    std::optional<std::string> instruction;
    std::optional<std::int32_t> thread;
    std::optional<std::int64_t> goroutine;
    std::optional<std::string> message;  ///< the panic's or fatal error's text
    std::string cause;                   ///< one sentence
    std::vector<Frame> frames;
    std::vector<Register> registers;  ///< of the faulting context
    std::vector<FrameSnapshot> snapshots;
    std::vector<Slot> raw_stack;  ///< annotated words around sp
};

struct Thread {
    std::int32_t tid = 0;
    std::string name;
    std::optional<std::int64_t> goroutine;
    std::vector<Register> registers;
    std::vector<Frame> frames;
    std::string stack_end;  ///< why the walk ended: "outermost frame", "cfi: no rule at …"
    std::string note;
};

struct Waited {
    std::uint64_t at_least_ns = 0;
    std::string basis;  ///< "set by the collector; the latest time the core shows"
};

struct BlockedOn {
    Address address;
    std::string what;  ///< "chan int, 0 of 0 queued", "sync.Mutex main.ledger.mu"
};

struct Defer {
    std::string function;              ///< what will be called
    std::string kind;                  ///< open-coded, record, rangefunc
    std::optional<std::size_t> frame;  ///< index into the goroutine's frames; null: its frame is gone or unknown
    std::optional<Address> closure;
};

struct Panic {
    std::string value;  ///< as the runtime would print it
    std::string type;
    bool recovered = false;
    bool goexit = false;
};

struct Goroutine {
    std::int64_t id = 0;
    std::string_view status;       ///< waiting, running, runnable, syscall, dead, …
    std::string_view wait_reason;  ///< the runtime's words; empty: none
    std::optional<Waited> waited;
    std::vector<BlockedOn> blocked_on;  ///< one, or each case of a select; contract's `blocked_on` is the first
    std::string_view created_by;        ///< function; empty: unknown
    std::optional<std::int64_t> created_by_goroutine;
    std::string_view created_file;
    std::uint32_t created_line = 0;
    std::string_view start;  ///< function it began with
    std::vector<std::pair<std::string, std::string>> labels;
    std::optional<std::int32_t> thread;
    bool system = false;  ///< runtime's own goroutine
    bool locked_to_thread = false;
    bool frames_computed = false;  ///< false: frames prints as null
    FrameList frames;
    std::string stack_end;
    std::vector<Defer> defers;
    std::vector<Panic> panics;
    std::vector<FrameSnapshot> snapshots;  ///< filled for `goroutine ID`
};

enum class Strength : std::uint8_t { possible, likely, proved };
enum class Severity : std::uint8_t { info, warning, error };
std::string_view to_string(Strength strength);
std::string_view to_string(Severity severity);

/// A goroutine or a thread; exactly one is set.
struct Actor {
    std::optional<std::int64_t> goroutine;
    std::optional<std::int32_t> thread;
    auto operator<=>(const Actor&) const = default;
};

struct LockWaiter {
    Actor who;
    std::string mode;  ///< lock, rlock, wait
    std::optional<Waited> waited = {};
};

struct LockHolder {
    Actor who;
    std::string basis;
    Strength strength = Strength::possible;
    bool may_release = false;  ///< no known holder: one who might give the lock back all the same
};

struct Lock {
    Address address;
    std::string type;   ///< sync.Mutex, sync.RWMutex, pthread_mutex_t …
    std::string where;  ///< symbol or type+offset; empty: unknown
    struct State {
        std::uint64_t raw = 0;
        std::optional<bool> locked;
        std::optional<std::uint64_t> waiters;
        std::string words;  ///< "locked, 3 waiters", "2 readers, writer pending"
    } state;
    std::vector<LockWaiter> waiters;
    std::vector<LockHolder> holders;
};

/// What else could end the wait that an edge stands for.
enum class Alternatives : std::uint8_t {
    none,    ///< a lock: all who hold it have to give it back
    known,   ///< a channel: any one of those to whom its waiter has edges will do
    unknown  ///< a channel that somebody else may serve, too
};

std::string_view to_string(Alternatives alternatives);

struct WaitEdge {
    Actor from, to;
    std::string what;  ///< "sync.Mutex main.accounts[2].mu"
    std::string basis;
    std::optional<Address> object;
    Alternatives alternatives = Alternatives::none;
};

/// From somebody for whom nobody waits, over as many steps as there are, to the one on whom all of them hang.
struct WaitChain {
    std::vector<std::size_t> edges;  ///< indices into edges, in order
    std::uint64_t alike = 0;         ///< other chains of this length that end at the same place
    bool into_cycle = false;         ///< it ends in a cycle: nobody at its end will ever move
};

/// Somebody on whom others wait while he himself waits for nobody (or in a cycle, of which each member is one; or for
/// what somebody unknown may give him).
struct Blocker {
    Actor who;
    std::uint64_t direct = 0;            ///< wait for something of his
    std::optional<std::uint64_t> total;  ///< and those who wait for them, and so on; null: too many to count
    std::uint64_t possibly = 0;          ///< wait for a lock without a known holder that he might give back
    std::uint64_t objects = 0;           ///< locks and channels for which he is waited on
    bool in_cycle = false;
};

struct WaitGraph {
    std::vector<WaitEdge> edges;
    std::vector<std::vector<std::size_t>> cycles;  ///< indices into edges, in order
    std::vector<WaitChain> chains = {};            ///< of two steps or more, the longest first; a few
    std::vector<Blocker> blockers = {};            ///< who blocks most first; a few
};

struct HeapType {
    std::string name;
    std::uint64_t count = 0;
    std::uint64_t bytes = 0;
    std::uint64_t live = 0;           ///< bytes reachable; of a retainer: its own
    std::optional<std::size_t> only;  ///< of a retainer: the row of an object that is all it keeps, beside itself
};

struct Heap {
    std::vector<HeapType> types;
    std::optional<std::vector<HeapType>> retainers;  ///< bytes = retained size; null: not asked for
    std::map<std::string, std::uint64_t> totals;
};

struct Mapping {
    AddressRange range;
    std::string permissions;    ///< "rw-p" as far as the core tells: "rw-"
    std::uint64_t in_core = 0;  ///< bytes that the core file holds
    std::uint64_t lost = 0;     ///< bytes cut off by truncation
    std::string origin;         ///< core, file, absent, mixed
    std::string path;
    std::uint64_t file_offset = 0;
    std::string what;  ///< "Go heap arena", "stack of thread 12", "libc.so.6 data"
};

/// Bytes of the core file under what they are.
struct MemoryUse {
    std::string group;  ///< "Go heap", "C heap", "threads", "files", "mmap", "core file"
    std::string what;   ///< "objects", "freed, in thread caches and fastbins"
    std::uint64_t bytes = 0;
    std::uint64_t touched = 0;  ///< of these in pages that are not all zero
};

/// `maps --summary`: the sum of all bytes is core_bytes.
struct MemoryAccount {
    std::uint64_t core_bytes = 0;     ///< size of the core file, decompressed
    std::uint64_t memory = 0;         ///< of these the target's memory
    std::uint64_t address_space = 0;  ///< what was mapped, in the core or not
    std::vector<MemoryUse> uses;
};

struct Evidence {
    std::string what;  ///< the fact, one clause
    std::optional<Address> address;
    std::string value;   ///< as read
    std::string origin;  ///< core, file; where the bytes came from
    std::string by;      ///< which reader found it: semtable, open-coded defers, dwarf …
};

struct Subject {
    std::optional<Address> address;
    std::string what;  ///< "lock", "map", "thread"
    std::string type;
    std::string symbol;
};

/// What of a finding every run, build and version of a program shares: by it triage tells one fault from another. Holds
/// no addresses, ids or counts.
struct Mark {
    std::string fault;   ///< what is wrong, when the kind leaves that open: "len over cap", "free slot"
    std::string holder;  ///< with what, by type and field or by symbol: "main.holder.where", "g_worker->current"
    std::string shape;   ///< the same without names, for programs that have none: "+0x8 in a 24 B chunk"
};

struct Verify {
    std::string tool;  ///< gdb, dlv, go tool …
    std::string command;
};

struct Finding {
    std::string kind;  ///< contract's finding kinds, forever
    Severity severity = Severity::info;
    Strength strength = Strength::possible;
    std::string title;  ///< one sentence: the report's WHAT
    std::string where;  ///< the report's WHERE, when this is the first finding
    std::string why;    ///< the report's WHY
    Subject subject;
    Mark mark;
    std::string explanation;
    std::vector<Evidence> evidence;
    std::uint64_t count = 1;  ///< objects of which all this is true alike; the subject is one of them
    std::vector<std::int64_t> goroutines;
    std::vector<std::int32_t> threads;
    std::vector<FrameSnapshot> snapshots;
    std::vector<std::string> innocent;  ///< harmless explanations not ruled out
    std::vector<Verify> verify;
    std::string remedy;
    std::vector<std::string> related;
};

enum class Outcome : std::uint8_t { clean, found, partial, skipped, not_applicable };
std::string_view to_string(Outcome outcome);

struct DetectorOutcome {
    std::string id;
    Outcome outcome = Outcome::skipped;
    std::uint64_t checked = 0;
    std::uint64_t unchecked = 0;
    std::string reason;  ///< why skipped, partial or not applicable; what was not checked
};

struct Gap {
    std::string what;  ///< what is unknown
    std::string why;
    std::string weakens;  ///< which conclusions rest on it
    bool damage = true;   ///< counts for exit code 3: input damaged, incomplete, mismatched, or a pass failed
};

/// Answer of `locate`.
struct Location {
    Address address;
    std::string kind;  ///< go-heap, go-stack, image, native-stack, mapping, unmapped, unknown …
    std::string text;  ///< the one line everybody prints
    std::vector<std::pair<std::string, std::string>> details;
};

/// One word of `read`.
struct Word {
    Address address;
    std::optional<std::uint64_t> value;  ///< null: unreadable, see text
    std::string symbol;                  ///< what lies at the address itself
    std::string points_to;               ///< what the value is
    std::string origin;                  ///< core, file, or why absent
};

struct Report {
    std::string command;  ///< analyze, crash, goroutines …: which sections to expect
    Tool tool;
    Input input;
    Runtime runtime;
    std::optional<Crash> crash;
    std::optional<std::vector<Thread>> threads;
    std::optional<std::vector<Goroutine>> goroutines;
    std::optional<std::vector<Lock>> locks;
    std::optional<WaitGraph> wait_graph;
    std::optional<Heap> heap;
    std::optional<std::vector<Mapping>> maps;
    std::optional<MemoryAccount> memory;  ///< maps --summary
    std::vector<Finding> findings;
    std::vector<DetectorOutcome> detectors;
    std::vector<Gap> gaps;
    std::optional<Location> location;
    std::optional<std::vector<Word>> words;
    std::shared_ptr<const void> keep_alive;  ///< the Process whose memory the string_views point into
};

}  // namespace incident::report
