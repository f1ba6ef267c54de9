#include "pthread_section.h"

#include <algorithm>
#include <unordered_map>

#include <fmt/format.h>

#include "process/pthread_waits.h"

namespace incident {

using native::FutexObject;
using native::FutexWait;
using native::OwnerState;
using native::PthreadLock;

namespace {

std::string where_of(const Locator& locator, Address lock) {
    std::string symbol = lock_symbol(locator, lock);
    return symbol.empty() ? locator.describe(lock) : symbol;
}

}  // namespace

void add_pthread_rows(const Process& process, const Locator& locator, std::vector<report::Lock>& rows) {
    if (!process.pthreads) return;
    const auto& pthreads = *process.pthreads;
    const WaitNodes nodes(process);
    for (const PthreadLock& lock : pthreads.locks()) {
        report::Lock row;
        row.address = lock.address;
        row.type = to_string(lock.object);
        row.where = where_of(locator, lock.address);
        row.state.raw = lock.raw();
        if (lock.has_owner() || lock.object == FutexObject::internal) row.state.locked = lock.held;
        row.state.waiters = lock.waiters.size();
        row.state.words = lock.words();
        for (std::uint32_t w : lock.waiters) {
            const FutexWait& wait = pthreads.waits()[w];
            row.waiters.push_back({actor_of(process, nodes.waiter(wait.thread)), std::string(to_string(wait.mode))});
        }
        std::ranges::sort(row.waiters, {}, &report::LockWaiter::who);
        if (lock.owner_thread) {
            const std::uint32_t t = *lock.owner_thread, node = nodes.owner(t);
            std::string basis = owner_basis(process, lock);
            const bool direct = nodes.is_thread(node) || nodes.fixed[t];
            if (!direct) basis += fmt::format(", {}, which runs it now", thread_text(process, t));
            row.holders.push_back({actor_of(process, node), basis,
                                   !lock.sure || !direct ? report::Strength::possible : report::Strength::likely});
        }
        rows.push_back(std::move(row));
    }
    std::ranges::stable_sort(rows, {}, &report::Lock::address);
}

void note_thread_waits(const Process& process, const Locator& locator, std::vector<report::Thread>& threads) {
    if (!process.pthreads) return;
    std::unordered_map<std::int32_t, const FutexWait*> by_tid;
    for (const FutexWait& wait : process.pthreads->waits())
        by_tid.emplace(process.core.threads()[wait.thread].tid, &wait);
    for (auto& thread : threads)
        if (auto found = by_tid.find(thread.tid); found != by_tid.end())
            thread.note =
                "waits for " + wait_text(process, *found->second, lock_symbol(locator, found->second->address));
}

void note_goroutine_waits(const Process& process, const Locator& locator, std::vector<report::Goroutine>& goroutines) {
    if (!process.pthreads || !process.goroutines) return;
    const WaitNodes nodes(process);
    std::unordered_map<std::int64_t, const FutexWait*> by_goid;
    for (const FutexWait& wait : process.pthreads->waits())
        if (auto actor = actor_of(process, nodes.waiter(wait.thread)); actor.goroutine)
            by_goid.emplace(*actor.goroutine, &wait);
    for (auto& row : goroutines)
        if (auto found = by_goid.find(row.id); found != by_goid.end() && row.blocked_on.empty()) {
            std::string text = wait_text(process, *found->second, lock_symbol(locator, found->second->address), false);
            const Address at = found->second->address.is_null() ? found->second->word : found->second->address;
            row.blocked_on.push_back({at, std::move(text)});
        }
}

}  // namespace incident
