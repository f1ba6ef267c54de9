// Joins native::Pthreads with what the process knows: where each thread makes its system call, which goroutine runs on
// it, and the edges that pthread locks and pthread_join add to the wait-for graph.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "native/pthreads.h"
#include "process/process.h"

namespace incident {

/// Needs threads. Contexts of system calls: each thread's own registers, and those that signal handlers interrupted;
/// without those in Go's own code, which has futexes of its own.
native::Pthreads read_pthreads(const Process& process);

/// Nodes of the wait-for graph: goroutines by index, then threads that run none.
struct WaitNodes {
    explicit WaitNodes(const Process& process);
    std::uint32_t count() const { return first_thread + threads; }
    /// Who waits when this thread waits in C: the goroutine that called C, or the thread itself.
    std::uint32_t waiter(std::uint32_t thread) const { return running[thread]; }
    /// Who can unlock what this thread locked: also the goroutine locked to it that waits in Go.
    std::uint32_t owner(std::uint32_t thread) const { return owning[thread]; }
    bool is_thread(std::uint32_t node) const { return node >= first_thread; }

    std::uint32_t first_thread = 0, threads = 0;
    std::vector<std::uint32_t> running, owning;  ///< by thread
    std::vector<bool> fixed;  ///< by thread: its goroutine is locked to it, so what it locked is that goroutine's
};

/// The goroutine or thread that a node is.
report::Actor actor_of(const Process& process, std::uint32_t node);
/// Edges from who waits in C to owners and joined threads, appended to `edges`.
void add_pthread_edges(const Process& process, const WaitNodes& nodes, std::vector<BlockEdge>& edges);

/// Name of a lock that is a variable: "g_cache+0x8"; empty: unknown.
std::string lock_symbol(const Locator& locator, Address lock);
/// "pthread_mutex_t cache 0x…, owned by thread 12"; `symbol`: the lock's name, may be empty.
std::string wait_text(const Process& process, const native::FutexWait& wait, const std::string& symbol,
                      bool with_address = true);
/// "its owner in the mutex: tid 12"
std::string owner_basis(const Process& process, const native::PthreadLock& lock);
/// Every thread sleeps, without a time limit, for what only a thread of this process can give it.
bool no_thread_can_wake_another(const Process& process);
/// "thread 12", with its tid in the process's own PID namespace where that differs.
std::string thread_text(const Process& process, std::uint32_t thread);

}  // namespace incident
