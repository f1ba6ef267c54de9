// Reads allgs and allm. Surprising: allgs only grows, most of it may be dead goroutines kept for reuse; and a goroutine
// that waits for nothing visible may still be locked to a thread that C called it on.
#include "go/stacks/goroutines.h"

#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <unordered_map>

#include "base/bounded_walk.h"
#include "base/parallel.h"
#include "go/stacks/code_table.h"
#include "go/stacks/record.h"
#include "go/stacks/threads.h"
#include "report/weakens.h"

namespace incident::go {

namespace {

constexpr std::uint64_t max_goroutines = 1u << 26;  // 64 M goroutines need 25 GB of g alone
constexpr std::uint32_t scan_bit = 0x1000;          // go1.16–1.27 src/runtime/runtime2.go, _Gscan

Status status_of(std::uint32_t raw) {
    // go1.27 src/runtime/runtime2.go, const _Gidle …; 5 and 7 are unused in all releases, 10 and 11 are 1.26+.
    switch (raw & ~scan_bit) {
        case 0: return Status::idle;
        case 1: return Status::runnable;
        case 2: return Status::running;
        case 3: return Status::syscall;
        case 4: return Status::waiting;
        case 6: return Status::dead;
        case 8: return Status::copystack;
        case 9: return Status::preempted;
        case 10: return Status::leaked;
        case 11: return Status::deadextra;
        default: return Status::unknown;
    }
}

/// isSystemGoroutine (go1.27 src/runtime/traceback.go), per start pc; `varies`: the finalizer and cleanup goroutines,
/// which count as the user's while they run user code.
struct StartKind {
    bool system = false;
    bool varies = false;
};

/// Without the executable there are no names: what only the runtime's own goroutines wait for.
bool is_runtime_reason(std::string_view reason) {
    constexpr std::string_view reasons[] = {
        "force gc (idle)",  "GC sweep wait",      "GC scavenge wait",          "finalizer wait",        "cleanup wait",
        "GC worker (idle)", "GC worker (active)", "GOMAXPROCS updater (idle)", "trace reader (blocked)"};
    return std::find(std::begin(reasons), std::end(reasons), reason) != std::end(reasons);
}

StartKind start_kind(const Runtime& runtime, Address startpc) {
    auto func = runtime.find_func(startpc);
    if (!func || !func->name.starts_with("runtime.")) return {};
    std::string_view name = func->name.substr(8);
    if (name == "main" || name == "corostart" || name == "handleAsyncEvent") return {};
    bool varies = name == "runfinq" || name == "runFinalizers" || name == "runCleanups";
    return {.system = true, .varies = varies};
}

class StartKinds {
public:
    explicit StartKinds(const Runtime& runtime) : runtime_(runtime) {}
    StartKind of(Address startpc) {
        auto [slot, fresh] = known_.try_emplace(startpc.value);
        if (fresh) slot->second = start_kind(runtime_, startpc);
        return slot->second;
    }
    bool names_known() const { return !runtime_.modules().empty(); }
    bool in_gopark(Address pc) const {
        const auto func = runtime_.find_func(pc);
        return func && func->name == "runtime.gopark";
    }

private:
    const Runtime& runtime_;
    std::unordered_map<std::uint64_t, StartKind> known_;
};

/// Of the finalizer and cleanup goroutines. fingRunning and g.runningCleanups say whether user code runs; the wait
/// reason says the same and is always readable. It stays when the goroutine is made runnable, so that only where it
/// stands tells then whether it has gone on: gopark, or the start.
bool runs_no_callback(const Goroutine& g, const Version& version, const StartKinds& starts) {
    if (g.status == Status::runnable && g.sched_pc == g.startpc) return true;
    if (g.status != Status::waiting && (g.status != Status::runnable || !starts.in_gopark(g.sched_pc))) return false;
    const std::string_view reason = wait_reason_words(version, g.wait_reason_number);
    return reason == "finalizer wait" || reason == "cleanup wait";
}

Goroutine read_g(const Record& record, Address at, const RuntimeLayout::g_fields& f, const Version& version,
                 StartKinds& starts) {
    Goroutine g;
    g.g = at;
    g.goid = static_cast<std::int64_t>(record.get_or(f.goid, {}));
    g.raw_status = record.get_or(f.atomicstatus, ~0u);
    g.scanning = (g.raw_status & scan_bit) != 0 && g.raw_status != ~0u;
    g.status = status_of(g.raw_status);
    g.stack = {Address{record.get_or(f.stack_lo, {})}, Address{record.get_or(f.stack_hi, {})}};
    g.sched_sp = record.get_or(f.sched_sp, {});
    g.sched_pc = record.get_or(f.sched_pc, {});
    g.sched_bp = record.get_or(f.sched_bp, {});
    g.syscall_sp = record.get_or(f.syscallsp, {});
    g.syscall_pc = record.get_or(f.syscallpc, {});
    g.syscall_bp = record.get_or(f.syscallbp, {});
    g.m = record.get_or(f.m, {});
    g.locked_m = record.get_or(f.lockedm, {});
    g.locked_to_thread = !g.locked_m.is_null();
    g.wait_reason_number = record.get_or(f.waitreason, {});
    if (g.status == Status::waiting || g.status == Status::leaked)
        g.wait_reason = wait_reason_words(version, g.wait_reason_number);
    g.wait_since = record.get_or(f.waitsince, {});
    g.waiting = record.get_or(f.waiting, {});
    g.defers = record.get_or(f._defer, {});
    g.panics = record.get_or(f._panic, {});
    g.gopc = record.get_or(f.gopc, {});
    g.startpc = record.get_or(f.startpc, {});
    g.labels = record.get_or(f.labels, {});
    g.parent_goid = static_cast<std::int64_t>(record.get_or(f.parentGoid, {}));
    g.sig = record.get_or(f.sig, {});
    g.sig_code = record.get_or(f.sigcode0, {});
    g.sig_address = Address{record.get_or(f.sigcode1, {})};
    g.sig_pc = record.get_or(f.sigpc, {});

    StartKind kind = starts.of(g.startpc);
    const bool idle = kind.varies && runs_no_callback(g, version, starts);
    g.system = (kind.system && (!kind.varies || idle)) || (!starts.names_known() && is_runtime_reason(g.wait_reason));
    return g;
}

/// The header of a Go slice of pointers, bounded by what is readable.
struct PointerArray {
    Address data;
    std::uint64_t length = 0;
};

Result<PointerArray> read_slice_header(const Memory& memory, Address at) {
    auto data = TRY(memory.load_address(at));
    auto length = TRY(memory.load<std::uint64_t>(at + 8));
    auto capacity = TRY(memory.load<std::uint64_t>(at + 16));
    if (length > capacity || capacity > max_goroutines || !data.is_aligned(8)) {
        return fail(ErrorKind::corrupt, fmt::format("slice of {} pointers, capacity {}", length, capacity), at);
    }
    return PointerArray{data, length};
}

void index(GoroutineList& list) {
    list.by_address.reserve(list.all.size());
    list.by_goid.reserve(list.all.size());
    for (std::uint32_t i = 0; i < list.all.size(); ++i) {
        list.by_address.emplace_back(list.all[i].g, i);
        list.by_goid.emplace_back(list.all[i].goid, i);
    }
    std::sort(list.by_address.begin(), list.by_address.end());
    std::sort(list.by_goid.begin(), list.by_goid.end());
}

template <class Key>
const Goroutine* lookup(const GoroutineList& list, const std::vector<std::pair<Key, std::uint32_t>>& by, Key key) {
    auto found = std::lower_bound(by.begin(), by.end(), std::pair<Key, std::uint32_t>(key, 0));
    return found != by.end() && found->first == key ? &list.all[found->second] : nullptr;
}

}  // namespace

const Goroutine* GoroutineList::find(std::int64_t goid) const { return lookup(*this, by_goid, goid); }
const Goroutine* GoroutineList::at(Address g) const { return lookup(*this, by_address, g); }

const Machine_m* GoroutineList::machine(Address m) const {
    auto found =
        std::find_if(machines.begin(), machines.end(), [&](const Machine_m& machine) { return machine.m == m; });
    return found != machines.end() ? &*found : nullptr;
}

const Machine_m* GoroutineList::machine_of_thread(std::int32_t tid) const {
    if (tid == 0) return nullptr;
    auto found =
        std::find_if(machines.begin(), machines.end(), [&](const Machine_m& machine) { return machine.tid == tid; });
    return found != machines.end() ? &*found : nullptr;
}

Result<GoroutineList> read_goroutines(const CoreFile& core, const Memory& memory, const Runtime& runtime, unsigned jobs,
                                      Which which) {
    if (which == Which::all && !runtime.globals().allgs) return fail(ErrorKind::absent, "runtime.allgs was not found");
    const auto& fields = runtime.layout().g;
    if (fields.size == 0 || !fields.goid.present() || !fields.atomicstatus.present() || !fields.sched_sp.present() ||
        !fields.sched_pc.present()) {
        return fail(ErrorKind::absent, "the layout of runtime.g is not known");
    }
    GoroutineList list;
    list.which = which;
    list.code = std::make_shared<CodeTable>(core, runtime);
    read_machines(core, memory, runtime, list);
    PointerArray allgs;
    std::vector<Address> on_threads;
    if (which == Which::all) {
        allgs = TRY(read_slice_header(memory, *runtime.globals().allgs));
    } else {
        for (const auto& machine : list.machines)
            if (!machine.curg.is_null()) on_threads.push_back(machine.curg);
        allgs.length = on_threads.size();
    }

    jobs = worker_count(jobs);
    struct Part {
        std::size_t begin = 0;
        std::vector<Goroutine> live;
        std::size_t dead = 0, unreadable = 0;
    };
    constexpr std::size_t grain = 4096;
    std::vector<Part> parts((allgs.length + grain - 1) / grain);
    parallel_chunks(jobs, allgs.length, grain, [&](std::size_t begin, std::size_t end, unsigned) {
        Part& part = parts[begin / grain];
        part.begin = begin;
        MemoryCursor pointers(memory), records(memory);
        StartKinds starts(runtime);
        for (std::size_t i = begin; i < end; ++i) {
            Address at;
            std::optional<Record> record;
            if (which == Which::on_threads) at = on_threads[i];
            if (which == Which::on_threads || pointers.load(allgs.data + i * 8, at))
                record = Record::view(records, at, fields.size);
            if (!record) {
                ++part.unreadable;
                continue;
            }
            Goroutine g = read_g(*record, at, fields, runtime.version(), starts);
            if (g.status == Status::dead || g.status == Status::deadextra) {
                ++part.dead;
            } else {
                part.live.push_back(g);
            }
        }
    });

    std::size_t unreadable = 0, live = 0;
    for (const auto& part : parts) live += part.live.size();
    list.all.reserve(live);
    for (auto& part : parts) {
        list.all.insert(list.all.end(), part.live.begin(), part.live.end());
        list.dead += part.dead;
        unreadable += part.unreadable;
        part.live = {};
    }
    if (unreadable > 0) {
        list.gaps.push_back({.what = fmt::format("{} of {} goroutines could not be read", unreadable, allgs.length),
                             .why = "their memory is not in the core",
                             .weakens = std::string(report::weakens_all_goroutines)});
    }
    std::unordered_map<std::uint64_t, std::int32_t> tid_of_m;
    for (const auto& machine : list.machines) {
        if (machine.tid != 0) tid_of_m.emplace(machine.m.value, machine.tid);
    }
    for (auto& g : list.all) {
        if (auto found = tid_of_m.find(g.m.value); found != tid_of_m.end()) g.tid = found->second;
    }
    index(list);
    list.latest = latest_time(memory, runtime, list);
    return list;
}

std::optional<report::Waited> waited(const GoroutineList& list, const Goroutine& g) {
    bool waits = g.status == Status::waiting || g.status == Status::syscall || g.status == Status::leaked;
    if (!waits || g.wait_since <= 0 || list.latest.nanotime <= g.wait_since) return std::nullopt;
    return report::Waited{.at_least_ns = static_cast<std::uint64_t>(list.latest.nanotime - g.wait_since),
                          .basis = fmt::format("since the collector first saw it wait, until {}", list.latest.basis)};
}

Origin_g origin_of(const Runtime& runtime, const GoroutineList& list, const Goroutine& g) {
    Origin_g origin;
    if (auto start = runtime.find_func(g.startpc)) origin.start = list.code->printed_name(start->name);
    // printcreatedby: not for goroutine 1, and not when the creator is one of the runtime's own functions.
    auto creator = runtime.find_func(g.gopc);
    if (!creator || g.goid == 1 || !shown_by_runtime(creator->name, runtime.version())) return origin;
    origin.created_by = list.code->printed_name(creator->name);
    origin.created_pc = g.gopc;
    if (g.parent_goid != 0) origin.created_by_goroutine = g.parent_goid;
    if (creator->table != nullptr)
        origin.created_at = creator->table->position(*creator, g.gopc > creator->entry ? g.gopc - 1 : g.gopc);
    return origin;
}

}  // namespace incident::go
