#include "support/sample_report.h"

#include <memory>
#include <string>
#include <utility>

namespace incident::test {

using namespace incident::report;

namespace {

Frame go_frame(std::uint64_t pc, std::string_view function, std::string_view file, std::uint32_t line, std::uint64_t sp,
               bool internal = false) {
    Frame f;
    f.pc = {pc};
    f.sp = Address{sp};
    f.bp = Address{sp + 0x40};
    f.cfa = Address{sp + 0x50};
    f.function = function;
    f.file = file;
    f.line = line;
    f.module = "/srv/settle/settle";
    f.module_offset = pc - 0x400000;
    f.function_offset = 0x8e;
    f.kind = FrameKind::go;
    f.trust = Trust::pclntab;
    f.runtime_internal = internal;
    return f;
}

Frame c_frame(std::uint64_t pc, std::string_view function, std::string_view module, std::uint64_t offset,
              std::uint64_t sp, Trust trust = Trust::cfi) {
    Frame f;
    f.pc = {pc};
    f.sp = Address{sp};
    f.cfa = Address{sp + 0x30};
    f.function = function;
    f.module = module;
    f.module_offset = offset;
    f.kind = FrameKind::native;
    f.trust = trust;
    return f;
}

Heap settle_heap() {
    return Heap{{{"main.Order", 1'200'000, 96'000'000, 95'000'000},
                 {"[]uint8", 40'112, 41'000'000, 20'000'000},
                 {"func main.(*Ledger).Apply.func1", 12, 384, 384},
                 {"?noscan-64", 2, 128, 128},
                 {"?scan-96", 1, 96, 0}},
                {},
                {{"allocated_bytes", 137'000'608},
                 {"allocated_objects", 1'240'127},
                 {"arena_bytes", 201'326'592},
                 {"garbage_bytes", 22'000'096},
                 {"garbage_objects", 24'001},
                 {"in_use_bytes", 140'000'000},
                 {"live_bytes", 115'000'512},
                 {"live_objects", 1'216'126},
                 {"stack_bytes", 4'000'000},
                 {"typed_live_bytes", 115'000'384}}};
}

Report settle(std::string command) {
    Report r;
    r.command = std::move(command);
    r.tool.version = "0.1.0";
    r.input.core = {.path = "/var/cores/core.4711.zst",
                    .size = 46'512'128,
                    .compression = "zstd",
                    .arch = "x86-64",
                    .pid = 4711,
                    .program = "settle",
                    .arguments = "/srv/settle/settle -queue eu-1",
                    .truncated = std::nullopt};
    Module exe{.path = "/srv/settle/settle",
               .build_id = "5e1f0c5b7c3a4f0d9f1b2c3d4e5f60718293a4b5",
               .status = ModuleStatus::verified,
               .found_at = "/srv/settle/settle",
               .note = ""};
    Module libc{.path = "/lib/x86_64-linux-gnu/libc.so.6",
                .build_id = "c047672cae7964324658491e7dee26748ae5d2f8",
                .status = ModuleStatus::missing,
                .found_at = "",
                .note = "only its first page is in the core"};
    r.input.executable = exe;
    r.input.modules = {exe, libc};
    r.runtime.go = GoRuntime{.version = "go1.27.3", .layout = "table", .debug_info = "stripped", .variant = ""};
    r.runtime.libc = Libc{"glibc", "2.36"};
    return r;
}

std::vector<Frame> mutex_wait(std::uint64_t base, std::string_view function, std::uint32_t line,
                              std::uint32_t caller_line) {
    return {go_frame(0x43d0ee, "runtime.gopark", "/usr/local/go/src/runtime/proc.go", 435, base - 0xc0, true),
            go_frame(0x44e1c5, "internal/sync.(*Mutex).lockSlow", "/usr/local/go/src/internal/sync/mutex.go", 149,
                     base - 0x60),
            go_frame(0x4a238e, function, "/home/ana/settle/ledger.go", line, base),
            go_frame(0x4a2417, "main.worker", "/home/ana/settle/ledger.go", caller_line, base + 0x90),
            go_frame(0x470001, "runtime.goexit", "/usr/local/go/src/runtime/asm_amd64.s", 1700, base + 0xe0, true)};
}

Goroutine waiter(std::int64_t id, std::string_view function, std::uint32_t line) {
    Goroutine g;
    g.id = id;
    g.status = "waiting";
    g.wait_reason = "sync.Mutex.Lock";
    g.blocked_on = {{Address{0x58c0e8}, "sync.Mutex main.ledger.mu"}};
    g.created_by = "main.main";
    g.created_by_goroutine = 1;
    g.created_file = "/home/ana/settle/main.go";
    g.created_line = 60;
    g.start = "main.worker";
    g.labels = {{"queue", "eu-1"}};
    g.frames_computed = true;
    g.frames = mutex_wait(0x1b00cd1b7f40 + static_cast<std::uint64_t>(id) * 0x1000, function, line, 88);
    g.stack_end = "outermost frame";
    return g;
}

FrameSnapshot apply_snapshot() {
    FrameSnapshot s;
    s.frame = go_frame(0x4a238e, "main.(*Ledger).Apply", "/home/ana/settle/ledger.go", 41, 0x1b00cd1caf40);
    s.index = 2;
    s.goroutine = 19;
    auto at = [](std::uint64_t a) { return std::optional(Address{a}); };
    s.slots = {
        {"bp+0x10", at(0x1b00cd1caf90), "l", "*main.Ledger", "0x58c0e0", "data: main.ledger", "dwarf"},
        {"bp+0x08", at(0x1b00cd1caf88), "", "return", "0x4a2417", "main.worker ledger.go:88, a call stands before it",
         "frame layout"},
        {"bp+0x00", at(0x1b00cd1caf80), "", "saved bp", "0x1b00cd1cafd0", "next frame, higher: sound", "frame layout"},
        {"bp-0x20", at(0x1b00cd1caf60), "amount", "int64", "1250", "", "dwarf"},
        {"bp-0x28", at(0x1b00cd1caf58), "tx", "*main.Tx", "0x1b00cd0e4120", "heap: main.Tx, 48 B, live", "dwarf"},
    };
    s.code = {{{0x4a2385}, "lea rax, [rip+0xe9d54]", "&main.ledger.mu", false},
              {{0x4a2389}, "call sync.(*Mutex).Lock", "", false},
              {{0x4a238e}, "mov rcx, [rsp+0x50]", "waits for the call above", true}};
    return s;
}

std::vector<DetectorOutcome> usual_detectors(Outcome mutex) {
    return {{"crash", Outcome::clean, 1, 0, ""},
            {"go.mutex", mutex, 12, 0, ""},
            {"go.map", Outcome::partial, 40, 3, "3 maps of a type that has no name in a stripped binary"},
            {"native.mutex", Outcome::not_applicable, 0, 0, "no pthread locks in this process"},
            {"go.pool", Outcome::skipped, 0, 0, "--skip go.pool"}};
}

}  // namespace

Report sample_hang() {
    auto r = settle("analyze");
    Crash crash;
    crash.kind = CrashKind::requested;
    crash.signal =
        Signal{.number = 3, .name = "SIGQUIT", .code = 0, .code_name = "SI_USER", .sender_pid = 812, .sender_uid = 0};
    crash.thread = 4711;
    crash.cause = "The process was cored from outside: SIGQUIT, sent by pid 812";
    r.crash = crash;

    std::vector<Goroutine> all{waiter(19, "main.(*Ledger).Apply", 41), waiter(20, "main.(*Ledger).Apply", 41),
                               waiter(22, "main.(*Ledger).Total", 57)};
    all[0].waited = Waited{252'000'000'000, "GC cycle 31 stamped it; the latest time the core shows"};
    Goroutine main;
    main.id = 1;
    main.status = "waiting";
    main.wait_reason = "chan receive";
    main.blocked_on = {{Address{0xc000112000}, "chan struct {}, 0 of 0 queued"}};
    main.frames_computed = true;
    main.frames =
        std::vector{go_frame(0x43d0ee, "runtime.gopark", "/usr/local/go/src/runtime/proc.go", 435, 0xc00009fe00, true),
                    go_frame(0x4a3001, "main.main", "/home/ana/settle/main.go", 71, 0xc00009fec0)};
    main.start = "runtime.main";
    all.insert(all.begin(), main);
    Goroutine sweeper;
    sweeper.id = 3;
    sweeper.status = "waiting";
    sweeper.wait_reason = "GC sweep wait";
    sweeper.system = true;
    sweeper.created_by = "runtime.gcenable";
    all.push_back(sweeper);
    r.goroutines = all;
    Thread t;
    t.tid = 4720;
    t.name = "settle";
    t.registers = {{"rip", 0x7f2c40112233, "libc.so.6 text", ""}, {"rsp", 0x7f2c3ff0ee00, "stack of thread 4720", ""}};
    t.frames = {
        c_frame(0x7f2c40112233, "", "/lib/x86_64-linux-gnu/libc.so.6", 0x112233, 0x7f2c3ff0ee00, Trust::context)};
    t.stack_end = "cfi: no rule at 0x7f2c40112233";
    r.threads = std::vector{t};
    r.locks = std::vector<Lock>{{.address = {0x58c0e8},
                                 .type = "sync.Mutex",
                                 .where = "main.ledger.mu",
                                 .state = {.raw = 0x19, .locked = true, .waiters = 3, .words = "locked, 3 waiters"},
                                 .waiters = {{{.goroutine = 19, .thread = {}}, "lock"},
                                             {{.goroutine = 20, .thread = {}}, "lock"},
                                             {{.goroutine = 22, .thread = {}}, "lock"}},
                                 .holders = {}}};
    r.wait_graph = WaitGraph{};

    Finding f;
    f.kind = "go.mutex.orphaned";
    f.severity = Severity::error;
    f.strength = Strength::likely;
    f.title = "A lock is held and nobody alive can unlock it: main.ledger.mu";
    f.where = "locked in main.(*Ledger).Apply (ledger.go:41) by a goroutine that is gone; 3 goroutines wait";
    f.why = "state 0x19 = locked + 3 waiters, and no defer, frame, timer or runnable goroutine leads to Unlock";
    f.subject = {Address{0x58c0e8}, "lock", "sync.Mutex", "main.ledger.mu"};
    f.evidence = {
        {"the lock's state is locked, with 3 waiters", Address{0x58c0e8}, "0x19", "core", "sync.Mutex layout"},
        {"23 goroutines, 31 pending defers, 118 frames from their return address on, 2 timers, 1 finalizer and 4 "
         "queued channel "
         "values were searched: none leads to Unlock of this lock",
         {},
         "",
         "",
         "open-coded defers, disassembly"},
        {"C code of thread 4720 was not searched: it has no symbols", {}, "", "", ""}};
    f.goroutines = {19, 20, 22};
    f.snapshots = {apply_snapshot()};
    f.innocent = {"a lock handed to code that is reached only through that C thread would look the same"};
    f.verify = {
        {"gdb", "gdb settle core.4711 -ex 'x/2wx 0x58c0e8'      # first word 0x19: bit 0 locked, >>3 = 3 waiters"}};
    f.remedy =
        "find the early return or recovered panic between Lock and Unlock in Apply; write `defer mu.Unlock()` right "
        "after Lock";
    f.related = {"go.goroutine.leaked"};
    Finding requested;
    requested.kind = "crash.requested";
    requested.severity = Severity::info;
    requested.strength = Strength::proved;
    requested.title = "The process was cored from outside: SIGQUIT, sent by pid 812";
    r.findings = {f, requested};
    r.detectors = usual_detectors(Outcome::found);
    r.gaps = {{"symbols and unwind data of /lib/x86_64-linux-gnu/libc.so.6",
               "no file with build-id c047672cae7964324658491e7dee26748ae5d2f8 was found",
               "C stacks of threads; who holds pthread locks", false}};
    r.heap = settle_heap();
    return r;
}

Report sample_crash() {
    auto r = settle("analyze");
    r.input.core.compression.clear();
    r.input.core.path = "core.8812";
    r.runtime.go->debug_info = "dwarf";
    r.runtime.go->layout = "dwarf";
    std::vector<Frame> frames{
        go_frame(0x4a3a17, "main.(*Order).Total", "/home/ana/settle/order.go", 23, 0x1b00cd3c1e60),
        go_frame(0x4a3b02, "main.settle", "/home/ana/settle/settle.go", 77, 0x1b00cd3c1ea0),
        go_frame(0x4a3b02, "main.settle.func2", "/home/ana/settle/settle.go", 64, 0x1b00cd3c1ea0),
        go_frame(0x4a3c55, "main.run", "/home/ana/settle/settle.go", 31, 0x1b00cd3c1f30),
        go_frame(0x470001, "runtime.goexit", "/usr/local/go/src/runtime/asm_amd64.s", 1700, 0x1b00cd3c1fe0, true)};
    frames[0].trust = Trust::context;
    frames[0].after_call = false;
    frames[1].inlined = true;
    Crash crash;
    crash.kind = CrashKind::go_panic;
    crash.signal = Signal{
        .number = 11, .name = "SIGSEGV", .code = 1, .code_name = "SEGV_MAPERR", .sender_pid = {}, .sender_uid = {}};
    crash.fault_address = Address{0x10};
    crash.instruction = "mov rcx, [rax+0x10]";
    crash.thread = 8812;
    crash.goroutine = 41;
    crash.message = "runtime error: invalid memory address or nil pointer dereference";
    crash.cause = "nil pointer dereference in main.(*Order).Total";
    crash.frames = frames;
    crash.registers = {{"rip", 0x4a3a17, "main.(*Order).Total order.go:23", "SIGSEGV SEGV_MAPERR at 0x10"},
                       {"rax", 0x0, "nil", "base of the faulting access [rax+0x10]"},
                       {"rbx", 0x1b00cd0e4120, "heap: main.Tx, 48 B, live", ""},
                       {"rcx", 0x2, "", ""},
                       {"rdx", 0x1b00cd3c1f08, "goroutine 41's stack, frame #1", ""},
                       {"rsi", 0x10, "", ""},
                       {"rdi", 0x7f, "", ""},
                       {"rsp", 0x1b00cd3c1e60, "goroutine 41's stack, 0x1a0 below its top", ""},
                       {"rbp", 0x1b00cd3c1ea0, "goroutine 41's stack, saved bp of #1", ""},
                       {"r8", 0x1, "", ""},
                       {"r14", 0x1b00cd002380, "heap: runtime.g, goroutine 41", ""},
                       {"eflags", 0x10246, "", ""}};
    FrameSnapshot s;
    s.frame = frames[0];
    s.goroutine = 41;
    auto at = [](std::uint64_t a) { return std::optional(Address{a}); };
    s.slots = {{"rax", {}, "o", "*main.Order", "0x0", "nil", "dwarf"},
               {"bp+0x08", at(0x1b00cd3c1ea8), "", "return", "0x4a3b02",
                "main.settle settle.go:77, a call stands before it", "frame layout"},
               {"bp-0x08", at(0x1b00cd3c1e98), "sum", "int64", "0", "", "dwarf"},
               {"bp-0x30", at(0x1b00cd3c1e70), "", "word", "0x1b00cd0e4120", "heap: main.Tx, 48 B, live", "scan"}};
    s.code = {{{0x4a3a10}, "mov [rsp+0x8], rax", "", false},
              {{0x4a3a15}, "xor edx, edx", "", false},
              {{0x4a3a17}, "mov rcx, [rax+0x10]", "reads o.Lines, o is nil", true},
              {{0x4a3a1b}, "test rcx, rcx", "", false}};
    crash.snapshots = {s};
    crash.raw_stack = {{"sp+0x00", at(0x1b00cd3c1e60), "", "", "0x0", "", ""},
                       {"sp+0x08", at(0x1b00cd3c1e68), "", "", "0x1b00cd0e4120", "heap: main.Tx, 48 B, live", ""},
                       {"sp+0x10", at(0x1b00cd3c1e70), "", "", "0x2", "", ""},
                       {"sp+0x48", at(0x1b00cd3c1ea8), "", "", "0x4a3b02", "return into main.settle settle.go:77", ""}};
    r.crash = crash;
    Goroutine g;
    g.id = 41;
    g.status = "running";
    g.thread = 8812;
    g.created_by = "main.main";
    g.created_file = "/home/ana/settle/main.go";
    g.created_line = 40;
    g.frames_computed = true;
    g.frames = frames;
    g.defers = {{"main.settle.func1", "open-coded", 1, Address{0x1b00cd3c1f10}},
                {"main.(*DB).Rollback", "record", 3, {}}};
    g.panics = {
        {"runtime error: invalid memory address or nil pointer dereference", "runtime.errorString", false, false},
        {"lines: EOF", "*errors.errorString", true, false}};
    r.goroutines = std::vector{g};
    Finding f;
    f.kind = "crash.panic";
    f.severity = Severity::error;
    f.strength = Strength::proved;
    f.title = "nil pointer dereference: main.(*Order).Total read field Lines (offset 0x10) of a nil *Order";
    f.where = "main.(*Order).Total order.go:23, called from main.settle settle.go:77, goroutine 41";
    f.why = "rax = 0 was loaded from bp-0x48 (variable o), which settle got from the map orders at settle.go:75";
    f.subject = {Address{0x10}, "fault", "", ""};
    f.evidence = {{"the instruction at the fault reads [rax+0x10], and rax is 0", Address{0x4a3a17},
                   "mov rcx, [rax+0x10]", "file", "disassembly"}};
    f.goroutines = {41};
    f.threads = {8812};
    f.verify = {{"dlv", "dlv core settle core.8812, then: goroutine 41, frame 0, regs"}};
    f.remedy = "check the map lookup's second result at settle.go:75";
    r.findings = {f};
    r.detectors = usual_detectors(Outcome::clean);
    r.detectors[0].outcome = Outcome::found;
    return r;
}

Report sample_cycle() {
    auto r = settle("analyze");
    auto who = [](std::int64_t g) { return Actor{.goroutine = g, .thread = {}}; };
    auto thread = [](std::int32_t t) { return Actor{.goroutine = {}, .thread = t}; };
    r.wait_graph = WaitGraph{
        {{who(18), who(21), "sync.Mutex main.accounts[2].mu", "pending defer, bank.go:30", Address{0xc000118040}},
         {who(21), thread(4731), "pthread_mutex_t bank_lock", "owner in the lock", Address{0x7f2c41000010}},
         {thread(4731), who(18), "sync.Mutex main.accounts[1].mu", "pending defer, bank.go:30", Address{0xc000118020}},
         {who(30), who(18), "sync.Mutex main.accounts[1].mu", "pending defer, bank.go:30", Address{0xc000118020}}},
        {{0, 1, 2}}};
    r.locks = std::vector<Lock>{{.address = {0xc000118040},
                                 .type = "sync.Mutex",
                                 .where = "main.accounts[2].mu",
                                 .state = {.raw = 0x9, .locked = true, .waiters = 1, .words = "locked, 1 waiter"},
                                 .waiters = {{who(18), "lock"}},
                                 .holders = {{who(21), "pending defer, bank.go:30", Strength::likely}}},
                                {.address = {0x7f2c41000010},
                                 .type = "pthread_mutex_t",
                                 .where = "bank_lock",
                                 .state = {.raw = 2, .locked = true, .waiters = {}, .words = "locked, contended"},
                                 .waiters = {{who(21), "lock"}},
                                 .holders = {{thread(4731), "owner in the lock", Strength::proved}}}};
    Goroutine a = waiter(18, "main.debit", 30), b = waiter(21, "main.credit", 30);
    a.blocked_on = {{Address{0xc000118040}, "sync.Mutex main.accounts[2].mu"}};
    b.status = "syscall";
    b.wait_reason = "";
    b.blocked_on = {{Address{0x7f2c41000010}, "pthread_mutex_t bank_lock"}};
    b.thread = 4730;
    r.goroutines = std::vector{a, b};
    Thread t;
    t.tid = 4731;
    t.name = "audit";
    t.registers = {{"rip", 0x7f2c40112233, "libc.so.6 text", ""}};
    t.frames = {c_frame(0x7f2c40112233, "__lll_lock_wait", "/lib/x86_64-linux-gnu/libc.so.6", 0x112233, 0x7f2c3ff0ee00,
                        Trust::context),
                c_frame(0x55d0c0001234, "audit_loop(std::vector<Entry, std::allocator<Entry> >&)",
                        "/srv/settle/libaudit.so", 0x1234, 0x7f2c3ff0ee40),
                c_frame(0x55d0c0009999, "", "/srv/settle/libaudit.so", 0x9999, 0x7f2c3ff0ef40, Trust::scan)};
    t.stack_end = "cfi: no rule at 0x55d0c0009999";
    r.threads = std::vector{t};
    Finding f;
    f.kind = "lock.cycle";
    f.severity = Severity::error;
    f.strength = Strength::likely;
    f.title = "3 parties wait for each other in a circle: goroutines 18, 21 and thread 4731";
    f.where = "main.debit bank.go:30, main.credit bank.go:30, audit_loop in libaudit.so";
    f.why = "each holds the lock that the one before it wants";
    f.subject = {Address{0xc000118040}, "lock", "sync.Mutex", "main.accounts[2].mu"};
    f.goroutines = {18, 21};
    f.threads = {4731};
    f.evidence = {{"goroutine 18 waits for main.accounts[2].mu", Address{0xc000118040}, "0x9", "core", "semtable"}};
    f.remedy = "lock the accounts in one order, for instance by id";
    Finding leak;
    leak.kind = "go.goroutine.leaked";
    leak.severity = Severity::warning;
    leak.strength = Strength::possible;
    leak.title = "2 goroutines are blocked forever on a channel that nobody else can reach";
    leak.where = "main.fetch fetch.go:12";
    leak.why = "the channel is reachable only from their own stacks";
    leak.subject = {Address{0xc000200060}, "channel", "chan main.Result", ""};
    for (std::int64_t id = 100; id < 130; ++id) leak.goroutines.push_back(id);
    leak.innocent = {"a timer or a C thread that still holds the channel"};
    r.findings = {f, leak};
    r.detectors = usual_detectors(Outcome::found);
    return r;
}

Report sample_healthy() {
    auto r = sample_hang();
    r.findings.erase(r.findings.begin());
    r.locks->clear();
    r.gaps.clear();
    r.detectors = usual_detectors(Outcome::clean);
    for (auto& g : *r.goroutines) g.wait_reason = g.system ? g.wait_reason : "select";
    return r;
}

Report sample_core_alone() {
    auto r = settle("analyze");
    r.input.executable->status = ModuleStatus::missing;
    r.input.executable->found_at.clear();
    r.input.modules[0] = *r.input.executable;
    r.input.core.truncated = CoreInput::Truncated{28'311'552, 18'200'576};
    r.runtime.go = GoRuntime{.version = "go1.19.8", .layout = "table", .debug_info = "stripped", .variant = ""};
    r.runtime.libc.reset();
    Goroutine g;
    g.id = 1;
    g.status = "waiting";
    g.wait_reason = "select (no cases)";
    r.goroutines = std::vector{g};
    r.gaps = {{"executable /srv/settle/settle",
               "no file with build-id 5e1f0c5b7c3a4f0d9f1b2c3d4e5f60718293a4b5 was found: give it as EXE, or --sysroot",
               "function names, frames and every finding that reads code", true},
              {"18.2 MB at the end of the core", "the file is cut off at byte 28311552",
               "whatever lay in 12 mappings from 0x7f2c40000000 on", true}};
    r.detectors = {{"go.mutex", Outcome::partial, 0, 12, "no executable"}};
    return r;
}

Report sample_hostile() {
    auto r = settle("analyze");
    static const std::string evil = "evil\x1b[31m\nname\xff\xe2\x80\xae";
    static const std::string longest = "main." + std::string(180, 'x') + "[go.shape.struct { A int; B string }].Method";
    r.input.core.program = evil;
    r.input.core.path = "core\x1b]0;owned\x07";
    Crash crash;
    crash.kind = CrashKind::go_panic;
    crash.message = "first line\nsecond \x1b[2J line \xc0\xaf";
    crash.cause = evil;
    crash.frames = {go_frame(0x4a3a17, longest, "/home/ana/\x1b[1mprojekt größe/数据.go", 23, 0x1b00cd3c1e60),
                    go_frame(0x4a3a18, evil, "", 0, 0x1b00cd3c1e90)};
    r.crash = crash;
    Finding f;
    f.kind = "crash.panic";
    f.severity = Severity::error;
    f.strength = Strength::proved;
    f.title = "panic: " + evil;
    f.where = longest;
    f.subject = {Address{0x10}, "fault", evil, longest};
    f.evidence = {{"a fact with " + evil, Address{1}, "value\xfe", "core", "by\x1b"}};
    f.innocent = {"sound", "not\xffsound"};
    FrameSnapshot s;
    s.frame = crash.frames[0];
    s.slots = {{"bp-0x10", Address{0xc000001000}, evil, longest, "\"te\x1b[0mxt\"", "heap: " + longest, "dwarf"}};
    s.code = {{{0x4a3a17}, "nop", evil, true}};
    f.snapshots = {s};
    Goroutine g;
    g.id = 7;
    g.status = "waiting";
    g.frames_computed = true;
    g.frames = crash.frames;
    g.labels = {{"k\xff", evil}};
    g.panics = {{evil, "string", false, false}};
    f.goroutines = {7};
    r.goroutines = std::vector{g};
    r.findings = {f};
    return r;
}

Report sample_memory() {
    auto r = settle("read");
    r.heap = Heap{{{"main.Order", 1'200'000, 96'000'000, 95'000'000},
                   {"[]uint8", 40'112, 41'000'000, 20'000'000},
                   {"", 12, 960, 0}},
                  std::vector<HeapType>{{"main.cache", 1, 120'000'000, 120'000'000}},
                  {{"arena_bytes", 201'326'592}, {"live_bytes", 115'000'000}, {"objects", 1'240'124}}};
    r.maps = std::vector<Mapping>{
        {{{0x400000}, {0x4a4000}}, "r-x", 4096, 0, "file", "/srv/settle/settle", 0, "settle text"},
        {{{0x58c000}, {0x592000}}, "rw-", 0x6000, 0, "core", "/srv/settle/settle", 0x18c000, "settle data"},
        {{{0xc000000000}, {0xc004000000}}, "rw-", 0x4000000, 0x100000, "mixed", "", 0, "Go heap arena"},
        {{{0x7f2c3ff00000}, {0x7f2c40700000}}, "rw-", 0, 0, "absent", "", 0, "stack of thread 4720"}};
    r.location = Location{
        {0xc000118058},
        "go-heap",
        "heap: main.Account, 64 B, live, offset 0x18 (field mu)",
        {{"span", "0xc000118000, class 64 B, slot 1 of 128, allocated"}, {"type", "main.Account"}, {"origin", "core"}}};
    r.words = std::vector<Word>{{{0x58c0e0}, 0x1b00cd0e4000, "main.ledger", "heap: map header", "core"},
                                {{0x58c0e8}, 0x19, "main.ledger+0x8", "", "core"},
                                {{0x58c0f0}, std::nullopt, "", "", "not in the core: absent"}};
    return r;
}

Report sample_heap() {
    auto r = settle("heap");
    r.heap = settle_heap();
    return r;
}

Report sample_retained() {
    auto r = sample_heap();
    r.heap->retainers =
        std::vector<HeapType>{{"main.cache (variable 0x58c0e0)", 1'000'000, 90'000'000, 0},
                              {"goroutine 41, main.settle", 12, 5'000'000, 0},
                              {"main.Ledger 0x1b00cd0e4120, held by main.cache", 900'000, 80'000'000, 96},
                              {"main.index (variable 0x58c0f8)", 42, 4'000'096, 0, 4},
                              {"main.Index 0x1b00cd0e4180, held by main.index", 42, 4'000'096, 96, 5},
                              {"map[string]int 0x1b00cd000010, held by main.Index", 41, 4'000'000, 48},
                              {"every main.Order", 1'200'000, 95'000'000, 95'000'000}};
    return r;
}

Report sample_kept_by() {
    auto r = sample_heap();
    r.location = Location{{0x1b00cd0e4120},
                          "go-heap",
                          "heap: main.Tx, 48 B, allocated",
                          {{"kept by", "main.cache.byKey[\"x\"].last"},
                           {"root", "package variable"},
                           {"main.cache.byKey", "0x58c0e0 ──▶ 0x1b00cd000000  map<string,*main.Entry>, 48 B"},
                           {"·", "0x1b00cd000010 ──▶ 0x1b00cd001000  map.group[string]*main.Entry, 208 B"},
                           {"[\"x\"]", "0x1b00cd001018 ──▶ 0x1b00cd002000  main.Entry, 64 B"},
                           {".last", "0x1b00cd002038 ──▶ 0x1b00cd0e4120  main.Tx, 48 B"}}};
    return r;
}

Report sample_many(std::size_t goroutines, std::size_t frames) {
    auto r = settle("goroutines");
    r.goroutines.emplace();
    r.goroutines->reserve(goroutines);
    for (std::size_t i = 0; i < goroutines; ++i) {
        Goroutine g;
        g.id = static_cast<std::int64_t>(i) + 1;
        g.status = "waiting";
        g.wait_reason = i % 3 == 0 ? "select" : "chan receive";
        g.created_by = "main.main";
        g.created_file = "/home/ana/settle/main.go";
        g.created_line = 60;
        g.start = "main.worker";
        g.blocked_on = {{Address{0xc000100000 + i * 96}, "chan int, 0 of 0 queued"}};
        g.frames_computed = true;
        std::vector<Frame> stack;
        for (std::size_t f = 0; f < frames; ++f)
            stack.push_back(
                go_frame(0x4a0000 + f * 0x100 + i % 5,
                         f == 0 ? "runtime.gopark" : "github.com/example/settle/internal/queue.(*Worker).Run",
                         "/home/ana/settle/internal/queue/worker.go", 40 + static_cast<std::uint32_t>(f),
                         0xc000100000 + i * 0x800 + f * 0x40, f == 0));
        g.frames = std::move(stack);
        r.goroutines->push_back(std::move(g));
    }
    return r;
}

}  // namespace incident::test
