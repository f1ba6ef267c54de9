// The words of sync's locks, decoded: what the bytes say, nothing about who holds them (holders.h does).
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "go/binary/runtime.h"
#include "go/sync/waits.h"

namespace incident::go {

struct LockState {
    WaitObject type = WaitObject::mutex;  ///< mutex, rwmutex or wait_group
    Address address;
    std::uint64_t raw = 0;  ///< mutex: state; rwmutex: readerCount; group: state word
    // sync.Mutex, and an RWMutex's own
    bool locked = false, woken = false, starving = false;
    std::uint32_t mutex_waiters = 0;
    // sync.RWMutex
    std::int32_t reader_count = 0;  ///< as stored
    std::int32_t reader_wait = 0;   ///< readers that a waiting writer waits for
    bool writer = false;            ///< holds it, or waits for the readers to leave
    std::int32_t readers = 0;       ///< inside, or waiting behind the writer
    // sync.WaitGroup
    std::int32_t counter = 0;
    std::uint32_t group_waiters = 0;

    bool exclusively_held() const {
        return type == WaitObject::rwmutex ? locked && writer && reader_wait <= 0 : locked;
    }
    std::string words() const;  ///< "locked, starving, 3 waiters"
};

/// Fails with corrupt when the words cannot be a lock's.
Result<LockState> read_lock(const Memory& memory, const RuntimeLayout& layout, WaitObject type, Address address);

}  // namespace incident::go
