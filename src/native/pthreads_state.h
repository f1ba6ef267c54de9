// What Pthreads holds, and the stages that fill it; private to native/. Order: find_identities → find_waits →
// classify → own.
#pragma once

#include <unordered_map>

#include "native/pthreads.h"

namespace incident::native {

inline constexpr std::int32_t tid_limit = 1 << 22;  // PID_MAX_LIMIT on 64-bit (include/linux/threads.h)

/// A thread's descriptor (struct pthread of glibc) and what it says.
struct Identity {
    Address descriptor;               ///< fs_base; null: no such register, or no glibc thread
    std::optional<std::int32_t> tid;  ///< in its own namespace
    bool has_descriptor = false;      ///< it points to itself where glibc's does
};

struct Pthreads::State {
    explicit State(const CoreFile& file) : core(&file) {}
    const CoreFile* core;
    std::vector<Identity> identities;  ///< parallel to core->threads()
    std::optional<std::uint64_t> tid_offset;
    std::unordered_map<std::int32_t, std::uint32_t> by_tid;
    std::vector<FutexWait> waits;
    std::vector<PthreadLock> locks;
    bool foreign_namespace = false, knows_all = false;
    std::string basis, unsupported;
    bool locks_unread = false;
    std::vector<report::Gap> gaps;
};

/// pthreads_threads.cpp
void find_identities(Pthreads::State& state, const Memory& memory);
struct FutexCalls {
    const Memory& memory;
    const Images& images;
    bool libc_in_executable = false;

    std::optional<FutexWait> read(const ThreadContext& context) const;

private:
    FutexCaller caller_of(Address after_call, const Registers& registers) const;
};

/// pthreads_words.cpp: what stands around a futex word.
struct WordReader {
    const Pthreads::State& state;
    const Memory& memory;

    std::optional<PthreadLock> mutex(Address at) const;
    std::optional<PthreadLock> rwlock(Address at) const;
    std::optional<PthreadLock> condition(Address at, std::uint64_t signals) const;
    std::optional<PthreadLock> semaphore(Address at) const;
    std::optional<PthreadLock> barrier(Address at) const;
    std::optional<PthreadLock> stdio(Address at) const;

    /// The mutex that the kernel refused to a thread which now sleeps on a zero of its own stack, when it alone among
    /// what libc's frames hold explains that sleep.
    std::optional<PthreadLock> refused(const FutexWait& wait) const;

    /// Fills object, address and mode of `wait`; the lock behind it, or nothing.
    std::optional<PthreadLock> classify(FutexWait& wait) const;
    /// Threads that wait for a word in this range.
    std::uint64_t waiting_in(AddressRange words) const;
};

/// Who holds it: fills state, owner_thread.
void find_owner(const Pthreads::State& state, PthreadLock& lock);

}  // namespace incident::native
