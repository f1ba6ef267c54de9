// What stands around a futex word. Each reader accepts bytes only when every field can be true at once; the number that
// the thread expects there narrows it down further.
//
// Numbers that waiters expect: mutex 2 (nptl/lowlevellock.c), or the owner's tid and the waiters bit (robust, priority
// inheritance); rwlock 3 or 2 in the phase and writers words, the readers word itself for readers that stand back
// (nptl/pthread_rwlock_common.c); condition variable the group's signals; semaphore 0; barrier the round; pthread_join
// the tid.
#include <algorithm>
#include <array>
#include <cstring>

#include <fmt/format.h>

#include "native/pthreads_state.h"

namespace incident::native {

namespace {

// sysdeps/nptl/lowlevellock-futex.h, linux/futex.h
constexpr std::uint32_t waiters_bit = 0x80000000, owner_died_bit = 0x40000000, tid_mask = 0x3fffffff;
// nptl/pthreadP.h: __kind
constexpr std::uint32_t kind_robust = 0x10, kind_inherit = 0x20, kind_protect = 0x40, kind_shared = 0x80,
                        kind_known = 0x3ff;
constexpr std::int32_t not_recoverable = INT32_MAX - 1, inconsistent = INT32_MAX;
// nptl/pthread_rwlock_common.c: __readers
constexpr std::uint32_t write_phase = 1, write_locked = 2, reader_shift = 3, handover = 0x80000000;
constexpr std::uint64_t reasonable = 1 << 20;  // threads, recursions, readers

template <std::size_t N>
std::optional<std::array<std::uint32_t, N>> words_at(const Memory& memory, Address at) {
    std::array<std::uint32_t, N> words;
    const std::byte* bytes = memory.data_at(at, N * 4);
    if (bytes == nullptr || !at.is_aligned(4)) return std::nullopt;
    std::memcpy(words.data(), bytes, N * 4);
    return words;
}

bool could_be_tid(std::uint32_t value) { return value > 0 && value <= static_cast<std::uint32_t>(tid_limit); }

}  // namespace

std::uint64_t WordReader::waiting_in(AddressRange words) const {
    return static_cast<std::uint64_t>(
        std::ranges::count_if(state.waits, [&](const FutexWait& w) { return words.contains(w.word); }));
}

// int lock; unsigned count; int owner; unsigned nusers; int kind; short spins, elision; list prev, next
std::optional<PthreadLock> WordReader::mutex(Address at) const {
    auto w = words_at<10>(memory, at);
    if (!w || !at.is_aligned(8)) return std::nullopt;
    PthreadLock lock;
    lock.address = at;
    lock.object = FutexObject::mutex;
    lock.word = (*w)[0];
    lock.count = (*w)[1];
    const std::uint32_t owner = (*w)[2];
    lock.users = (*w)[3];
    lock.kind = (*w)[4];
    if ((lock.kind & ~kind_known) != 0 || (lock.kind & 0xf) > 3) return std::nullopt;
    lock.type = static_cast<MutexType>(lock.kind & 3);
    lock.robust = (lock.kind & kind_robust) != 0;
    lock.priority_inherit = (lock.kind & kind_inherit) != 0;
    lock.priority_protect = (lock.kind & kind_protect) != 0;
    lock.shared = (lock.kind & kind_shared) != 0;
    if (lock.priority_inherit && lock.priority_protect) return std::nullopt;
    const bool tid_in_word = lock.robust || lock.priority_inherit;
    if (lock.users > reasonable || lock.count > reasonable) return std::nullopt;
    const bool special = lock.robust && (owner == static_cast<std::uint32_t>(not_recoverable) ||
                                         owner == static_cast<std::uint32_t>(inconsistent));
    if (owner != 0 && !special && !could_be_tid(owner)) return std::nullopt;
    if (tid_in_word) {
        const std::uint32_t tid = lock.word & tid_mask;
        if (tid != 0 && !could_be_tid(tid)) return std::nullopt;
        if (tid != 0 && owner != 0 && !special && tid != owner) return std::nullopt;
        lock.held = tid != 0;
        lock.owner = static_cast<std::int32_t>(tid);
    } else {
        // With a priority ceiling the upper bits hold it (PTHREAD_MUTEX_PRIO_CEILING_MASK).
        const std::uint32_t value = lock.priority_protect ? lock.word & 0x7ffff : lock.word;
        if (value > 2) return std::nullopt;
        lock.held = value != 0;
        lock.owner = static_cast<std::int32_t>(owner);
        // The list links only robust mutexes.
        if ((*w)[6] != 0 || (*w)[7] != 0 || (*w)[8] != 0 || (*w)[9] != 0) return std::nullopt;
        if (lock.type != MutexType::recursive && !lock.priority_protect && lock.count != 0) return std::nullopt;
        if (lock.type == MutexType::recursive && lock.held && owner != 0 && lock.count == 0) return std::nullopt;
    }
    if (lock.held && owner != 0 && lock.users == 0) return std::nullopt;
    if (special)
        lock.state =
            owner == static_cast<std::uint32_t>(not_recoverable) ? OwnerState::unrecoverable : OwnerState::died;
    else if (tid_in_word && (lock.word & owner_died_bit) != 0)
        lock.state = OwnerState::died;
    else if (!lock.held)
        lock.state = OwnerState::none;
    else if (lock.owner == 0)
        lock.state = OwnerState::changing;
    return lock;
}

// readers; writers; wrphase_futex; writers_futex; pad3; pad4; int cur_writer; int shared; signed char rwelision,
// pad[7]; unsigned long pad2; unsigned flags
std::optional<PthreadLock> WordReader::rwlock(Address at) const {
    auto w = words_at<13>(memory, at);
    if (!w || !at.is_aligned(8)) return std::nullopt;
    const auto& [readers, writers, phase, writing, pad3, pad4, current, shared, elision, pad5, low, high, flags] = *w;
    if (phase > 3 || writing > 3 || pad3 != 0 || pad4 != 0 || shared > 1 || elision > 0xff || pad5 != 0 || low != 0 ||
        high != 0 || flags > 3)
        return std::nullopt;
    if (current != 0 && !could_be_tid(current)) return std::nullopt;
    if ((readers >> reader_shift) > reasonable || (writers & ~handover) > reasonable) return std::nullopt;
    PthreadLock lock;
    lock.address = at;
    lock.object = FutexObject::rwlock;
    lock.readers_word = readers;
    lock.readers = readers >> reader_shift;
    lock.writers = writers & ~handover;
    lock.write_phase = (readers & write_phase) != 0;
    lock.write_locked = (readers & write_locked) != 0;
    lock.shared = shared != 0;
    lock.owner = static_cast<std::int32_t>(current);
    // A writer is written down only while it holds the lock.
    if (current != 0 && (!lock.write_phase || !lock.write_locked)) return std::nullopt;
    lock.held = current != 0 || (!lock.write_phase && lock.readers != 0) || (lock.write_phase && lock.write_locked);
    if (current == 0) lock.state = lock.write_phase && lock.write_locked ? OwnerState::changing : OwnerState::none;
    return lock;
}

// wseq; g1_start; g_refs[2] up to 2.40; g_size[2]; g1_orig_size; wrefs; g_signals[2] (at 40; since 2.41 at 32)
std::optional<PthreadLock> WordReader::condition(Address at, std::uint64_t signals) const {
    auto w = words_at<12>(memory, at);
    if (!w || !at.is_aligned(8)) return std::nullopt;
    auto wide = [&](std::size_t i) { return (*w)[i] | static_cast<std::uint64_t>((*w)[i + 1]) << 32; };
    const std::uint64_t sequence = wide(0) >> 1, start = wide(2) >> 1;
    const std::uint32_t references = (*w)[signals / 4 - 1], sizes[] = {(*w)[signals / 4 - 4], (*w)[signals / 4 - 3]};
    const std::uint64_t counted = references >> 3;  // bits: shared, clock, destroyer waits
    const std::uint64_t here = waiting_in({at + signals, at + signals + 8});
    if (counted == 0 || counted > reasonable || here > counted || sequence < start) return std::nullopt;
    if (sequence - start < here || sequence - start > (1ull << 32)) return std::nullopt;
    // The older group's size is what is left of it; the newer one's counts only what was canceled (wraps below zero).
    if (std::min(sizes[0], sizes[1]) > reasonable) return std::nullopt;
    if (signals == 40 && ((*w)[4] >> 1) + std::uint64_t{(*w)[5] >> 1} > 2 * reasonable) return std::nullopt;
    PthreadLock lock;
    lock.address = at;
    lock.object = FutexObject::condition;
    lock.word = references;
    lock.shared = (references & 1) != 0;
    lock.counted_waiters = counted;
    lock.state = OwnerState::none;
    return lock;
}

// struct new_sem { uint64_t data: value, waiters; int private; int pad; }
std::optional<PthreadLock> WordReader::semaphore(Address at) const {
    auto w = words_at<4>(memory, at);
    if (!w || !at.is_aligned(8)) return std::nullopt;
    if ((*w)[1] == 0 || (*w)[1] > reasonable || ((*w)[2] != 0 && (*w)[2] != 128)) return std::nullopt;
    if (waiting_in({at, at + 4}) > (*w)[1]) return std::nullopt;
    PthreadLock lock;
    lock.address = at;
    lock.object = FutexObject::semaphore;
    lock.word = (*w)[0];
    lock.counted_waiters = (*w)[1];
    lock.shared = (*w)[2] == 128;
    lock.state = OwnerState::none;
    return lock;
}

// unsigned in, current_round, count; int shared; unsigned out
std::optional<PthreadLock> WordReader::barrier(Address at) const {
    auto w = words_at<5>(memory, at);
    if (!w) return std::nullopt;
    const auto& [in, round, count, shared, out] = *w;
    const std::uint64_t arrived = in - round;
    if (count < 2 || count > reasonable || (shared != 0 && shared != 128) || out > in) return std::nullopt;
    if (in < round || arrived == 0 || arrived >= count || waiting_in({at + 4, at + 8}) > arrived) return std::nullopt;
    PthreadLock lock;
    lock.address = at;
    lock.object = FutexObject::barrier;
    lock.word = in;
    lock.counted_waiters = arrived;
    lock.needed = count;
    lock.shared = shared != 0;
    lock.state = OwnerState::none;
    return lock;
}

// _IO_lock_t { int lock; int cnt; void *owner; }: the owner is a thread's descriptor (sysdeps/nptl/stdio-lock.h)
std::optional<PthreadLock> WordReader::stdio(Address at) const {
    auto w = words_at<2>(memory, at);
    auto owner = memory.load_address(at + 8);
    if (!w || !owner || owner->is_null() || (*w)[0] == 0 || (*w)[0] > 2 || (*w)[1] == 0 || (*w)[1] > reasonable)
        return std::nullopt;
    for (std::uint32_t i = 0; i < state.identities.size(); ++i) {
        if (state.identities[i].descriptor != *owner || !state.identities[i].has_descriptor) continue;
        PthreadLock lock;
        lock.address = at;
        lock.object = FutexObject::stdio;
        lock.word = (*w)[0];
        lock.count = (*w)[1];
        lock.held = true;
        lock.type = MutexType::recursive;
        lock.owner = state.identities[i].tid.value_or(0);
        lock.owner_thread = i;
        lock.state = OwnerState::alive;
        return lock;
    }
    return std::nullopt;
}

std::optional<PthreadLock> WordReader::refused(const FutexWait& wait) const {
    constexpr std::uint64_t nearby = 4096, frame = 512;  // bytes: from sp to the zero, from there to the mutex
    const Registers& registers = state.core->threads()[wait.thread].registers;
    const auto sp = registers.sp();
    const auto self = state.identities[wait.thread].tid;
    if (wait.in_signal_handler || wait.timed || wait.expected != 0u || wait.value != 0u || !sp || !self ||
        wait.word < *sp || wait.word >= *sp + nearby)
        return std::nullopt;
    std::optional<PthreadLock> found;
    auto try_word = [&](std::uint64_t word) {
        if (found && found->address.value == word) return true;
        auto lock = mutex(Address{word});
        if (!lock || !lock->priority_inherit || lock->robust || !lock->held || lock->shared) return true;
        const bool own =
            lock->owner == *self && lock->type != MutexType::recursive && lock->type != MutexType::errorcheck;
        if (!own && (!state.knows_all || state.by_tid.contains(lock->owner))) return true;
        if (found) return false;  // two that would explain it
        found = std::move(lock);
        return true;
    };
    // libc's code keeps the mutex's address, or that of its __kind, from which it reads last.
    constexpr std::uint64_t kind = 16;
    auto try_both = [&](std::uint64_t word) { return try_word(word) && try_word(word - kind); };
    for (unsigned row = 0; row < registers.machine().registers.size(); ++row)
        if (auto value = registers.get(row); value && !try_both(*value)) return std::nullopt;
    for (Address at = *sp; at < wait.word + frame; at += 8)
        if (auto value = memory.load<std::uint64_t>(at); value && !try_both(*value)) return std::nullopt;
    return found;
}

std::optional<PthreadLock> WordReader::classify(FutexWait& wait) const {
    auto is = [&](std::string_view prefix) { return wait.function.starts_with(prefix); };
    const bool hinted = !wait.function.empty();
    auto accept = [&](std::optional<PthreadLock> lock, WaitFor mode) {
        if (!lock) return lock;
        // Private locks are waited for privately: only then is the word ours alone.
        if (lock->has_owner() && lock->object != FutexObject::stdio && wait.shared != lock->shared)
            return std::optional<PthreadLock>{};
        wait.object = lock->object;
        wait.address = lock->address;
        wait.mode = mode;
        return lock;
    };
    if (wait.caller == FutexCaller::wrapper) return std::nullopt;

    if (state.tid_offset)  // pthread_join: the kernel clears the tid and wakes (CLONE_CHILD_CLEARTID)
        for (std::uint32_t i = 0; i < state.identities.size(); ++i) {
            const Identity& identity = state.identities[i];
            if (!identity.has_descriptor || wait.word != identity.descriptor + *state.tid_offset) continue;
            if (!identity.tid || wait.expected != static_cast<std::uint32_t>(*identity.tid)) continue;
            wait.object = FutexObject::thread_end;
            wait.address = identity.descriptor;
            wait.mode = WaitFor::join;
            wait.joined = i;
            return std::nullopt;
        }
    const std::uint32_t expected = wait.expected.value_or(0);
    if (!hinted || is("pthread_mutex_") || is("pthread_cond_")) {
        auto lock = mutex(wait.word);
        const bool tid_in_word = lock && (lock->robust || lock->priority_inherit);
        const bool fits = lock && (tid_in_word ? !wait.expected || (expected & waiters_bit) != 0
                                               : expected == 2 || (lock->priority_protect && (expected & 3) == 2));
        // Zeros are a mutex too: without an owner it takes the function's name.
        if (fits && (lock->owner != 0 || is("pthread_mutex_")))
            if (auto found = accept(lock, WaitFor::lock)) return found;
    }
    if (!hinted || is("pthread_rwlock_")) {
        if (expected == 3 || expected == 2)
            if (auto lock = rwlock(wait.word - 8)) {
                const bool writer = expected == 2;
                const bool sound = writer ? lock->write_locked || lock->writers != 0 : true;
                if (sound && (hinted || lock->held || lock->writers != 0))
                    if (auto found = accept(lock, writer ? WaitFor::write_lock : WaitFor::read_lock)) return found;
            }
        if (expected == 3)
            if (auto lock = rwlock(wait.word - 12); lock && (lock->writers != 0 || hinted))
                if (auto found = accept(lock, WaitFor::write_lock)) return found;
        if ((expected & 4) != 0)  // PTHREAD_RWLOCK_RWAITING
            if (auto lock = rwlock(wait.word); lock && (lock->held || hinted))
                if (auto found = accept(lock, WaitFor::read_lock)) return found;
    }
    if ((!hinted || is("pthread_cond_")) && (expected & 3) == 2)  // its own lock: the low bits of g1_orig_size
        for (std::uint64_t signals : {40, 32})
            if (auto lock = condition(wait.word - (signals - 8), signals); lock && lock->shared == wait.shared)
                return accept(lock, WaitFor::lock);
    if (!hinted || is("pthread_cond_")) {
        std::optional<PthreadLock> best;
        for (std::uint64_t signals : {40, 32})
            for (std::uint64_t group : {0, 4}) {
                auto lock = condition(wait.word - signals - group, signals);
                if (!lock || lock->shared != wait.shared) continue;
                const std::uint64_t here = waiting_in({lock->address + signals, lock->address + signals + 8});
                if (!best || lock->counted_waiters - here < best->counted_waiters) {
                    best = lock;
                    best->counted_waiters -= here;  // what is left over decides; put back below
                }
            }
        if (best) {
            best->counted_waiters = best->word >> 3;
            return accept(best, WaitFor::wait);
        }
    }
    if ((!hinted || is("sem_")) && expected == 0)
        if (auto lock = semaphore(wait.word); lock && lock->shared == wait.shared) return accept(lock, WaitFor::wait);
    if (!hinted || is("pthread_barrier_"))
        if (auto lock = barrier(wait.word - 4); lock && wait.expected && *wait.expected == wait.value)
            return accept(lock, WaitFor::wait);
    if (is("pthread_mutex_") || (!hinted && wait.caller == FutexCaller::libc))
        if (auto lock = refused(wait))
            if (auto found = accept(lock, WaitFor::lock)) {
                wait.refused = true;
                return found;
            }
    // Without names also a mutex without an owner: which of the two, the words do not say.
    if ((!hinted && expected == 2 && wait.caller == FutexCaller::libc) || is("lll_lock_wait_private")) {
        if (auto lock = stdio(wait.word)) return accept(lock, WaitFor::lock);
        if (wait.value && *wait.value <= 2) {
            PthreadLock lock;
            lock.address = wait.word;
            lock.object = FutexObject::internal;
            lock.word = *wait.value;
            lock.held = *wait.value != 0;
            return accept(lock, WaitFor::lock);
        }
    }
    return std::nullopt;
}

}  // namespace incident::native
