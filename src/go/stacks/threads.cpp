// allm and time. A thread's identity is its LWP id in the core, m.procid in the runtime: equal, but for a core that
// gcore wrote outside of the process's PID namespace. Then fs_base decides: it points into m.tls, or to a TCB whose
// slot below holds a g of that m. A child of fork has one thread, with an id that the runtime never saw.
#include "go/stacks/threads.h"

#include <fmt/format.h>

#include <algorithm>
#include <unordered_map>

#include "base/bounded_walk.h"
#include "base/text.h"
#include "go/stacks/record.h"

namespace incident::go {

namespace {

constexpr std::size_t max_threads = 1u << 20;

AddressRange stack_of(MemoryCursor& cursor, const RuntimeLayout& layout, Address g, Address* sched_sp = nullptr) {
    auto record = Record::view(cursor, g, layout.g.size);
    if (!record) return {};
    if (sched_sp != nullptr) *sched_sp = record->get_or(layout.g.sched_sp, {});
    AddressRange stack{Address{record->get_or(layout.g.stack_lo, {})}, Address{record->get_or(layout.g.stack_hi, {})}};
    // A thread of a cgo program that has not begun yet: lo is still 0, and hi the size of the stack that it will have.
    // go1.27 src/runtime/cgo/gcc_linux_amd64.c, _cgo_sys_thread_start
    if (stack.begin.is_null()) return {};
    return stack.begin < stack.end ? stack : AddressRange{};
}

/// Addresses that a thread's fs_base leads to, and the index of their m.
struct ThreadPointers {
    std::unordered_map<std::uint64_t, std::size_t> by_tls, by_g;
};

/// m by fs_base: in pure Go fs_base is &m.tls + 8 (runtime·settls adds 8), with cgo g lies at fs_base-8 as the TLS slot
/// runtime.tlsg of an executable without other thread-locals.
std::optional<std::size_t> machine_by_thread_pointer(const ThreadState& thread, const Memory& memory,
                                                     const ThreadPointers& pointers) {
    const Machine& machine = thread.registers.machine();
    if (machine.thread_pointer < 0) return std::nullopt;
    auto base = thread.registers.get(static_cast<std::uint8_t>(machine.thread_pointer));
    if (!base || *base == 0) return std::nullopt;
    if (auto found = pointers.by_tls.find(*base); found != pointers.by_tls.end()) return found->second;
    if (auto g = memory.load<std::uint64_t>(Address{*base - 8}); g && *g != 0) {
        if (auto found = pointers.by_g.find(*g); found != pointers.by_g.end()) return found->second;
    }
    return std::nullopt;
}

void join_threads(const CoreFile& core, const Memory& memory, const Runtime& runtime, GoroutineList& list) {
    ThreadPointers pointers;
    std::unordered_map<std::int64_t, std::size_t> by_procid;
    const auto& tls = runtime.layout().m.tls;
    for (std::size_t i = 0; i < list.machines.size(); ++i) {
        const auto& m = list.machines[i];
        if (tls.present()) pointers.by_tls.emplace(m.m.value + static_cast<std::uint64_t>(tls.offset) + 8, i);
        for (Address g : {m.g0, m.gsignal, m.curg}) {
            if (!g.is_null()) pointers.by_g.emplace(g.value, i);
        }
        if (m.procid != 0) by_procid.emplace(m.procid, i);
    }
    std::size_t contradictions = 0, agreements = 0;
    std::vector<std::optional<std::size_t>> by_pointer;
    for (const auto& thread : core.threads()) {
        auto m = machine_by_thread_pointer(thread, memory, pointers);
        by_pointer.push_back(m);
        if (m) ++(list.machines[*m].procid == thread.tid ? agreements : contradictions);
    }
    const bool other_namespace = contradictions > agreements;
    for (std::size_t i = 0; i < core.threads().size(); ++i) {
        const auto& thread = core.threads()[i];
        if (other_namespace) {
            if (by_pointer[i]) list.machines[*by_pointer[i]].tid = thread.tid;
        } else if (auto found = by_procid.find(thread.tid); found != by_procid.end()) {
            list.machines[found->second].tid = thread.tid;
        }
    }
    // The runtime always has several threads, that of sysmon among them.
    const bool forked =
        core.threads().size() == 1 && by_procid.size() > 1 && !by_procid.contains(core.threads()[0].tid);
    if (forked) {
        list.gaps.push_back(
            {.what = fmt::format("{} of the Go runtime", count_of(by_procid.size() - 1, "thread")),
             .why = "this process is a child of fork: it has only the thread that called fork, under a new id",
             .weakens = "goroutines stand as at the fork, and none but that thread's ever runs again: who waits for "
                        "another goroutine, the collector or a lock waits for ever"});
    } else if (other_namespace) {
        list.gaps.push_back(
            {.what = "thread ids differ between the core and the runtime",
             .why = "the core was taken outside of the process's PID namespace; threads are joined by fs_base",
             .weakens = "thread ids in the runtime's own messages are not those of this report",
             .damage = false});
    }
}

}  // namespace

void read_machines(const CoreFile& core, const Memory& memory, const Runtime& runtime, GoroutineList& list) {
    if (!runtime.globals().allm) {
        list.gaps.push_back({.what = "which goroutine runs on which thread is unknown",
                             .why = "runtime.allm was not found",
                             .weakens = "stacks of running goroutines"});
        return;
    }
    const auto& layout = runtime.layout();
    auto head = memory.load_address(*runtime.globals().allm);
    MemoryCursor cursor(memory);
    auto end = !head ? WalkEnd::stopped : walk_chain(*head, max_threads, [&](Address at) -> std::optional<Address> {
        auto record = Record::view(cursor, at, layout.m.size);
        if (!record) return std::nullopt;
        const auto& f = layout.m;
        Machine_m m;
        m.m = at;
        m.g0 = record->get_or(f.g0, {});
        m.gsignal = record->get_or(f.gsignal, {});
        m.curg = record->get_or(f.curg, {});
        m.id = record->get_or(f.id, {});
        m.procid = static_cast<std::int64_t>(record->get_or(f.procid, {}));
        m.in_cgo = record->get_or(f.incgo, {}) != 0;
        m.throwing = record->get_or(f.throwing, {});
        m.dying = record->get_or(f.dying, {});
        m.vdso_sp = record->get_or(f.vdsoSP, {});
        m.vdso_pc = record->get_or(f.vdsoPC, {});
        Address next = record->get_or(f.alllink, {});
        m.g0_stack = stack_of(cursor, layout, m.g0, &m.g0_sched_sp);
        m.gsignal_stack = stack_of(cursor, layout, m.gsignal);
        list.machines.push_back(m);
        return next;
    });
    if (end != WalkEnd::done) {
        list.gaps.push_back(
            {.what = fmt::format("the list of the runtime's threads ends early, after {}", list.machines.size()),
             .why = end == WalkEnd::cycle ? "runtime.allm is a cycle" : "a link of runtime.allm cannot be read",
             .weakens = "stacks of running goroutines"});
    }
    join_threads(core, memory, runtime, list);
}

LatestTime latest_time(const Memory& memory, const Runtime& runtime, const GoroutineList& list) {
    LatestTime latest;
    auto offer = [&](std::int64_t time, std::string_view basis) {
        if (time > latest.nanotime && time < std::int64_t{1} << 60)
            latest = {time, basis};  // 2^60 ns: 36 years of uptime
    };
    for (const auto& g : list.all) offer(g.wait_since, "the latest waitsince of all goroutines");
    if (auto sched = runtime.globals().sched) {
        StructView view(memory, *sched);
        if (auto time = view.get(runtime.layout().schedt.lastpoll))
            offer(*time, "the last network poll (sched.lastpoll)");
        // Set whenever the world starts again: twice in each collection, and the runtime forces one every two minutes.
        if (auto time = view.get(runtime.layout().schedt.procresizetime))
            offer(*time, "the last start of the world (sched.procresizetime)");
    }
    return latest;
}

}  // namespace incident::go
