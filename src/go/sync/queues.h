// Queues of channels and condition variables, each read once however many goroutines stand in it. For go/sync only.
#pragma once

#include <mutex>
#include <unordered_map>
#include <unordered_set>

#include "go/sync/waits.h"

namespace incident::go {

struct Waits::Queues {
    Queues(const Memory& m, const Runtime& r) : memory(m), runtime(r) {}

    struct Channel {
        Result<ChannelSummary> summary = fail(ErrorKind::absent, "");
        std::string text;
        std::unordered_set<std::uint64_t> receivers, senders;  ///< sudogs
    };
    /// [any thread]: entries never move and are complete once returned.
    const Channel& channel(Address at, bool with_queues);
    /// The sudog of `g` on a notifyList; null: it is not on it. [any thread]
    Address on_notify_list(Address list, Address g);

    const Memory& memory;
    const Runtime& runtime;
    std::mutex mutex;
    std::unordered_map<std::uint64_t, Channel> channels, channels_with_queues;
    std::unordered_map<std::uint64_t, std::unordered_map<std::uint64_t, Address>> notify_lists;  ///< g → sudog
    std::size_t notified_left = 1u << 22;  ///< sudogs that are still read: one list may hang on many damaged heads
};

}  // namespace incident::go
