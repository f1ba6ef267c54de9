// Channels and their queues.
#include <fmt/format.h>

#include "base/bounded_walk.h"
#include "base/text.h"
#include "go/sync/queues.h"

namespace incident::go {

namespace {

constexpr std::size_t max_queue = 1u << 22;
constexpr std::size_t max_cases = 65536;  // reflect.Select allows as many

/// Calls visit(sudog) along one queue of the channel. A sudog knows its channel (go1.16 src/runtime/chan.go sets c
/// before it enqueues): the queue of a damaged one ends where another's begins, so that no list is walked for many
/// channels.
template <class Visit>
void for_each_waiter(const Memory& memory, const RuntimeLayout& layout, Address channel, Field<Address> first,
                     Visit&& visit) {
    auto head = StructView(memory, channel).get(first);
    walk_chain(head.value_or(Address{}), max_queue, [&](Address at) -> std::optional<Address> {
        StructView view(memory, at);
        auto next = view.get(layout.sudog.next), of = view.get(layout.sudog.c);
        if (!next || !of || *of != channel) return std::nullopt;
        visit(at);
        return *next;
    });
}

}  // namespace

const Waits::Queues::Channel& Waits::Queues::channel(Address at, bool with_queues) {
    std::lock_guard lock(mutex);
    auto [slot, fresh] = (with_queues ? channels_with_queues : channels).try_emplace(at.value);
    Channel& entry = slot->second;
    if (!fresh) return entry;
    entry.summary = read_channel(memory, runtime, at);
    entry.text = entry.summary ? entry.summary->text() : "chan (unreadable)";
    if (with_queues) {
        const auto& layout = runtime.layout();
        for (auto [queue, sudogs] : {std::pair(layout.hchan.recvq_first, &entry.receivers),
                                     std::pair(layout.hchan.sendq_first, &entry.senders)})
            for_each_waiter(memory, layout, at, queue, [&](Address sudog) { sudogs->insert(sudog.value); });
    }
    return entry;
}

Address Waits::Queues::on_notify_list(Address list, Address g) {
    std::lock_guard lock(mutex);
    auto [slot, fresh] = notify_lists.try_emplace(list.value);
    if (fresh) {
        const auto& layout = runtime.layout();
        auto head = StructView(memory, list).get(layout.notifyList.head);
        walk_chain(head.value_or(Address{}), notified_left, [&](Address at) -> std::optional<Address> {
            --notified_left;
            StructView view(memory, at);
            auto owner = view.get(layout.sudog.g);
            auto next = view.get(layout.sudog.next);
            if (!owner || !next) return std::nullopt;
            slot->second.emplace(owner->value, at);
            return *next;
        });
    }
    auto found = slot->second.find(g.value);
    return found != slot->second.end() ? found->second : Address{};
}

Result<ChannelSummary> read_channel(const Memory& memory, const Runtime& runtime, Address channel) {
    const auto& layout = runtime.layout();
    StructView view(memory, channel);
    ChannelSummary summary;
    summary.channel = channel;
    summary.queued = TRY(view.get(layout.hchan.qcount));
    summary.capacity = TRY(view.get(layout.hchan.dataqsiz));
    summary.closed = TRY(view.get(layout.hchan.closed)) != 0;
    if (summary.queued > summary.capacity) {
        return fail(ErrorKind::corrupt, fmt::format("channel with {} of {} elements", summary.queued, summary.capacity),
                    channel);
    }
    if (const auto timer = view.get(layout.hchan.timer); timer && !timer->is_null()) {
        summary.timer = true;
        // Zero when it was stopped, and when it has fired for the last time. go1.23–1.27 src/runtime/time.go, stop and
        // unlockAndRun
        const auto when = StructView(memory, *timer).get(layout.timer.when);
        summary.timer_runs = !when || *when != 0;
    }
    for_each_waiter(memory, layout, channel, layout.hchan.recvq_first, [&](Address) { ++summary.receivers; });
    for_each_waiter(memory, layout, channel, layout.hchan.sendq_first, [&](Address) { ++summary.senders; });
    if (auto type = view.get(layout.hchan.elemtype)) summary.element = runtime.type_name(*type).value_or("");
    return summary;
}

std::string ChannelSummary::text() const {
    std::string words = "chan";
    if (!element.empty()) words += ' ' + element;
    words += fmt::format(", {} of {} queued", queued, capacity);
    if (closed) words += ", closed";
    if (timer) words += timer_runs ? ", of a timer" : ", of a timer that does not run";
    if (receivers > 0) words += ", " + count_of(receivers, "receiver waits", "receivers wait");
    if (senders > 0) words += ", " + count_of(senders, "sender waits", "senders wait");
    return words;
}

std::vector<Sudog> waiting_sudogs(const Memory& memory, const Runtime& runtime, const Goroutine& g) {
    std::vector<Sudog> sudogs;
    const auto& f = runtime.layout().sudog;
    walk_chain(g.waiting, max_cases, [&](Address at) -> std::optional<Address> {
        StructView view(memory, at);
        auto next = view.get(f.waitlink);
        auto owner = view.get(f.g);
        if (!next || !owner || *owner != g.g) return std::nullopt;
        sudogs.push_back({.at = at,
                          .g = *owner,
                          .element = view.get(f.elem).value_or(Address{}),
                          .channel = view.get(f.c).value_or(Address{}),
                          .is_select = view.get(f.isSelect).value_or(0) != 0});
        return *next;
    });
    return sudogs;
}

}  // namespace incident::go
