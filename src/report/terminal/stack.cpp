// Stacks and annotated frames: the part that engineers draw by hand today. A stack is one column of frames, innermost
// first; a frame that we have a snapshot of opens into a block behind a gutter, in the order of a person's drawing:
// where, how it was found, registers, slots from high to low addresses, the instructions around the pc.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <map>

#include "base/text.h"
#include "report/terminal/views.h"

namespace incident::report::terminal {

namespace {

bool same_place(const Frame& a, const Frame& b) { return a.function == b.function && a.line == b.line && a.pc == b.pc; }

/// What is worth a word about how a frame was found: the weak ways always, the strong ones never.
Line doubt_of(const Context& context, const Frame& frame) {
    Line out = context.canvas.line();
    if (frame.inlined) out.add(Ink::quiet, "inlined");
    if (frame.kind == FrameKind::signal) out.dot().add(Ink::strong, "signal frame");
    if (frame.trust == Trust::scan) out.dot().add(Ink::warning, "found by scan");
    return out;
}

/// The word that most slots give as their source, so that only the others need to say theirs.
std::string_view usual_source(std::span<const Slot> slots) {
    std::map<std::string_view, std::size_t> counts;
    for (const auto& slot : slots)
        if (slot.by != "frame layout") ++counts[slot.by];
    auto most = std::ranges::max_element(counts, {}, [](const auto& c) { return c.second; });
    return most == counts.end() ? std::string_view() : most->first;
}

/// `here`: the pc is where it happened, not where a call will return to.
void print_code(Context& context, std::span<const CodeLine> code, bool here, const Line& gutter) {
    if (code.empty()) return;
    auto& canvas = context.canvas;
    Table table(canvas, gutter.width(), {2, 0, 10, 44, 0});
    for (const auto& line : code) {
        auto space = line.text.find(' ');
        auto mnemonic = std::string_view(line.text).substr(0, space);
        auto operands = space == std::string::npos ? std::string_view() : std::string_view(line.text).substr(space + 1);
        auto ink = line.current && here ? Ink::strong : Ink::plain;
        Line marker = canvas.line(here ? Ink::error : Ink::quiet, line.current ? "▶" : "");
        table.row({marker, canvas.line().add(line.pc), canvas.line(ink, mnemonic), canvas.line(ink, operands),
                   canvas.line(line.current && here ? Ink::strong : Ink::quiet, line.comment)});
    }
    table.flush(&gutter);
}

void print_snapshot(Context& context, const FrameSnapshot& snapshot, std::size_t index, unsigned indent, bool joined) {
    auto& canvas = context.canvas;
    const auto& frame = snapshot.frame;
    Line gutter = canvas.line().space(indent).add(Ink::quiet, "│").space();
    Line head =
        canvas.line().space(indent).add(Ink::quiet, joined ? "├ " : "┌ ").add(Ink::strong, fmt::format("#{} ", index));
    head.add(place_of(context, frame));
    std::string by =
        fmt::format("by {}", frame.trust == Trust::frame_pointer ? "frame pointer" : to_string(frame.trust));
    auto usual = usual_source(snapshot.slots);
    if (!usual.empty() && usual != to_string(frame.trust)) by += fmt::format(", slots by {}", usual);
    if (frame.inlined) by += ", inlined";
    Line tail = canvas.line(frame.trust == Trust::scan ? Ink::warning : Ink::quiet, by);
    if (head.width() + tail.width() + 4 <= canvas.width()) {
        canvas.print(head.space().fill_to(canvas.width() - tail.width() - 1, Ink::quiet, "─").space().add(tail));
    } else {
        canvas.wrap(head.space(2).add(tail), indent + 4, &gutter);
    }
    Line registers = gutter;
    auto add = [&](std::string_view name, const std::optional<Address>& value) {
        if (value) registers.add(Ink::quiet, name).space().add(*value).space(2);
    };
    add("pc", frame.pc);
    add("sp", frame.sp);
    add("bp", frame.bp);
    add("cfa", frame.cfa);
    canvas.wrap(registers, gutter.width(), &gutter);
    print_slots(context, snapshot.slots, gutter);
    for (const auto& note : snapshot.notes)
        canvas.wrap(canvas.line().add(gutter).add(Ink::quiet, note), gutter.width() + 2, &gutter);
    print_code(context, snapshot.code, !frame.after_call, gutter);
}

void print_frame_line(Context& context, const Frame& frame, std::size_t index, unsigned indent) {
    auto& canvas = context.canvas;
    Line line = canvas.line().space(indent).add(Ink::quiet, fmt::format("  #{:<2} ", index));
    line.add(place_of(context, frame));
    auto doubt = doubt_of(context, frame);
    if (!doubt.empty()) line.space(2).add(doubt);
    if (context.options().all) {
        line.space(2).add(Ink::quiet, "pc ").add(frame.pc);
        if (frame.sp) line.add(Ink::quiet, " sp ").add(*frame.sp);
    }
    canvas.wrap(line, indent + 8);
}

/// A stretch of frames that prints as one line: shown, hidden (the runtime's), repeated (recursion), left out (too
/// many), or missing (Frame::left_out).
struct Item {
    enum class Kind : std::uint8_t { frame, hidden, repeated, left_out, missing } kind;
    std::size_t first = 0, count = 1;
    std::size_t missing = 0;  ///< of `count`: nobody has them
};

/// Which snapshot shows which frame. A snapshot's index may count frames that this view leaves out (those above a
/// signal), so the frame itself decides.
using Shown = std::map<std::size_t, const FrameSnapshot*>;

Shown match(const StackView& view) {
    Shown shown;
    auto same = [](const Frame& a, const Frame& b) {
        return a.pc == b.pc && a.function == b.function && a.inlined == b.inlined && (!a.sp || !b.sp || a.sp == b.sp);
    };
    for (const auto& snapshot : view.snapshots) {
        std::size_t i = snapshot.index;
        if (i >= view.frames.size() || !same(view.frames[i], snapshot.frame)) {
            auto found = std::ranges::find_if(view.frames, [&](const Frame& f) { return same(f, snapshot.frame); });
            i = static_cast<std::size_t>(found - view.frames.begin());
        }
        if (i < view.frames.size()) shown.emplace(i, &snapshot);
    }
    return shown;
}

/// How a walk ends when nothing is wrong.
bool is_usual_end(std::string_view end) {
    constexpr std::array usual{"", "goexit", "start of the thread", "scheduler"};
    return std::ranges::find(usual, end) != usual.end() || end.starts_with("top of the system stack") ||
           end.ends_with("outermost frame");
}

std::vector<Item> plan(const Context& context, const StackView& view, const Shown& shown) {
    constexpr std::size_t most = 40, tail = 10;
    auto has_snapshot = [&](std::size_t i) { return shown.contains(i); };
    bool all = context.options().all || view.every_frame;
    std::vector<Item> items;
    for (std::size_t i = 0; i < view.frames.size(); ++i) {
        const auto& frame = view.frames[i];
        if (frame.left_out != 0) items.push_back({Item::Kind::missing, i, frame.left_out, frame.left_out});
        if (!all && frame.runtime_internal && !has_snapshot(i)) {
            if (!items.empty() && items.back().kind == Item::Kind::hidden)
                ++items.back().count;
            else
                items.push_back({Item::Kind::hidden, i});
        } else if (!context.options().all && i >= 2 && same_place(frame, view.frames[i - 1]) &&
                   same_place(frame, view.frames[i - 2]) && !has_snapshot(i)) {
            if (items.back().kind == Item::Kind::repeated)
                ++items.back().count;
            else
                items.push_back({Item::Kind::repeated, i});
        } else {
            items.push_back({Item::Kind::frame, i});
        }
    }
    if (context.options().all || items.size() <= most) return items;
    std::size_t from = most - tail, to = items.size() - tail;
    Item left_out{Item::Kind::left_out, items[from].first, items[to].first - items[from].first};
    for (const Item& item : std::span(items).subspan(from, to - from)) left_out.missing += item.missing;
    left_out.count += left_out.missing;
    items.erase(items.begin() + static_cast<std::ptrdiff_t>(from), items.begin() + static_cast<std::ptrdiff_t>(to));
    items.insert(items.begin() + static_cast<std::ptrdiff_t>(from), left_out);
    return items;
}

}  // namespace

void print_slots(Context& context, std::span<const Slot> slots, const Line& gutter) {
    auto& canvas = context.canvas;
    auto usual = usual_source(slots);
    Table table(canvas, gutter.width(), {14, 26, 32, 48, 0});
    for (const auto& slot : slots) {
        bool furniture =
            slot.by == "frame layout" || slot.name == "return" || slot.name == "saved bp";  // every frame has these
        Line meaning = canvas.line(slot.points_to);
        if (!furniture && !slot.by.empty() && slot.by != usual) {
            if (!meaning.empty()) meaning.space(2);
            meaning.add(slot.by == "scan" ? Ink::warning : Ink::quiet, "by " + slot.by);
        }
        Line value = slot.value.empty()
                         ? canvas.line(Ink::quiet, "unreadable")
                         : canvas.line(slot.value.starts_with("0x") ? Ink::address : Ink::plain, slot.value);
        table.row(
            {canvas.line(Ink::label, slot.place), canvas.line(furniture ? Ink::quiet : Ink::strong, slot.name),
             canvas.line(furniture ? Ink::quiet : Ink::type, slot.type == "word" ? std::string_view() : slot.type),
             std::move(value), std::move(meaning)});
    }
    table.flush(&gutter);
}

void print_stack(Context& context, const StackView& view, unsigned indent) {
    auto& canvas = context.canvas;
    auto quiet = [&](const std::string& text) { canvas.print(canvas.line().space(indent + 2).add(Ink::quiet, text)); };
    const auto shown = match(view);
    for (const auto& snapshot : view.snapshots) {
        auto is_this = [&](const auto& s) { return s.second == &snapshot; };
        if (std::ranges::none_of(shown, is_this)) print_snapshot(context, snapshot, snapshot.index, indent, false);
    }
    // The runtime's frames at both ends of a goroutine are always the same story: one word at the end is enough.
    auto items = plan(context, view, shown);
    std::size_t above = 0, below = 0;
    if (items.size() > 1 && items.front().kind == Item::Kind::hidden)
        above = items.front().count, items.erase(items.begin());
    if (items.size() > 1 && items.back().kind == Item::Kind::hidden) below = items.back().count, items.pop_back();
    // What is missing counts: the number is the frame's place in the stack.
    const auto gap = std::ranges::find_if(view.frames, [](const Frame& frame) { return frame.left_out != 0; });
    const auto number = [&](std::size_t i) {
        return i + (gap != view.frames.end() && i >= static_cast<std::size_t>(gap - view.frames.begin()) ? gap->left_out
                                                                                                         : 0);
    };
    bool joined = false;  // to the block of the frame above
    for (const auto& item : items) {
        if (!canvas.alive()) return;
        joined = joined && item.kind == Item::Kind::frame;
        switch (item.kind) {
            case Item::Kind::hidden:
                quiet(fmt::format("… {} (--all)", count_of(item.count, "runtime frame")));
                continue;
            case Item::Kind::repeated: quiet(fmt::format("… {} more of the same", grouped(item.count))); continue;
            case Item::Kind::left_out:
                quiet(fmt::format("… {} frame{} (--all{})", grouped(item.count), item.count == 1 ? "" : "s",
                                  item.missing == 0
                                      ? std::string()
                                      : fmt::format(" shows {} of them", grouped(item.count - item.missing))));
                continue;
            case Item::Kind::missing:
                quiet(fmt::format("… {} frames that were not kept: the stack is too deep", grouped(item.count)));
                continue;
            case Item::Kind::frame: break;
        }
        auto snapshot = shown.find(item.first);
        if (snapshot != shown.end())
            print_snapshot(context, *snapshot->second, number(item.first), indent, joined);
        else
            print_frame_line(context, view.frames[item.first], number(item.first), indent);
        joined = snapshot != shown.end();
    }
    if (above != 0 && below != 0)
        quiet(fmt::format("… {} above, {} below (--all)", count_of(above, "runtime frame"), below));
    else if (above + below != 0)
        quiet(fmt::format("… {} {} (--all)", count_of(above + below, "runtime frame"), above != 0 ? "above" : "below"));
    if (!is_usual_end(view.end)) {
        canvas.wrap(canvas.line().space(indent + 2).add(Ink::warning, "the walk ended here: ").add(view.end),
                    indent + 4);
    }
}

void print_snapshots(Context& context, std::span<const FrameSnapshot> snapshots) {
    auto& canvas = context.canvas;
    for (std::size_t i = 0; i < snapshots.size();) {
        std::size_t end = i + 1;
        auto same = [&](const FrameSnapshot& s) {
            return s.goroutine == snapshots[i].goroutine && s.thread == snapshots[i].thread;
        };
        while (end < snapshots.size() && same(snapshots[end])) ++end;
        StackView view{{}, snapshots.subspan(i, end - i), {}};
        std::vector<Frame> frames;
        canvas.blank();
        const auto* goroutine = snapshots[i].goroutine ? context.goroutine(*snapshots[i].goroutine) : nullptr;
        const auto* thread =
            goroutine == nullptr && snapshots[i].thread ? context.thread(*snapshots[i].thread) : nullptr;
        if (goroutine != nullptr) {
            canvas.wrap(title_of(context, *goroutine), 2);
            view.frames = frames = goroutine->frames.load();
        } else if (thread != nullptr) {
            canvas.wrap(title_of(context, *thread), 2);
            view.frames = thread->frames;
        } else if (snapshots[i].goroutine || snapshots[i].thread) {
            canvas.print(
                canvas.line(Ink::strong, "").add(actor(context, {snapshots[i].goroutine, snapshots[i].thread})));
        }
        print_stack(context, view);
        i = end;
    }
}

}  // namespace incident::report::terminal
