// Pthreads: the stages in order, the owners, and the words for people.
#include "native/pthreads.h"

#include <algorithm>
#include <map>

#include <fmt/format.h>

#include "base/text.h"
#include "native/allocators.h"
#include "native/pthreads_state.h"

namespace incident::native {

namespace {

constexpr std::size_t max_robust = 2048;  // ROBUST_LIST_LIMIT, linux/futex.h

/// Robust mutexes that a thread holds, waited for or not: the kernel's list of them. Entries are odd when the mutex
/// inherits priorities.
void read_robust_list(const WordReader& reader, std::uint32_t thread, std::vector<PthreadLock>& found) {
    const auto& state = reader.state;
    const Identity& identity = state.identities[thread];
    if (!identity.has_descriptor || !state.tid_offset) return;
    const Address head = identity.descriptor + *state.tid_offset + 16;
    Address at = head;
    for (std::size_t i = 0; i < max_robust; ++i) {
        auto next = reader.memory.load_address(at);
        if (!next) return;
        at = Address{next->value & ~std::uint64_t{1}};
        if (at == head || at.is_null()) return;
        auto lock = reader.mutex(at - 32);  // pthread_mutex_t.__list.__next
        if (!lock || !lock->robust || lock->owner != identity.tid) return;
        lock->listed = true;
        found.push_back(*lock);
    }
}

}  // namespace

std::string_view to_string(FutexObject object) {
    switch (object) {
        case FutexObject::unknown: return "futex word";
        case FutexObject::mutex: return "pthread_mutex_t";
        case FutexObject::rwlock: return "pthread_rwlock_t";
        case FutexObject::condition: return "pthread_cond_t";
        case FutexObject::semaphore: return "sem_t";
        case FutexObject::barrier: return "pthread_barrier_t";
        case FutexObject::thread_end: return "pthread_join";
        case FutexObject::stdio: return "FILE lock";
        case FutexObject::internal: return "libc's own lock";
    }
    return "futex word";
}

std::string_view to_string(MutexType type) {
    switch (type) {
        case MutexType::normal: return "normal";
        case MutexType::recursive: return "recursive";
        case MutexType::errorcheck: return "error-checking";
        case MutexType::adaptive: return "adaptive";
    }
    return "unknown";
}

std::string_view to_string(WaitFor mode) {
    switch (mode) {
        case WaitFor::lock: return "lock";
        case WaitFor::read_lock: return "rlock";
        case WaitFor::write_lock: return "lock";
        case WaitFor::wait: return "wait";
        case WaitFor::join: return "join";
    }
    return "wait";
}

std::string PthreadLock::words() const {
    std::string text;
    auto add = [&](std::string_view part) { text += (text.empty() ? "" : ", ") + std::string(part); };
    switch (object) {
        case FutexObject::mutex:
            if (type != MutexType::normal) add(to_string(type));
            if (robust) add("robust");
            if (priority_inherit) add("priority inheritance");
            if (priority_protect) add("priority ceiling");
            if (shared && !robust) add("process-shared");
            if (!held)
                add("unlocked");
            else
                add((robust || priority_inherit ? (word & 0x80000000) != 0 : (word & 3) == 2) ? "locked, contended"
                                                                                              : "locked");
            if (type == MutexType::recursive && held) add(fmt::format("{} deep", count));
            break;
        case FutexObject::rwlock:
            if (shared) add("process-shared");
            if (write_phase && write_locked)
                add("write-locked");
            else if (!write_phase && readers != 0)
                add(fmt::format("read-locked by {}, whom the lock does not name", count_of(readers, "reader")));
            else
                add("unlocked");
            if (write_phase && readers != 0) add(count_of(readers, "reader") + " waiting");
            if (writers != 0) add(count_of(writers, "writer") + " waiting");
            break;
        case FutexObject::condition: add(count_of(counted_waiters, "waiter")); break;
        case FutexObject::semaphore: add(fmt::format("value {}, {}", word, count_of(counted_waiters, "waiter"))); break;
        case FutexObject::barrier: add(fmt::format("{} of {} arrived", counted_waiters, needed)); break;
        case FutexObject::stdio:
        case FutexObject::internal: add(!held ? "unlocked" : word == 2 ? "locked, contended" : "locked"); break;
        case FutexObject::unknown:
        case FutexObject::thread_end: break;
    }
    switch (state) {
        case OwnerState::changing: add("its owner is not written yet"); break;
        case OwnerState::alive: add(fmt::format("owner tid {}", owner)); break;
        case OwnerState::absent: add(fmt::format("owner tid {}, which no thread has", owner)); break;
        case OwnerState::elsewhere: add(fmt::format("owner tid {}, no thread of this process", owner)); break;
        case OwnerState::died: add("its owner died, the next to lock it is told"); break;
        case OwnerState::unrecoverable: add("not recoverable"); break;
        case OwnerState::unknown:
            if (owner != 0) add(fmt::format("owner tid {}", owner));
            break;
        case OwnerState::none: break;
    }
    return text;
}

void find_owner(const Pthreads::State& state, PthreadLock& lock) {
    if (lock.state != OwnerState::unknown || lock.owner <= 0) return;
    auto found = state.by_tid.find(lock.owner);
    if (found != state.by_tid.end()) {
        lock.state = OwnerState::alive;
        lock.owner_thread = found->second;
        // Another process may be in another PID namespace: there even a tid that is ours proves little.
        lock.sure |= !lock.shared || lock.listed;
    } else if (lock.shared) {
        lock.state = OwnerState::elsewhere;
    } else if (state.knows_all) {
        lock.state = OwnerState::absent;
    }
}

Pthreads Pthreads::read(const CoreFile& core, const Memory& memory, const Images& images,
                        std::span<const ThreadContext> contexts) {
    auto state = std::make_shared<State>(core);
    find_identities(*state, memory);
    const auto libc = identify_libc(images);
    const FutexCalls calls{memory, images, libc && libc->in_executable};
    std::vector<bool> waiting(core.threads().size());
    for (const ThreadContext& context : contexts) {
        if (context.thread >= waiting.size() || waiting[context.thread]) continue;
        auto wait = calls.read(context);
        if (!wait) continue;
        waiting[context.thread] = true;
        state->waits.push_back(std::move(*wait));
    }
    if (libc && libc->libc.name != "glibc")
        state->unsupported = fmt::format("the C library is {}, whose locks are not read", libc->libc.name);
    else if (!state->tid_offset)
        state->unsupported =
            libc ? "no thread's descriptor (fs_base) could be read" : "there is no glibc in this process";
    WordReader reader{*state, memory};
    if (state->foreign_namespace && !state->knows_all)
        state->gaps.push_back({.what = "the descriptors of some threads",
                               .why =
                                   "their memory is not in the core, which was taken outside of the process's PID "
                                   "namespace (gdb writes zeros for stacks with guard pages of glibc 2.42 and newer)",
                               .weakens = "which thread owns a pthread lock, and whether the owner is gone"});
    if (!state->unsupported.empty()) {
        // A deadlock of musl's locks looks like any other wait here.
        state->locks_unread =
            libc && libc->libc.name != "glibc" &&
            std::ranges::any_of(state->waits, [](const auto& w) { return w.caller != FutexCaller::wrapper; });
        if (!state->waits.empty())
            state->gaps.push_back({.what = "pthread locks",
                                   .why = state->unsupported,
                                   .weakens = "who holds what threads in C wait for",
                                   .damage = state->locks_unread});
        return Pthreads(std::move(state));
    }

    // A mutex and a condition variable may share an address only by mistake: the object counts too.
    std::map<std::pair<Address, FutexObject>, std::uint32_t> index;
    auto note = [&](PthreadLock lock) {
        auto [slot, fresh] = index.try_emplace({lock.address, lock.object}, state->locks.size());
        if (fresh) {
            find_owner(*state, lock);
            state->locks.push_back(std::move(lock));
        }
        return slot->second;
    };
    for (std::uint32_t w = 0; w < state->waits.size(); ++w) {
        FutexWait& wait = state->waits[w];
        auto lock = reader.classify(wait);
        if (!lock) continue;
        wait.lock = note(std::move(*lock));
        PthreadLock& known = state->locks[*wait.lock];
        known.waiters.push_back(w);
        known.sure |= wait.caller == FutexCaller::libc || !wait.function.empty();
    }
    std::vector<PthreadLock> robust;
    for (std::uint32_t i = 0; i < state->identities.size() && robust.size() < 100000; ++i)
        read_robust_list(reader, i, robust);
    for (auto& lock : robust) {
        PthreadLock& known = state->locks[note(lock)];
        known.listed = true;
        known.sure = true;
    }

    std::vector<std::uint32_t> order(state->locks.size()), place(order.size());
    for (std::uint32_t i = 0; i < order.size(); ++i) order[i] = i;
    std::ranges::sort(order, {}, [&](std::uint32_t i) { return state->locks[i].address; });
    std::vector<PthreadLock> sorted;
    sorted.reserve(order.size());
    for (std::uint32_t i : order) {
        place[i] = static_cast<std::uint32_t>(sorted.size());
        sorted.push_back(std::move(state->locks[i]));
    }
    state->locks = std::move(sorted);
    for (FutexWait& wait : state->waits)
        if (wait.lock) wait.lock = place[*wait.lock];
    return Pthreads(std::move(state));
}

std::span<const FutexWait> Pthreads::waits() const { return state_->waits; }
std::span<const PthreadLock> Pthreads::locks() const { return state_->locks; }
const FutexWait* Pthreads::wait_of(std::uint32_t thread) const {
    auto found = std::ranges::find(state_->waits, thread, &FutexWait::thread);
    return found == state_->waits.end() ? nullptr : &*found;
}
const PthreadLock* Pthreads::find(Address lock) const {
    auto found = std::ranges::lower_bound(state_->locks, lock, {}, &PthreadLock::address);
    return found != state_->locks.end() && found->address == lock ? &*found : nullptr;
}
std::optional<std::int32_t> Pthreads::inner_tid(std::uint32_t thread) const {
    return thread < state_->identities.size() ? state_->identities[thread].tid : std::nullopt;
}
bool Pthreads::foreign_namespace() const { return state_->foreign_namespace; }
bool Pthreads::knows_all_threads() const { return state_->knows_all; }
const std::string& Pthreads::basis() const { return state_->basis; }
const std::string& Pthreads::unsupported() const { return state_->unsupported; }
bool Pthreads::locks_unread() const { return state_->locks_unread; }
const std::vector<report::Gap>& Pthreads::gaps() const { return state_->gaps; }

}  // namespace incident::native
