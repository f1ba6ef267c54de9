// Locks: those for whom most wait first, those that are alike as one with a count.
#include <fmt/format.h>

#include <algorithm>
#include <unordered_map>

#include "base/text.h"
#include "report/terminal/views.h"

namespace incident::report::terminal {

namespace {

std::uint64_t waited(const Context& context, const Actor& who) {
    const auto* g = who.goroutine ? context.goroutine(*who.goroutine) : nullptr;
    return g != nullptr && g->waited ? g->waited->at_least_ns : 0;
}

Line lock_name(const Context& context, const Lock& lock) {
    Line out = context.canvas.line();
    if (!lock.where.empty()) out.add(Ink::strong, lock.where).space(2);
    if (!lock.type.empty()) out.add(Ink::type, lock.type).space(2);
    return out.add(lock.address);
}

}  // namespace

void print_lock_rows(Context& context, const Lock& lock) {
    auto& canvas = context.canvas;
    Line state = canvas.line(Ink::address, hex(lock.state.raw));
    if (!lock.state.words.empty()) state.add(": ").add(lock.state.words);
    canvas.row("state", state);

    constexpr std::size_t most = 8;
    std::size_t shown = context.options().all ? lock.waiters.size() : std::min(lock.waiters.size(), most);
    Table table(canvas, 0, {10, 0, 8, 52, 32, 0});
    for (std::size_t i = 0; i < shown; ++i) {
        const auto& w = lock.waiters[i];
        const auto* frame = telling_frame(context, w.who);
        Line since = canvas.line();
        if (auto ns = waited(context, w.who); ns != 0) since.add(fmt::format("at least {}", human_duration(ns)));
        Line mode = w.mode == "lock" || w.mode == "wait" ? canvas.line() : canvas.line(w.mode);
        Line label = i == 0 ? canvas.line(Ink::label, "waiting").to_column(8) : canvas.line().space(8);
        table.row({std::move(label), actor(context, w.who), std::move(mode),
                   frame == nullptr ? canvas.line() : function_of(context, *frame),
                   frame == nullptr ? canvas.line() : source_of(context, frame->file, frame->line), std::move(since)});
    }
    table.flush();
    if (shown < lock.waiters.size())
        canvas.row("", canvas.line(Ink::quiet, fmt::format("… {} more (--all)", grouped(lock.waiters.size() - shown))));
    // Readers that stand in one place hold it in the same way.
    std::vector<std::pair<const LockHolder*, std::size_t>> holders;
    for (const auto& h : lock.holders) {
        const auto* frame = telling_frame(context, h.who);
        auto alike = [&](auto& row) {
            const auto* other = telling_frame(context, row.first->who);
            return frame != nullptr && other != nullptr && frame->function == other->function &&
                   frame->line == other->line && row.first->basis == h.basis;
        };
        auto at = context.options().all ? holders.end() : std::ranges::find_if(holders, alike);
        if (at != holders.end())
            ++at->second;
        else
            holders.emplace_back(&h, 1);
    }
    for (std::size_t i = 0; i < holders.size(); ++i) {
        const auto& [h, equal] = holders[i];
        if (i >= most && !context.options().all) {
            canvas.row("", canvas.line(Ink::quiet, fmt::format("… {} more (--all)", grouped(holders.size() - i))));
            break;
        }
        Line line = actor(context, h->who);
        if (equal > 1) line.add(Ink::quiet, fmt::format(", and {} more like it", grouped(equal - 1)));
        line.space(2).add(place_of(context, h->who));
        line.space(2).add(Ink::quiet, fmt::format("{}: ", to_string(h->strength))).add(h->basis);
        canvas.row(i == 0 ? "held by" : "", line);
    }
}

namespace {

/// What makes two locks tell the same story: 10^5 locks of one loop are one row with a count. A lock with a name of its
/// own stays alone, since `where` differs.
std::string story_of(const Context& context, const Lock& lock) {
    std::string key = fmt::format("{}\n{}\n{}\n{}", lock.type, lock.where, lock.state.words, lock.waiters.size());
    if (!lock.waiters.empty()) {
        key += '\n' + lock.waiters.front().mode;
        if (const auto* frame = telling_frame(context, lock.waiters.front().who))
            key += fmt::format("\n{}:{}", frame->function, frame->line);
    }
    for (const auto& h : lock.holders)
        key += fmt::format("\n{} {} {}", h.who.goroutine.value_or(-1), h.who.thread.value_or(-1), h.basis);
    return key;
}

/// A lock of the list, where no finding says what is wrong about it.
void print_listed(Context& context, const Lock& lock) {
    print_lock_rows(context, lock);
    if (lock.state.locked.value_or(false) && lock.holders.empty())
        context.canvas.row("held by", context.canvas.line(Ink::quiet, "nobody that was found"));
}

void print_folded(Context& context, const std::vector<const Lock*>& group) {
    auto& canvas = context.canvas;
    const Lock& first = *group.front();
    canvas.blank();
    Line name = canvas.line(Ink::strong, fmt::format("{} locks alike", grouped(group.size()))).space(2);
    if (!first.where.empty()) name.add(first.where).space(2);
    name.add(Ink::type, first.type).space(2);
    for (std::size_t i = 0; i < 3 && i < group.size(); ++i) name.add(i == 0 ? "" : ", ").add(group[i]->address);
    canvas.row("locks", name.add(Ink::quiet, " … (--all)"));
    if (!first.waiters.empty())
        canvas.row("each", canvas.line(fmt::format("as the first of them, below; {} wait in all",
                                                   grouped(group.size() * first.waiters.size()))));
    print_listed(context, first);
}

}  // namespace

void print_locks(Context& context) {
    auto& canvas = context.canvas;
    if (!context.report.locks) return;
    const auto& locks = *context.report.locks;
    canvas.blank();
    std::size_t waiting = 0;
    for (const auto& lock : locks) waiting += lock.waiters.size();
    const bool cycles = context.report.wait_graph && !context.report.wait_graph->cycles.empty();
    std::string note =
        waiting == 0 ? "nobody waits" : fmt::format("{} {}", grouped(waiting), waiting == 1 ? "waiter" : "waiters");
    if (waiting != 0) note += cycles ? ", some in a cycle" : ", no cycle";
    canvas.heading(locks.empty() ? "no lock is waited for, or known to be held"
                                 : fmt::format("{} {}", grouped(locks.size()), locks.size() == 1 ? "lock" : "locks"),
                   locks.empty() ? "" : note);
    print_wait_graph(context);

    constexpr std::size_t most = 50, apart = 3;
    std::vector<std::vector<const Lock*>> groups;
    std::unordered_map<std::string, std::size_t> by_story;
    for (const auto& lock : locks) {
        auto [at, fresh] = by_story.try_emplace(story_of(context, lock), groups.size());
        if (fresh) groups.emplace_back();
        groups[at->second].push_back(&lock);
    }
    if (context.options().all || std::ranges::all_of(groups, [&](auto& g) { return g.size() <= apart; })) {
        groups.clear();
        for (const auto& lock : locks) groups.push_back({&lock});
    }
    // Those that most wait for come first.
    std::ranges::stable_sort(groups, std::greater{}, [](auto& g) { return g.size() * g.front()->waiters.size(); });
    std::size_t blocks = 0, left = 0;
    for (const auto& group : groups) {
        if (!canvas.alive()) return;
        if (blocks >= most && !context.options().all) {
            left += group.size();
        } else if (group.size() > apart) {
            print_folded(context, group);
            ++blocks;
        } else {
            for (const Lock* lock : group) {
                canvas.blank();
                canvas.row("lock", lock_name(context, *lock));
                print_listed(context, *lock);
                ++blocks;
            }
        }
    }
    if (left != 0) {
        canvas.blank();
        canvas.print(
            canvas.line(Ink::quiet, fmt::format("… {} more, with fewer waiters (--all)", count_of(left, "lock"))));
    }
    for (const auto& lock : locks)
        for (const auto& w : lock.waiters)
            if (w.waited) {  // one clock, one basis for all
                canvas.blank();
                canvas.row("at least", canvas.line(Ink::quiet, w.waited->basis));
                return;
            }
}

}  // namespace incident::report::terminal
