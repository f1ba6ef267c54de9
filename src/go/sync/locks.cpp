// go1.27 src/internal/sync/mutex.go, src/sync/rwmutex.go, src/sync/waitgroup.go; the same bits since 1.16.
#include "go/sync/locks.h"

#include <fmt/format.h>

#include "base/text.h"

namespace incident::go {

namespace {

constexpr std::int32_t max_readers = 1 << 30;
/// Goroutines that were stopped between two steps of RLock, RUnlock or Lock: each leaves its counts apart by one.
constexpr std::int32_t most_between = 64;

Result<void> read_mutex(const Memory& memory, const RuntimeLayout& layout, Address at, LockState& out) {
    const auto state = static_cast<std::uint32_t>(TRY(StructView(memory, at).get(layout.sync_Mutex.state)));
    out.locked = (state & 1) != 0;
    out.woken = (state & 2) != 0;
    out.starving = (state & 4) != 0;
    out.mutex_waiters = state >> 3;
    if (state >> 31 != 0) return fail(ErrorKind::corrupt, "a mutex with a negative number of waiters", at);
    if (out.type == WaitObject::mutex) out.raw = state;
    return {};
}

}  // namespace

Result<LockState> read_lock(const Memory& memory, const RuntimeLayout& layout, WaitObject type, Address address) {
    LockState out;
    out.type = type;
    out.address = address;
    if (type == WaitObject::mutex) {
        TRY(read_mutex(memory, layout, address, out));
        return out;
    }
    StructView view(memory, address);
    if (type == WaitObject::rwmutex) {
        TRY(read_mutex(memory, layout, address + static_cast<std::uint64_t>(std::max(layout.sync_RWMutex.w.offset, 0)),
                       out));
        out.reader_count = TRY(view.get(layout.sync_RWMutex.readerCount));
        out.reader_wait = TRY(view.get(layout.sync_RWMutex.readerWait));
        out.writer = out.reader_count < 0;
        out.readers = out.writer ? out.reader_count + max_readers : out.reader_count;
        out.raw = static_cast<std::uint32_t>(out.reader_count);
        // RUnlock takes one off readerCount, then off readerWait; Lock adds to readerWait when both may be over.
        const std::int32_t apart = out.writer ? most_between : 0;
        if (out.readers < 0 || out.reader_wait < -apart || out.reader_wait - apart > out.readers)
            return fail(ErrorKind::corrupt, "reader counts of an RWMutex that contradict each other", address);
        return out;
    }
    if (type == WaitObject::wait_group) {
        std::uint64_t state = 0;
        if (layout.sync_WaitGroup.sema.present())
            state = TRY(view.get(layout.sync_WaitGroup.state));
        else
            state = TRY(memory.load<std::uint64_t>(
                address.is_aligned(8) ? address : address + 4));  // ≤1.17: the aligned pair of three words
        out.raw = state;
        out.counter = static_cast<std::int32_t>(state >> 32);
        out.group_waiters = static_cast<std::uint32_t>(state) & 0x7fffffffu;  // 1.25+: the top bit is a flag
        if (out.counter < 0) return fail(ErrorKind::corrupt, "a WaitGroup with a negative counter", address);
        return out;
    }
    return fail(ErrorKind::unsupported, "no lock of package sync", address);
}

std::string LockState::words() const {
    if (type == WaitObject::wait_group)
        return fmt::format("counter {}, {}", counter, count_of(group_waiters, "waiter"));
    std::string text;
    auto add = [&](std::string_view part) { text.append(text.empty() ? "" : ", ").append(part); };
    if (type == WaitObject::rwmutex) {
        if (writer && reader_wait > 0)
            add(fmt::format("writer waits for {}", count_of(static_cast<std::uint64_t>(reader_wait), "reader")));
        else if (writer)
            add("held by a writer");
        const std::int64_t behind = std::int64_t{readers} - std::max(reader_wait, 0);
        if (behind > 0 && writer) add(count_of(static_cast<std::uint64_t>(behind), "new reader") + " behind it");
        if (!writer) add(readers == 0 ? "no readers" : count_of(static_cast<std::uint64_t>(readers), "reader"));
        if (mutex_waiters != 0) add(count_of(mutex_waiters, "more writer"));
        if (!writer && locked) add("a writer is on its way in or out");
        return text;
    }
    add(locked ? "locked" : "unlocked");
    if (woken) add("one waiter woken");
    if (starving) add("starving");
    if (mutex_waiters != 0) add(count_of(mutex_waiters, "waiter"));
    return text;
}

}  // namespace incident::go
