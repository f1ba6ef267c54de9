// Goroutines: one line each, grouped by equal stacks, a short summary, or one in full.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <map>

#include "base/text.h"
#include "report/terminal/views.h"
#include "report/weakens.h"

namespace incident::report::terminal {

namespace {

/// "sync.Mutex.Lock" for a waiting goroutine, the status for any other.
std::string_view state_of(const Goroutine& g) { return g.wait_reason.empty() ? g.status : g.wait_reason; }

/// Function and source as two cells.
std::pair<Line, Line> place_of(const Context& context, const Goroutine& g) {
    // One of the runtime's own goroutines: every one of them stands in gopark, what it is for says the function it
    // began with.
    const auto* frame = telling_frame(g.frames.stored());
    if (frame != nullptr && !(frame->function.starts_with("runtime.") && !g.start.empty()))
        return {brief_function_of(context, *frame), source_of(context, frame->file, frame->line)};
    Line out = context.canvas.line();
    if (!g.start.empty()) out.add(Ink::function, context.options().all ? g.start : without_directories(g.start));
    return {std::move(out), context.canvas.line()};
}

Line counts_by_status(const Context& context, std::span<const Goroutine> goroutines) {
    std::map<std::string_view, std::size_t> counts;
    std::size_t system = 0;
    // Of main that is not there nothing is said when others could not be read either.
    bool main =
        std::ranges::find(context.report.gaps, weakens_all_goroutines, &Gap::weakens) != context.report.gaps.end();
    for (const auto& g : goroutines) {
        ++counts[g.status];
        system += g.system ? 1 : 0;
        main |= g.id == 1 && g.status != "dead";
    }
    // The runtime's own are there in every process that has come as far as main. Of a Go library in a C program it has
    // ended too: it runs inits only.
    auto add_main = [&](Line& line) {
        if (!main && system != 0) line.dot().add("goroutine 1, main's, has ended");
    };
    std::vector<std::pair<std::string_view, std::size_t>> order(counts.begin(), counts.end());
    std::ranges::stable_sort(order, std::greater(), [](const auto& c) { return c.second; });
    Line out = context.canvas.line();
    if (order.size() == 1) {
        out.add(fmt::format("all {}", order.front().first.empty() ? "of unknown status" : order.front().first));
        add_main(out);
        out.add(Ink::quiet, system != 0 ? fmt::format("  ({} of them the runtime's own)", grouped(system)) : "");
        return out;
    }
    for (const auto& [status, count] : order)
        out.dot().add(fmt::format("{} {}", grouped(count), status.empty() ? "of unknown status" : status));
    add_main(out);
    if (system != 0) out.add(Ink::quiet, fmt::format("  ({} of them the runtime's own)", grouped(system)));
    return out;
}

struct Group {
    const Goroutine* first = nullptr;
    std::vector<std::int64_t> ids;
    std::uint64_t longest_wait = 0;
};

/// Groups in order of size, largest first. `key` decides what is equal.
template <class Key>
std::vector<Group> group_by(std::span<const Goroutine> goroutines, Key key) {
    std::unordered_map<std::string, std::size_t> index;
    std::vector<Group> groups;
    for (const auto& g : goroutines) {
        auto [at, fresh] = index.try_emplace(key(g), groups.size());
        if (fresh) groups.push_back({&g, {}, 0});
        auto& group = groups[at->second];
        group.ids.push_back(g.id);
        if (g.waited) group.longest_wait = std::max(group.longest_wait, g.waited->at_least_ns);
    }
    std::ranges::stable_sort(groups, std::greater(), [](const Group& g) { return g.ids.size(); });
    return groups;
}

void append_bytes(std::string& out, std::string_view text) { out.append(text).push_back('\0'); }

std::string stack_key(const Goroutine& g) {
    std::string key;
    append_bytes(key, g.status);
    append_bytes(key, g.wait_reason);
    append_bytes(key, g.created_by);
    for (const auto& f : g.frames.stored()) {
        std::array<char, sizeof(std::uint64_t)> pc;
        std::copy_n(reinterpret_cast<const char*>(&f.pc.value), pc.size(), pc.begin());
        key.append(pc.data(), pc.size());
        if (f.inlined) append_bytes(key, f.function);
    }
    return key;
}

/// The frame is looked for once in stacks that are kept once: thousands wait in the same place.
struct PlaceKey {
    std::unordered_map<const Frame*, const Frame*> telling;  // by the first frame
    std::string operator()(const Goroutine& g);
};

std::string PlaceKey::operator()(const Goroutine& g) {
    std::string key;
    append_bytes(key, state_of(g));
    const std::span<const Frame> frames = g.frames.stored();
    const Frame* frame = nullptr;
    if (!frames.empty()) {
        auto [at, fresh] = telling.try_emplace(frames.data());
        if (fresh) at->second = telling_frame(frames);
        frame = at->second;
    }
    append_bytes(key, frame != nullptr ? frame->function : g.start);
    append_bytes(key, frame != nullptr ? frame->file : std::string_view());
    return key + fmt::format("{}", frame != nullptr ? frame->line : 0);
}

Line waited_line(const Context& context, std::uint64_t nanoseconds) {
    Line out = context.canvas.line();
    if (nanoseconds != 0) out.add(fmt::format("≥ {}", human_duration(nanoseconds)));
    return out;
}

}  // namespace

/// A program of C has no answer to a question about Go, and an empty page would not say so.
void print_no_go(Context& context) {
    if (context.report.runtime.go) return;
    context.canvas.blank();
    context.canvas.wrap(context.canvas.line("no Go runtime was found in this process"), 2);
}

void print_goroutine_list(Context& context) {
    auto& canvas = context.canvas;
    if (!context.report.goroutines) return print_no_go(context);
    const auto& goroutines = *context.report.goroutines;
    canvas.blank();
    Line head = canvas.line(Ink::strong, count_of(goroutines.size(), "goroutine")).add("  ");
    canvas.wrap(head.add(counts_by_status(context, goroutines)), 2);
    canvas.blank();
    if (context.options().stacks) {
        for (const auto& g : goroutines) {
            if (!canvas.alive()) return;
            canvas.wrap(title_of(context, g), 2);
            for (const auto& b : g.blocked_on)
                canvas.wrap(canvas.line(Ink::label, "  on ").add(b.what).space().add(b.address), 5);
            const auto frames = g.frames.load();
            print_stack(context, {frames, {}, g.stack_end});
            canvas.blank();
        }
        return;
    }
    unsigned widest = std::max(24u, canvas.width() * 2 / 5);
    Table table(canvas, 0, {12, 24, 0, widest, 28, 0, 0});
    table.right(0).one_line();
    table.row({canvas.line(Ink::quiet, "id"), canvas.line(Ink::quiet, "state"), canvas.line(Ink::quiet, "since"),
               canvas.line(Ink::quiet, "in"), canvas.line(), canvas.line(Ink::quiet, "on"), canvas.line()});
    std::size_t rows = 0;
    for (const auto& g : goroutines) {
        if (!canvas.alive()) return;
        // A waiting goroutine's state is what it waits for; the address comes before the words, since those may be cut.
        auto [in, source] = place_of(context, g);
        Line on = canvas.line(), what = canvas.line();
        if (!g.blocked_on.empty()) {
            on.add(g.blocked_on.front().address);
            what.add(g.blocked_on.front().what);
            if (g.blocked_on.size() > 1)
                what.add(Ink::quiet, fmt::format(" and {} more cases", g.blocked_on.size() - 1));
        } else if (g.thread) {
            on.add(Ink::quiet, fmt::format("thread {}", *g.thread));
        }
        bool waits = g.status == "waiting" && !g.wait_reason.empty();
        table.row({canvas.line(Ink::strong, fmt::format("{}", g.id)), canvas.line(waits ? g.wait_reason : g.status),
                   waited_line(context, g.waited ? g.waited->at_least_ns : 0), std::move(in), std::move(source),
                   std::move(on), std::move(what)});
        if (++rows % 4096 == 0) table.flush();
    }
    table.flush();
}

void print_goroutine_groups(Context& context) {
    auto& canvas = context.canvas;
    if (!context.report.goroutines) return print_no_go(context);
    const auto& goroutines = *context.report.goroutines;
    auto groups = group_by(goroutines, stack_key);
    canvas.blank();
    Line head = canvas.line(Ink::strong, count_of(goroutines.size(), "goroutine"));
    canvas.wrap(
        head.add(fmt::format(" in {}  ", count_of(groups.size(), "group"))).add(counts_by_status(context, goroutines)),
        2);
    for (const auto& group : groups) {
        if (!canvas.alive()) return;
        canvas.blank();
        Line title = canvas.line(Ink::strong, fmt::format("{} ×", grouped(group.ids.size())))
                         .space(2)
                         .add(status_of(context, *group.first));
        if (group.longest_wait != 0) title.dot().add(fmt::format("at least {}", human_duration(group.longest_wait)));
        if (!group.first->created_by.empty())
            title.dot().add("created by ").add(Ink::function, group.first->created_by);
        canvas.wrap(title.dot().add(list_of(context, "goroutine", "goroutines", group.ids, 8)), 4);
        const auto frames = group.first->frames.load();
        print_stack(context, {frames, {}, group.first->stack_end});
    }
}

void print_goroutine_summary(Context& context) {
    auto& canvas = context.canvas;
    if (!context.report.goroutines || context.report.goroutines->empty()) return;
    const auto& goroutines = *context.report.goroutines;
    canvas.blank();
    canvas.wrap(canvas.line(Ink::strong, count_of(goroutines.size(), "goroutine"))
                    .add("  ")
                    .add(counts_by_status(context, goroutines)),
                2);
    auto groups = group_by(goroutines, PlaceKey());
    std::erase_if(groups, [&](const Group& g) { return g.first->system && !context.options().all; });
    constexpr std::size_t most = 10;
    std::size_t shown = context.options().all ? groups.size() : std::min(groups.size(), most);
    Table table(canvas, 2, {0, 26, 0, std::max(40u, canvas.width() * 2 / 5), 32});
    table.right(0).fit();
    for (std::size_t i = 0; i < shown; ++i) {
        const auto& group = groups[i];
        auto [function, source] = place_of(context, *group.first);
        const std::string who = group.ids.size() == 1 ? fmt::format("goroutine {}", group.ids[0])
                                                      : fmt::format("{} goroutines", grouped(group.ids.size()));
        table.row({canvas.line(Ink::strong, who), canvas.line(state_of(*group.first)),
                   waited_line(context, group.longest_wait), std::move(function), std::move(source)});
    }
    table.flush();
    if (shown < groups.size())
        canvas.print(canvas.line().space(2).add(
            Ink::quiet,
            fmt::format("… {} (--all, or the command goroutines)", count_of(groups.size() - shown, "more place"))));
}

void print_panics_and_defers(Context& context, const Goroutine& goroutine, bool title) {
    // An endless recursion through fmt has half a million defers.
    constexpr std::size_t most = 10;
    auto& canvas = context.canvas;
    auto cut = [&](std::size_t left) {
        canvas.row("", canvas.line(Ink::quiet, fmt::format("… {} (--all)", count_of(left, "older one"))));
    };
    std::string who = title ? fmt::format("goroutine {}: ", goroutine.id) : std::string();
    bool first = true;
    std::size_t shown = 0, left = 0;
    for (const auto& panic : goroutine.panics) {
        if (shown++ >= most && !context.options().all) {
            ++left;
            continue;
        }
        if (first) canvas.blank();
        Line line = canvas.line(who);
        if (panic.goexit)
            line.add("runtime.Goexit");
        else
            line.add(Ink::strong, panic.value.empty() ? "value unknown" : panic.value);
        if (!panic.type.empty()) line.add(Ink::quiet, fmt::format(" ({})", panic.type));
        if (panic.recovered) line.space(2).add(Ink::good, "recovered");
        canvas.row(first ? "panics" : "", line);
        first = false;
    }
    if (left != 0) cut(left);
    first = true;
    shown = left = 0;
    for (const auto& defer : goroutine.defers) {
        if (defer.function.starts_with("runtime.") && !context.options().all) continue;
        if (shown++ >= most && !context.options().all) {
            ++left;
            continue;
        }
        if (first && goroutine.panics.empty()) canvas.blank();
        Line line = canvas.line(Ink::function, defer.function.empty() ? "unknown function" : defer.function);
        line.add(Ink::quiet, fmt::format(" ({}, pending", defer.kind));
        if (defer.frame) line.add(Ink::quiet, fmt::format(" in #{}", *defer.frame));
        line.add(Ink::quiet, ")");
        if (defer.closure) line.space().add(*defer.closure);
        canvas.row(first ? "defers" : "", line);
        first = false;
    }
    if (left != 0) cut(left);
}

void print_goroutine(Context& context, const Goroutine& goroutine) {
    auto& canvas = context.canvas;
    canvas.blank();
    canvas.wrap(title_of(context, goroutine), 2);
    auto detail = [&](std::string_view label, const Line& text) { canvas.row(fmt::format("  {}", label), text, 12); };
    for (const auto& b : goroutine.blocked_on) detail("on", canvas.line(b.what).space().add(b.address));
    if (goroutine.waited && !goroutine.waited->basis.empty())
        detail(
            "waited",
            canvas.line(human_duration(goroutine.waited->at_least_ns)).add(" at least: ").add(goroutine.waited->basis));
    if (!goroutine.start.empty()) detail("started in", canvas.line(Ink::function, goroutine.start));
    if (!goroutine.labels.empty()) {
        Line labels = canvas.line();
        for (const auto& [name, value] : goroutine.labels) labels.dot().add(name).add("=").add(value);
        detail("labels", labels);
    }
    if (!goroutine.frames_computed) detail("frames", canvas.line(Ink::warning, "not known"));
    const auto frames = goroutine.frames.load();
    print_stack(context, {frames, goroutine.snapshots, goroutine.stack_end});
    print_panics_and_defers(context, goroutine, false);
}

}  // namespace incident::report::terminal
