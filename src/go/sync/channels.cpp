// Channels and their queues.
#include <fmt/format.h>

#include "base/bounded_walk.h"
#include "base/text.h"
#include "go/sync/queues.h"

namespace incident::go {

namespace {

constexpr std::size_t max_queue = 1u << 22;
constexpr std::size_t max_cases = 65536;  // reflect.Select allows as many

std::size_t queue_length(const Memory& memory, const RuntimeLayout& layout, Address first) {
    std::size_t length = 0;
    walk_chain(first, max_queue, [&](Address at) -> std::optional<Address> {
        auto next = StructView(memory, at).get(layout.sudog.next);
        if (!next) return std::nullopt;
        ++length;
        return *next;
    });
    return length;
}

void collect(const Memory& memory, const RuntimeLayout& layout, Address first,
             std::unordered_set<std::uint64_t>& sudogs) {
    walk_chain(first, max_queue, [&](Address at) -> std::optional<Address> {
        auto next = StructView(memory, at).get(layout.sudog.next);
        if (!next) return std::nullopt;
        sudogs.insert(at.value);
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
        StructView view(memory, at);
        collect(memory, runtime.layout(), view.get(runtime.layout().hchan.recvq_first).value_or(Address{}),
                entry.receivers);
        collect(memory, runtime.layout(), view.get(runtime.layout().hchan.sendq_first).value_or(Address{}),
                entry.senders);
    }
    return entry;
}

Address Waits::Queues::on_notify_list(Address list, Address g) {
    std::lock_guard lock(mutex);
    auto [slot, fresh] = notify_lists.try_emplace(list.value);
    if (fresh) {
        const auto& layout = runtime.layout();
        auto head = StructView(memory, list).get(layout.notifyList.head);
        walk_chain(head.value_or(Address{}), max_queue, [&](Address at) -> std::optional<Address> {
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
    summary.timer = !view.get(layout.hchan.timer).value_or(Address{}).is_null();
    summary.receivers = queue_length(memory, layout, view.get(layout.hchan.recvq_first).value_or(Address{}));
    summary.senders = queue_length(memory, layout, view.get(layout.hchan.sendq_first).value_or(Address{}));
    if (auto type = view.get(layout.hchan.elemtype)) summary.element = runtime.type_name(*type).value_or("");
    return summary;
}

std::string ChannelSummary::text() const {
    std::string words = "chan";
    if (!element.empty()) words += ' ' + element;
    words += fmt::format(", {} of {} queued", queued, capacity);
    if (closed) words += ", closed";
    if (timer) words += ", of a timer";
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
