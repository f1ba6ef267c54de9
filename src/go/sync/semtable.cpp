// runtime.semtable: 251 roots, each padded to a cache line, a treap of sudogs keyed by the semaphore's address (prev
// and next are its children) whose nodes head a list of waiters on the same address (waitlink). go1.16–1.27
// src/runtime/sema.go.
#include <algorithm>
#include <unordered_set>

#include "go/sync/queues.h"

namespace incident::go {

namespace {

constexpr std::uint64_t root_count = 251;
constexpr std::uint64_t cache_line = 64;  // cpu.CacheLinePadSize of amd64; 128 on arm64
constexpr std::size_t max_waiters = 1u << 24;

struct Reading {
    const Memory& memory;
    const RuntimeLayout::sudog_fields& f;
    std::vector<SemaphoreWaiter>& waiters;
    std::unordered_set<std::uint64_t> seen = {};  ///< sudogs: each stands in one place, whatever a damaged link says
    bool damaged = false;
};

/// One node: it and those behind it on the same address.
void read_queue(Reading& r, Address head, Address semaphore) {
    for (Address at = head; !at.is_null();) {
        StructView view(r.memory, at);
        auto g = view.get(r.f.g);
        auto next = view.get(r.f.waitlink);
        if (!g || !next || r.waiters.size() >= max_waiters || !r.seen.insert(at.value).second) {
            r.damaged = true;
            return;
        }
        r.waiters.push_back({.semaphore = semaphore, .g = *g, .sudog = at, .ticket = view.get(r.f.ticket).value_or(0)});
        at = *next;
    }
}

void read_treap(Reading& r, Address root) {
    std::vector<Address> todo{root};
    while (!todo.empty()) {
        Address at = todo.back();
        todo.pop_back();
        if (at.is_null()) continue;
        StructView view(r.memory, at);
        auto semaphore = view.get(r.f.elem);
        auto left = view.get(r.f.prev), right = view.get(r.f.next);
        if (!semaphore || !left || !right || r.seen.contains(at.value)) {
            r.damaged = true;
            continue;
        }
        todo.push_back(*left);
        todo.push_back(*right);
        read_queue(r, at, *semaphore);
    }
}

}  // namespace

Waits Waits::read(const Memory& memory, const Runtime& runtime, const GoroutineList& list) {
    Waits waits;
    waits.queues_ = std::make_shared<Queues>(memory, runtime);
    const auto& layout = runtime.layout();
    auto missing = [&](std::string why) {
        waits.gaps_.push_back({.what = "the queue of goroutines that wait for locks is unknown",
                               .why = std::move(why),
                               .weakens = "which lock a goroutine waits for comes from its frames",
                               .damage = true});
    };
    if (!runtime.globals().semtable) {
        missing("runtime.semtable was not found");
        return waits;
    }
    if (!layout.sudog.elem.present() || !layout.semaRoot.treap.present()) {
        missing("the layout of runtime.sudog is not known");
        return waits;
    }
    const std::uint64_t stride = (layout.semaRoot.size + cache_line - 1) / cache_line * cache_line;
    Reading reading{memory, layout.sudog, waits.waiters_};
    for (std::uint64_t i = 0; i < root_count && stride != 0; ++i) {
        auto treap = StructView(memory, *runtime.globals().semtable + i * stride).get(layout.semaRoot.treap);
        if (!treap) {
            missing("runtime.semtable is not in the core");
            return waits;
        }
        read_treap(reading, *treap);
    }
    // A waiter is a goroutine that we know: anything else means a wrong address or a damaged table.
    const auto unknown =
        std::erase_if(waits.waiters_, [&](const SemaphoreWaiter& waiter) { return list.at(waiter.g) == nullptr; });
    waits.complete_ = !reading.damaged && unknown == 0;
    if (!waits.complete_) missing("runtime.semtable contradicts itself");

    waits.by_g_.resize(waits.waiters_.size());
    for (std::uint32_t i = 0; i < waits.by_g_.size(); ++i) waits.by_g_[i] = i;
    std::sort(waits.by_g_.begin(), waits.by_g_.end(),
              [&](std::uint32_t a, std::uint32_t b) { return waits.waiters_[a].g < waits.waiters_[b].g; });
    return waits;
}

const SemaphoreWaiter* Waits::semaphore_of(Address g) const {
    auto found = std::lower_bound(by_g_.begin(), by_g_.end(), g,
                                  [&](std::uint32_t index, Address wanted) { return waiters_[index].g < wanted; });
    return found != by_g_.end() && waiters_[*found].g == g ? &waiters_[*found] : nullptr;
}

}  // namespace incident::go
