// Pthreads: what threads wait for in the kernel (futex) and the pthread locks behind it, with their owners, from
// registers and memory alone: neither symbols nor the version of libc are needed.
//
// Surprising: at the system call all waits look the same: a word and a number. What stands around the word decides
// (mutex, rwlock, condition variable, semaphore, barrier, the end of a thread), and what fits nothing stays unknown:
// Go, Rust and others have futex words of their own. A mutex names its owner by the tid that the owner sees itself, in
// the process's own PID namespace; the core names threads by the dumper's. Both tids of a thread are joined by its
// descriptor at fs_base. Layouts: glibc 2.25 and newer, sysdeps/nptl/bits/struct_mutex.h, struct_rwlock.h and
// thread-shared-types.h; verified with 2.27, 2.31, 2.36, 2.41, 2.42, 2.43 and 2.44. musl is recognised and not read.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/core_file.h"
#include "core/memory.h"
#include "image/images.h"
#include "report/report.h"

namespace incident::native {

/// What somebody else knows about a thread: native/ unwinds nothing.
struct ThreadContext {
    std::uint32_t thread = 0;              ///< index into CoreFile::threads()
    Registers registers;                   ///< at the system call; the interrupted ones when a signal handler runs
    bool in_signal_handler = false;        ///< `registers` are what a handler interrupted
    std::vector<std::string> functions{};  ///< C functions from the call outwards, as far as named; may be empty
};

enum class FutexObject : std::uint8_t {
    unknown,
    mutex,
    rwlock,
    condition,
    semaphore,
    barrier,
    thread_end,  ///< pthread_join
    stdio,       ///< the lock of a FILE
    internal,    ///< libc's own (malloc arena …): locked or not, without owner
};
/// "pthread_mutex_t"; "futex word" when unknown.
std::string_view to_string(FutexObject object);

/// Who made the system call: only libc's own code makes a futex word a pthread lock.
enum class FutexCaller : std::uint8_t { unknown, libc, wrapper /* syscall(2): the program's own futex */ };

enum class WaitFor : std::uint8_t { lock, read_lock, write_lock, wait, join };
std::string_view to_string(WaitFor mode);

struct FutexWait {
    std::uint32_t thread = 0;  ///< index into CoreFile::threads()
    Address word;
    std::uint32_t system_call = 0;                 ///< 202 futex, 449 futex_waitv, 455 futex_wait
    std::uint32_t operation = 0;                   ///< FUTEX_WAIT …, with its flags
    std::optional<std::uint32_t> expected, value;  ///< what the word was to be · what it is
    bool shared = false;                           ///< keyed by the page, not by the process
    bool timed = false;                            ///< has a time limit: it will not wait forever
    bool in_signal_handler = false;
    /// Priority inheritance: the kernel refused the lock, whose owner is gone or is the waiter itself, and libc sleeps
    /// for good on a word of its own (nptl/pthread_mutex_lock.c: "Delay the thread indefinitely").
    bool refused = false;
    FutexCaller caller = FutexCaller::unknown;
    Address pc;
    FutexObject object = FutexObject::unknown;
    Address address;  ///< of the object; null: unknown
    WaitFor mode = WaitFor::wait;
    std::optional<std::uint32_t> lock;    ///< index into locks()
    std::optional<std::uint32_t> joined;  ///< thread_end: whose, an index into CoreFile::threads()
    std::string function;                 ///< "pthread_mutex_lock" when a frame says so; empty

    /// The waiter is still in the state that it went to sleep for: nobody has woken it.
    bool asleep() const { return value && expected && *value == *expected; }
};

enum class MutexType : std::uint8_t { normal, recursive, errorcheck, adaptive };
std::string_view to_string(MutexType type);

enum class OwnerState : std::uint8_t {
    none,           ///< not held, or held by readers, who are anonymous
    changing,       ///< locked, and no owner written: it is being taken or given back
    alive,          ///< a thread of this core
    absent,         ///< no thread of this process has that tid
    elsewhere,      ///< process-shared: a tid that is not ours may be another process's
    died,           ///< robust: the kernel noted that the owner died; the next to lock it is told
    unrecoverable,  ///< robust: given up
    unknown,
};

struct PthreadLock {
    Address address;
    FutexObject object = FutexObject::mutex;
    OwnerState state = OwnerState::unknown;
    std::int32_t owner = 0;                     ///< tid as written there, in the process's own namespace; 0 none
    std::optional<std::uint32_t> owner_thread;  ///< index into CoreFile::threads()
    std::vector<std::uint32_t> waiters;         ///< indices into waits()
    bool shared = false;                        ///< may be another process's as well; glibc marks every robust mutex so
    bool listed = false;                        ///< robust: on its owner's own list, which makes that owner certain
    bool held = false;
    /// libc's own code waits for it, or its owner is one of our threads: more than words that happen to fit.
    bool sure = false;
    // mutex
    MutexType type = MutexType::normal;
    bool robust = false, priority_inherit = false, priority_protect = false;
    std::uint32_t word = 0, count = 0, users = 0, kind = 0;
    // rwlock
    std::uint32_t readers_word = 0, readers = 0, writers = 0;
    bool write_phase = false, write_locked = false;
    // condition variable, semaphore, barrier
    std::uint64_t counted_waiters = 0, needed = 0;

    std::uint64_t raw() const { return object == FutexObject::rwlock ? readers_word : word; }
    std::string words() const;  ///< "locked, contended, owner tid 12"
    bool has_owner() const {
        return object == FutexObject::mutex || object == FutexObject::rwlock || object == FutexObject::stdio;
    }
};

class Pthreads {
public:
    struct State;  ///< private to native/

    /// Keeps a reference to `core`. `libc`: its name and version, if known.
    static Pthreads read(const CoreFile& core, const Memory& memory, const Images& images,
                         std::span<const ThreadContext> contexts);

    std::span<const FutexWait> waits() const;    ///< one per waiting thread, in the order of the contexts
    std::span<const PthreadLock> locks() const;  ///< by address
    const FutexWait* wait_of(std::uint32_t thread) const;
    const PthreadLock* find(Address lock) const;

    /// The thread's tid in its own PID namespace; nullopt: its descriptor could not be read.
    std::optional<std::int32_t> inner_tid(std::uint32_t thread) const;
    /// The core names threads by other tids than they themselves: taken from outside their PID namespace.
    bool foreign_namespace() const;
    /// All threads' own tids are known, so that a tid among none of them is of no thread of this process.
    bool knows_all_threads() const;
    const std::string& basis() const;        ///< how tids were found: "at fs_base+0x2d0, in front of the robust list"
    const std::string& unsupported() const;  ///< why locks are not read: "musl's …"; empty: they are
    /// Threads wait in a libc whose locks are not read: that no fault is found in them says nothing.
    bool locks_unread() const;
    const std::vector<report::Gap>& gaps() const;

private:
    std::shared_ptr<const State> state_;
    explicit Pthreads(std::shared_ptr<const State> state) : state_(std::move(state)) {}
};

}  // namespace incident::native
