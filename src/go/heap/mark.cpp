// Marking; see mark.h.
#include "go/heap/mark.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <condition_variable>
#include <mutex>
#include <thread>

namespace incident::go {

namespace {

constexpr std::size_t ahead = 4;  // objects prefetched before they are scanned; more is slower: see mark.h
constexpr std::uint32_t oblet_words = 16 * 1024;  // 128 KB: larger objects are split, as the runtime does
constexpr std::size_t seed_grain = 4096;
constexpr std::size_t worth_sharing = 256;

/// A slot, and for large objects which oblet of it.
struct Work {
    SlotId slot;
    std::uint32_t part;  // 0: the first, which queues the others
};

/// Work that any worker may take, and the count of those who have none.
class Pool {
public:
    explicit Pool(unsigned workers) : workers_(workers) {}
    bool hungry() const noexcept { return hungry_.load(std::memory_order_relaxed); }
    void give(std::vector<Work> work) {
        std::lock_guard lock(mutex_);
        shared_.push_back(std::move(work));
        hungry_.store(waiting_ > shared_.size(), std::memory_order_relaxed);
        wake_.notify_one();
    }
    /// False: everybody waits, so nothing is left.
    bool take(std::vector<Work>& work) {
        std::unique_lock lock(mutex_);
        if (shared_.empty()) {
            if (++waiting_ == workers_) {
                done_ = true;
                wake_.notify_all();
            }
            hungry_.store(true, std::memory_order_relaxed);
            wake_.wait(lock, [&] { return done_ || !shared_.empty(); });
            if (done_) return false;
            --waiting_;
        }
        work = std::move(shared_.back());
        shared_.pop_back();
        hungry_.store(waiting_ > shared_.size(), std::memory_order_relaxed);
        return true;
    }

private:
    const unsigned workers_;
    std::mutex mutex_;
    std::condition_variable wake_;
    std::vector<std::vector<Work>> shared_;
    std::atomic<bool> hungry_{false};
    unsigned waiting_ = 0;
    bool done_ = false;
};

template <bool Shared>
class Marker {
public:
    Marker(const HeapPointers& pointers, SlotBits& todo, const SlotBits* closed, bool strays, Pool& pool)
        : pointers_(pointers),
          slots_(pointers.slots()),
          todo_(todo.words()),
          closed_(closed),
          strays_(strays),
          pool_(pool) {
        auto hull = slots_.hull();
        low_ = hull.begin.value;
        extent_ = hull.size();
    }
    MarkResult result;

    void seed(std::span<const SlotId> seeds) {
        for (SlotId slot : seeds)
            if (slot != no_slot) mark({slot, slots_.noscan(slot)}, no_slot, 0, 0);
    }
    void drain() {
        std::array<Work, ahead> ring;
        std::size_t first = 0, held = 0;
        for (;;) {
            while (held < ahead && !stack_.empty()) {
                Work work = stack_.back();
                stack_.pop_back();
                if (work.part == 0) slots_.prefetch(work.slot);
                ring[(first + held++) % ahead] = work;
            }
            if (held == 0) return;
            Work work = ring[first];
            first = (first + 1) % ahead;
            --held;
            scan(work);
            if constexpr (Shared)
                if (stack_.size() >= worth_sharing && pool_.hungry()) share();
        }
    }
    bool take() { return pool_.take(stack_); }

private:
    void share() {
        auto half = static_cast<std::ptrdiff_t>(stack_.size() / 2);
        std::vector<Work> gift(stack_.begin(), stack_.begin() + half);
        stack_.erase(stack_.begin(), stack_.begin() + half);
        pool_.give(std::move(gift));
    }
    void stray(SlotId holder, std::uint64_t offset, std::uint64_t value) {
        if (!strays_ || holder == no_slot) return;
        if (result.strays.size() < stray_limit)
            result.strays.push_back({holder, offset, Address{value}});
        else
            result.strays_complete = false;
    }
    void mark(HeapSlots::Found found, SlotId holder, std::uint64_t offset, std::uint64_t value) {
        std::uint64_t bit = std::uint64_t{1} << (found.slot % 64);
        std::uint64_t& word = todo_[found.slot / 64];
        std::atomic_ref<std::uint64_t> shared(word);
        if ((shared.load(std::memory_order_relaxed) & bit) == 0) return;
        if (strays_ && !slots_.allocated(found.slot)) [[unlikely]]
            return stray(holder, offset, value);
        if constexpr (Shared) {
            if ((shared.fetch_and(~bit, std::memory_order_relaxed) & bit) == 0) return;
        } else {
            word &= ~bit;
        }
        ++result.marked;
        if (found.noscan || (closed_ != nullptr && closed_->test(found.slot))) return;
        stack_.push_back({found.slot, 0});
    }
    void scan(Work work) {
        auto visit = [&](std::uint64_t offset, std::uint64_t value) {
            if (value - low_ >= extent_) return;
            if (auto found = slots_.find_kind(Address{value}); found.slot != no_slot) [[likely]]
                mark(found, work.slot, offset, value);
            else
                stray(work.slot, offset, value);
        };
        std::uint32_t words = slots_.slot_span(work.slot).words;
        if (words <= oblet_words) {
            if (!pointers_.for_each_pointer_word(work.slot, 0, words, visit)) ++result.without_map;
            return;
        }
        if (work.part == 0) {
            std::uint32_t parts = (words - 1) / oblet_words + 1;
            for (std::uint32_t part = parts - 1; part != 0; --part) stack_.push_back({work.slot, part});
        }
        std::uint64_t begin = std::uint64_t{work.part} * oblet_words;
        bool known = pointers_.for_each_pointer_word(
            work.slot, begin, begin + std::min<std::uint64_t>(oblet_words, words - begin), visit);
        if (!known && work.part == 0) ++result.without_map;
    }

    const HeapPointers& pointers_;
    const HeapSlots& slots_;
    std::span<std::uint64_t> todo_;
    const SlotBits* closed_;
    const bool strays_;
    Pool& pool_;
    std::uint64_t low_ = 0, extent_ = 0;
    std::vector<Work> stack_;
};

}  // namespace

MarkResult mark_from(const HeapPointers& pointers, std::span<const SlotId> seeds, SlotBits& todo, unsigned jobs,
                     const SlotBits* closed, bool strays) {
    if (jobs <= 1) {
        Pool pool(1);
        Marker<false> marker(pointers, todo, closed, strays, pool);
        for (std::size_t at = 0; at < seeds.size(); at += seed_grain) {
            marker.seed(seeds.subspan(at, std::min(seed_grain, seeds.size() - at)));
            marker.drain();
        }
        return std::move(marker.result);
    }
    Pool pool(jobs);
    std::atomic<std::size_t> next{0};
    std::vector<MarkResult> results(jobs);
    auto work = [&](unsigned worker) {
        Marker<true> marker(pointers, todo, closed, strays, pool);
        for (std::size_t at; (at = next.fetch_add(seed_grain)) < seeds.size();) {
            marker.seed(seeds.subspan(at, std::min(seed_grain, seeds.size() - at)));
            marker.drain();
        }
        while (marker.take()) marker.drain();
        results[worker] = std::move(marker.result);
    };
    {
        std::vector<std::jthread> helpers;
        for (unsigned worker = 1; worker < jobs; ++worker) helpers.emplace_back(work, worker);
        work(0);
    }
    MarkResult sum;
    for (const MarkResult& part : results) {
        sum.marked += part.marked;
        sum.without_map += part.without_map;
        sum.strays.insert(sum.strays.end(), part.strays.begin(), part.strays.end());
        sum.strays_complete &= part.strays_complete;
    }
    return sum;
}

}  // namespace incident::go
