// What a goroutine waits for: channels (g.waiting), semaphores (the runtime's semtable, and which lock a semaphore
// belongs to), condition variables, file descriptors. Up to Go 1.25 a waiter on a lock has nothing in its g that says
// which: the semtable does, for all goroutines at once.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "go/stacks/walk.h"

namespace incident::go {

enum class WaitObject : std::uint8_t {
    channel,
    nil_channel,
    mutex,
    rwmutex,
    wait_group,
    cond,
    descriptor,
    fd_mutex,
    coroutine,
    semaphore
};
std::string_view to_string(WaitObject object);  ///< "sync.Mutex", "chan", …

enum class WaitMode : std::uint8_t { none, receive, send, lock, rlock, wait, read, write };
std::string_view to_string(WaitMode mode);

/// One thing that a goroutine waits for; a select waits for several.
struct WaitsFor {
    WaitObject object = WaitObject::semaphore;
    WaitMode mode = WaitMode::none;
    Address address;    ///< of the channel, lock, WaitGroup, Cond; of the semaphore word when the lock is unknown
    Address semaphore;  ///< its word, for semaphores
    Address sudog;
    std::string what;     ///< "chan int, 0 of 4 queued, 2 receivers wait", "sync.RWMutex (read lock)"
    std::string_view by;  ///< who says so: "g.waiting", "semtable", "frame arguments"
};

/// One goroutine queued on a semaphore.
struct SemaphoreWaiter {
    Address semaphore;  ///< address of the word: &mutex.sema …
    Address g;
    Address sudog;
    std::uint32_t ticket = 0;  ///< 1: handed off to it
};

struct ChannelSummary {
    Address channel;
    std::uint64_t queued = 0, capacity = 0;
    bool closed = false;
    bool timer = false;                      ///< of a Timer or Ticker (1.23+ tells)
    bool timer_runs = false;                 ///< and that one is going to fire, or may for all that can be read
    std::size_t receivers = 0, senders = 0;  ///< that wait; bounded counts
    std::string element;                     ///< type; empty: unknown
    std::string text() const;                ///< "chan int, 0 of 4 queued, 2 receivers wait"
};
Result<ChannelSummary> read_channel(const Memory& memory, const Runtime& runtime, Address channel);

/// One entry of a channel's queues or of g.waiting.
struct Sudog {
    Address at, g, element, channel;
    bool is_select = false;
};
/// g.waiting, linked by waitlink: one per case for a select.
std::vector<Sudog> waiting_sudogs(const Memory& memory, const Runtime& runtime, const Goroutine& g);

/// The coro that `g`, of wait reason "coroutine", waits to be switched to by; coroutines.cpp.
std::optional<Address> coroutine_of(const Memory& memory, const Runtime& runtime, const Goroutine& g);

class Waits {
public:
    /// Reads the semtable once. Without it (not found, not readable) waits on locks come from g.waiting (1.26+) or from
    /// the frames' arguments, and `gaps` says so.
    static Waits read(const Memory& memory, const Runtime& runtime, const GoroutineList& list);

    std::span<const SemaphoreWaiter> semaphores() const { return waiters_; }  ///< in queue order per word
    const SemaphoreWaiter* semaphore_of(Address g) const;                     ///< O(log n)
    bool complete() const { return complete_; }
    const std::vector<report::Gap>& gaps() const { return gaps_; }

    /// Empty when it waits for nothing that we know. [any thread]
    std::vector<WaitsFor> of(const Memory& memory, const Runtime& runtime, const Goroutine& g,
                             const GoStack& stack) const;

private:
    struct Queues;  ///< what was read of channels and condition variables: 10^5 goroutines share few
    std::vector<SemaphoreWaiter> waiters_;
    std::vector<std::uint32_t> by_g_;
    std::shared_ptr<Queues> queues_;
    std::vector<report::Gap> gaps_;
    bool complete_ = false;
};

}  // namespace incident::go
