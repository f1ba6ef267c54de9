#include "process/pthread_waits.h"

#include <algorithm>

#include <fmt/format.h>

#include "process/own_frames.h"

namespace incident {

namespace {

/// "std::future::get" of std::future<int>::get(): what no reader of a wait needs left out.
std::string bare_name(std::string_view function) {
    std::string name;
    int depth = 0;
    for (char c : function) {
        if (c == '(') break;
        depth += c == '<' ? 1 : 0;
        if (depth == 0) name += c;
        depth -= c == '>' ? 1 : 0;
    }
    // A template's name begins with its result: "void std::call_once".
    return name.substr(name.rfind(' ') + 1);
}

/// What the program called of its libraries to wait: "std::latch::arrive_and_wait", "__cxa_guard_acquire". Empty: the
/// system call itself, or not known.
std::string library_call(const Process& process, const native::FutexWait& wait) {
    if (wait.thread >= process.threads.size() || wait.in_signal_handler) return {};
    const auto& frames = process.threads[wait.thread].stack.frames;
    auto own = std::ranges::find_if(
        frames, [](const auto& frame) { return !of_the_runtime(frame) && !of_the_cxx_headers(frame); });
    if (own == frames.begin() || own == frames.end()) return {};
    const auto& called = *(own - 1);
    const bool bare = called.function.contains("futex") || called.function.contains("syscall");
    return bare || called.trust == report::Trust::scan ? std::string() : bare_name(called.function);
}

}  // namespace

using native::FutexObject;
using native::FutexWait;
using native::OwnerState;
using native::PthreadLock;

native::Pthreads read_pthreads(const Process& process) {
    std::vector<native::ThreadContext> contexts;
    auto in_go = [&](Address pc) { return process.go && process.go->find_func(pc).has_value(); };
    for (std::uint32_t t = 0; t < process.threads.size(); ++t) {
        const NativeThread& thread = process.threads[t];
        const go::GoStack& stack = thread.stack;
        auto functions = [&](std::uint32_t physical) {
            std::vector<std::string> names;
            for (std::size_t f = 0; f < stack.frames.size() && names.size() < 10; ++f) {
                if (stack.frame_of[f] < physical) continue;
                // What a scan found may be long over.
                if (stack.frames[f].kind != report::FrameKind::native || stack.frames[f].trust == report::Trust::scan)
                    break;
                names.emplace_back(stack.frames[f].function);
            }
            return names;
        };
        auto pc = thread.state->registers.pc();
        if (pc && !in_go(*pc)) contexts.push_back({t, thread.state->registers, false, functions(0)});
        // Behind the thread's own context, only what a signal interrupted is no return address.
        for (std::uint32_t p = 1; p < stack.physical.size(); ++p) {
            const auto& frame = stack.physical[p];
            if (frame.native >= stack.native.size() || frame.after_call) continue;
            const Registers& registers = stack.native[frame.native].state.registers;
            if (!registers.pc() || in_go(*registers.pc())) continue;
            contexts.push_back({t, registers, true, functions(p)});
        }
    }
    return native::Pthreads::read(process.core, process.memory, *process.images, contexts);
}

WaitNodes::WaitNodes(const Process& process) {
    first_thread = process.goroutines ? static_cast<std::uint32_t>(process.goroutines->all.size()) : 0;
    threads = static_cast<std::uint32_t>(process.core.threads().size());
    running.resize(threads);
    fixed.assign(threads, true);
    for (std::uint32_t t = 0; t < threads; ++t) running[t] = first_thread + t;
    owning = running;
    if (!process.goroutines) return;
    const auto& list = *process.goroutines;
    auto index_of = [&](const go::Goroutine* g) { return static_cast<std::uint32_t>(g - list.all.data()); };
    for (std::uint32_t t = 0; t < threads; ++t) {
        const go::Machine_m* machine = list.machine_of_thread(process.core.threads()[t].tid);
        if (machine == nullptr) continue;
        fixed[t] = false;
        const go::Goroutine* g = list.at(machine->curg);
        if (g == nullptr || g->system) continue;
        running[t] = owning[t] = index_of(g);
        fixed[t] = g->locked_m == machine->m;
    }
    // A goroutine that is locked to a thread and waits in Go does not run on it, but what it locked in C is its own.
    for (const auto& g : list.all) {
        const go::Machine_m* machine = g.locked_m.is_null() ? nullptr : list.machine(g.locked_m);
        if (machine == nullptr || machine->tid == 0) continue;
        auto at = std::ranges::find(process.core.threads(), machine->tid, &ThreadState::tid);
        if (at == process.core.threads().end()) continue;
        const auto t = static_cast<std::uint32_t>(at - process.core.threads().begin());
        if (owning[t] < first_thread && owning[t] != index_of(&g)) continue;
        owning[t] = index_of(&g);
        fixed[t] = true;
    }
}

report::Actor actor_of(const Process& process, std::uint32_t node) {
    const std::size_t goroutines = process.goroutines ? process.goroutines->all.size() : 0;
    if (node < goroutines) return {process.goroutines->all[node].goid, std::nullopt};
    return {std::nullopt, process.core.threads()[node - goroutines].tid};
}

std::string thread_text(const Process& process, std::uint32_t thread) {
    std::string text = fmt::format("thread {}", process.core.threads()[thread].tid);
    if (process.pthreads && process.pthreads->foreign_namespace())
        if (auto inner = process.pthreads->inner_tid(thread)) text += fmt::format(" (tid {} in its namespace)", *inner);
    return text;
}

std::string owner_basis(const Process& process, const PthreadLock& lock) {
    const std::string_view what = lock.object == FutexObject::rwlock  ? "its writer in the rwlock"
                                  : lock.object == FutexObject::stdio ? "its owner in the FILE"
                                                                      : "its owner in the mutex";
    return fmt::format("{}: tid {}", what, lock.owner) +
           (process.pthreads->foreign_namespace() ? " of its namespace" : "");
}

void add_pthread_edges(const Process& process, const WaitNodes& nodes, std::vector<BlockEdge>& edges) {
    if (!process.pthreads) return;
    const auto waits = process.pthreads->waits();
    const auto locks = process.pthreads->locks();
    for (std::uint32_t w = 0; w < waits.size(); ++w) {
        const FutexWait& wait = waits[w];
        BlockEdge edge;
        edge.from = nodes.waiter(wait.thread);
        edge.object = wait.address;
        edge.what = to_string(wait.object);
        edge.wait = w;
        // A time limit ends the wait; a word that changed has woken the waiter.
        edge.certain = !wait.timed && wait.asleep();
        std::uint32_t to = UINT32_MAX;
        if (wait.joined) {
            to = *wait.joined;
            edge.basis = "it has not ended";
        } else if (wait.lock && locks[*wait.lock].owner_thread) {
            const PthreadLock& lock = locks[*wait.lock];
            to = *lock.owner_thread;
            edge.pthread = *wait.lock;
            edge.basis = owner_basis(process, lock);
            edge.certain &= lock.sure && (!lock.shared || lock.listed);
        }
        if (to == UINT32_MAX) continue;
        edge.to = nodes.owner(to);
        edge.certain &= nodes.is_thread(edge.to) || nodes.fixed[to] || nodes.running[to] == edge.to;
        if (edge.from != edge.to) edges.push_back(std::move(edge));
    }
}

bool no_thread_can_wake_another(const Process& process) {
    const std::size_t threads = process.core.threads().size();
    if (process.go || process.go_expected || !process.pthreads || threads == 0 || process.threads.size() != threads)
        return false;
    std::vector<bool> sleeps(threads, false);
    for (const FutexWait& wait : process.pthreads->waits()) {
        // The kernel wakes who waits for the end of a thread, as if another process could: glibc marks the word shared.
        const bool ours = !wait.shared || wait.joined;
        const auto locks = process.pthreads->locks();
        // The kernel takes such locks itself: no expected value says that the waiter sleeps.
        const bool inherits = wait.lock && locks[*wait.lock].priority_inherit && locks[*wait.lock].owner_thread;
        if (wait.thread >= threads || wait.in_signal_handler || wait.timed || !ours) continue;
        sleeps[wait.thread] = wait.asleep() || wait.refused || inherits;
    }
    return std::ranges::all_of(sleeps, [](bool asleep) { return asleep; });
}

std::string lock_symbol(const Locator& locator, Address lock) {
    if (locator.place(lock).kind != PlaceKind::image) return {};
    std::string symbol = locator.symbol(lock);
    // What is left of a stripped file's data section is named after its start.
    for (std::string_view start : {"data_start", "__data_start", "__bss_start", "_edata", "__dso_handle"})
        if (symbol.starts_with(start)) return {};
    return symbol;
}

std::string wait_text(const Process& process, const FutexWait& wait, const std::string& symbol, bool with_address) {
    if (wait.joined) return fmt::format("the end of {}", thread_text(process, *wait.joined));
    std::string text(to_string(wait.object));
    if (!symbol.empty()) text += " " + symbol;
    const Address at = wait.address.is_null() ? wait.word : wait.address;
    if (with_address) text += fmt::format(" {:#x}", at.value);
    if (wait.object == FutexObject::unknown)
        if (const std::string call = library_call(process, wait); !call.empty()) text += ", in " + call;
    if (!wait.lock) return text;
    const PthreadLock& lock = process.pthreads->locks()[*wait.lock];
    if (lock.owner_thread)
        text += fmt::format(", owned by {}",
                            *lock.owner_thread == wait.thread ? "itself" : thread_text(process, *lock.owner_thread));
    else if (lock.state == OwnerState::absent)
        text += fmt::format(", owned by tid {}, which no thread has", lock.owner);
    else if (lock.state == OwnerState::elsewhere)
        text += fmt::format(", owned by tid {}, perhaps of another process", lock.owner);
    if (wait.timed) text += ", with a time limit";
    return text;
}

}  // namespace incident
