// Lanes: how several workers share one walk over the heap. The slots are dealt out to lanes, in stripes; whoever holds
// a lane alone writes what is kept of its slots (marks, types, what waits), without locks or atomic words. What an
// object of another lane is told goes there as a message, many at a time.
//
// Surprising: two workers that write into one bitmap spend most of their time fetching each other's cache lines,
// because objects point to objects nearby: marking 16 million objects took two of them longer than one alone. And
// nobody is woken for a few messages: the worker that has run dry takes that lane itself, so that a long list which
// crosses lanes at every step is walked by one.
#pragma once

#include <algorithm>
#include <atomic>
#include <bit>
#include <condition_variable>
#include <cstddef>
#include <deque>
#include <mutex>
#include <span>
#include <thread>
#include <vector>

#include "base/parallel.h"
#include "go/heap/heap_slots.h"
#include "go/heap/slot_queue.h"

namespace incident::go {

template <class Message>
class Lanes {
public:
    static constexpr unsigned stripe_bits = 17;  ///< slots of a stripe: some 10 MB of heap
    /// As many lanes as workers, rounded up to a power of two.
    Lanes(unsigned workers, SlotId limit)
        : workers_(std::max(workers, 1u)), bits_(static_cast<unsigned>(std::bit_width(workers_ - 1))) {
        for (unsigned i = 0; i <= mask(); ++i)
            all_.emplace_back(i, (std::size_t{limit} >> (stripe_bits + bits_) << stripe_bits) + stripe);
    }
    unsigned count() const noexcept { return mask() + 1; }
    unsigned workers() const noexcept { return workers_; }
    unsigned of(SlotId slot) const noexcept { return slot >> stripe_bits & mask(); }

private:
    static constexpr SlotId stripe = SlotId{1} << stripe_bits;
    static constexpr std::size_t batch = 512;  // messages on their way at once
    static constexpr unsigned patience = 64;   // blocks that are looked into before what waits to be sent is sent
    static constexpr unsigned a_round = 512;   // blocks
    static constexpr std::size_t few = 64;     // nobody is woken for fewer, or waits with fewer for others who are idle

    struct Lane {
        Lane(unsigned n, std::size_t limit) : number(n), queue(limit) {}
        const unsigned number;
        SlotQueue queue;                     // of the lane's own numbers; for its holder
        std::vector<Message> inbox;          // under mutex_
        std::atomic<bool> incoming = false;  // there is something in it
        bool held = false;                   // under mutex_
    };

public:
    /// One worker's hands: the lane it holds, and what it has for others. [one thread]
    class Hand {
    public:
        explicit Hand(Lanes& lanes) : lanes_(lanes), out_(lanes.count()) {}
        /// Holds the lane of this slot: what is kept of it may be written.
        bool holds(SlotId slot) const noexcept { return lane_ != nullptr && lanes_.of(slot) == lane_->number; }
        void add(SlotId slot) noexcept { lane_->queue.add(lanes_.number(slot)); }
        void send(unsigned lane, const Message& message) {
            auto& out = out_[lane];
            out.push_back(message);
            if (out.size() >= batch || (out.size() >= few && lanes_.idle_.load(std::memory_order_relaxed) != 0))
                lanes_.deliver(lane, out);
        }
        /// Walks until nothing is left in any lane: calls receive(messages) and look_into(first slot, bits).
        /// `rest`: called when a lane has run dry; what was held back then goes on now; true: there was something.
        template <class Receive, class LookInto, class Rest>
        void walk(Receive&& receive, LookInto&& look_into, Rest&& rest) {
            std::vector<Message> messages;
            while ((lane_ = lanes_.next(lane_, messages)) != nullptr) {
                do {
                    receive(std::span<const Message>(messages));
                    // Lists that come back to this lane behind the elevator would wait for its next round, and be
                    // all that is left in the end.
                    if (!messages.empty() && since_restart_ >= a_round) lane_->queue.restart(), since_restart_ = 0;
                    messages.clear();
                    SlotQueue::Block block;
                    for (unsigned taken = 1; !lane_->incoming.load(std::memory_order_relaxed); ++taken) {
                        if (!lane_->queue.take(block)) break;
                        look_into(lanes_.slot(block.first, lane_->number), block.bits);
                        ++since_restart_;
                        if (taken % patience == 0) flush();
                    }
                    if (lane_->incoming.load(std::memory_order_relaxed)) lanes_.fetch(*lane_, messages);
                } while (!messages.empty() || !lane_->queue.empty() || rest());
                flush();
            }
        }
        void flush() {
            for (unsigned i = 0; i < out_.size(); ++i)
                if (!out_[i].empty()) lanes_.deliver(i, out_[i]);
        }

    private:
        Lanes& lanes_;
        Lane* lane_ = nullptr;
        unsigned since_restart_ = 0;             // blocks
        std::vector<std::vector<Message>> out_;  // per lane
    };

    /// For the lane, from outside. [before the walk]
    void post(unsigned lane, const Message& message) {
        all_[lane].inbox.push_back(message);
        all_[lane].incoming.store(true, std::memory_order_relaxed);
    }
    /// Nothing waits to be received. [before the walk]
    bool empty() const {
        return std::ranges::all_of(all_, [](const Lane& lane) { return lane.inbox.empty(); });
    }
    /// Calls work(worker) on as many threads as there are workers, this one among them, or as the machine gives; each
    /// is to walk with a hand of its own. Returns when nothing is left in any lane.
    template <class Work>
    void run(Work&& work) {
        done_ = false;
        std::vector<std::jthread> others;
        for (unsigned worker = 1; worker < workers_; ++worker)
            if (auto other = start_thread([&work, worker] { work(worker); })) others.push_back(std::move(*other));
        work(0u);
    }

private:
    unsigned mask() const noexcept { return (1u << bits_) - 1; }
    std::size_t number(SlotId slot) const noexcept {
        return std::size_t{slot >> (stripe_bits + bits_)} << stripe_bits | (slot & (stripe - 1));
    }
    SlotId slot(std::size_t number, unsigned lane) const noexcept {
        return static_cast<SlotId>((number >> stripe_bits << bits_ | lane) << stripe_bits | (number & (stripe - 1)));
    }
    void deliver(unsigned to, std::vector<Message>& messages) {
        const std::lock_guard lock(mutex_);
        Lane& lane = all_[to];
        lane.inbox.insert(lane.inbox.end(), messages.begin(), messages.end());
        messages.clear();
        lane.incoming.store(true, std::memory_order_relaxed);
        if (!lane.held && idle_.load(std::memory_order_relaxed) != 0 && lane.inbox.size() >= few) wake_.notify_one();
    }
    void fetch(Lane& lane, std::vector<Message>& messages) {
        const std::lock_guard lock(mutex_);
        messages.swap(lane.inbox);
        lane.incoming.store(false, std::memory_order_relaxed);
    }
    /// Gives `had` back and takes a lane that has something, with its messages; null: nothing is left anywhere.
    Lane* next(Lane* had, std::vector<Message>& messages) {
        std::unique_lock lock(mutex_);
        if (had != nullptr) had->held = false;
        for (;;) {
            bool held = false;
            Lane* best = nullptr;
            for (Lane& lane : all_) {
                held = held || lane.held;
                if (!lane.held && !lane.inbox.empty() && (best == nullptr || lane.inbox.size() > best->inbox.size()))
                    best = &lane;
            }
            if (best != nullptr) {
                best->held = true;
                const auto more = [](const Lane& lane) { return !lane.held && lane.inbox.size() >= few; };
                if (idle_.load(std::memory_order_relaxed) != 0 && std::ranges::any_of(all_, more)) wake_.notify_one();
                messages.swap(best->inbox);
                best->incoming.store(false, std::memory_order_relaxed);
                return best;
            }
            if (done_ || !held) {
                done_ = true;
                wake_.notify_all();
                return nullptr;
            }
            idle_.fetch_add(1, std::memory_order_relaxed);
            wake_.wait(lock);
            idle_.fetch_sub(1, std::memory_order_relaxed);
        }
    }

    const unsigned workers_, bits_;
    std::deque<Lane> all_;
    std::mutex mutex_;
    std::condition_variable wake_;
    std::atomic<unsigned> idle_ = 0;
    bool done_ = false;  // under mutex_
};

}  // namespace incident::go
