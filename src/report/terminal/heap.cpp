// The Go heap: by type, by what keeps it alive, the way to one object, and one object's fields.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <span>
#include <string>

#include "base/text.h"
#include "report/terminal/views.h"

namespace incident::report::terminal {

using namespace std::string_view_literals;

namespace {

constexpr std::size_t most_rows = 25;
constexpr std::size_t most_in_summary = 3;
constexpr std::uint64_t large_heap = 8 << 20, large_share = 20;  // bytes; a twentieth of it: worth a line in a summary
constexpr unsigned bar_width = 10;                               // columns

/// Eighths of a column, so that small shares differ too; full columns only, in ASCII.
std::string bar(double share, bool unicode) {
    const double eighths = std::clamp(share, 0.0, 1.0) * bar_width * 8;
    static constexpr std::string_view parts[] = {"", "▏", "▎", "▍", "▌", "▋", "▊", "▉"};
    const auto whole = static_cast<unsigned>(eighths / 8);
    std::string out;
    for (unsigned i = 0; i < whole; ++i) out += unicode ? "█" : "#";
    if (unicode) out += parts[static_cast<unsigned>(eighths) % 8];
    return out;
}

std::string percent(std::uint64_t part, std::uint64_t whole) {
    if (whole == 0) return "";
    const double share = 100.0 * static_cast<double>(part) / static_cast<double>(whole);
    return share > 0 && share < 0.05 ? "<0.1 %" : fmt::format("{:.1f} %", share);
}

std::uint64_t total(const Heap& heap, const char* name) {
    auto found = heap.totals.find(name);
    return found == heap.totals.end() ? 0 : found->second;
}

Line type_cell(Canvas& canvas, const std::string& name) {
    if (name.empty()) return canvas.line(Ink::quiet, "type unknown");
    if (!name.starts_with('?')) return canvas.line(Ink::type, name);
    const bool plain = name.starts_with("?noscan");
    return canvas.line(Ink::warning, name)
        .space(2)
        .add(Ink::quiet, plain ? "untyped, holds no pointers" : "untyped, may hold pointers");
}

/// Roots are missing.
bool is_unsure(const Heap& heap) { return heap.totals.contains("unreached_objects"); }

Line live_and_garbage(Canvas& canvas, const Heap& heap) {
    const std::uint64_t garbage = total(heap, "garbage_objects") + total(heap, "unreached_objects");
    Line line = canvas.line(Ink::strong, fmt::format("{} live", human_size(total(heap, "live_bytes"))));
    line.add(fmt::format(" in {} objects", grouped(total(heap, "live_objects"))));
    if (garbage != 0)
        line.dot().add(fmt::format(
            "{} {} in {} objects", human_size(total(heap, "garbage_bytes") + total(heap, "unreached_bytes")),
            is_unsure(heap) ? "not reached, as roots are missing," : "garbage", grouped(garbage)));
    return line;
}

void print_totals(Context& context, const Heap& heap) {
    auto& canvas = context.canvas;
    const std::uint64_t live = total(heap, "live_bytes");
    canvas.blank();
    canvas.row("heap", live_and_garbage(canvas, heap));
    if (const auto arena = total(heap, "arena_bytes"))
        canvas.row("", canvas.line(fmt::format("{} of arenas, {} in spans of objects, {} in stacks", human_size(arena),
                                               human_size(total(heap, "in_use_bytes")),
                                               human_size(total(heap, "stack_bytes")))));
    if (heap.totals.contains("typed_live_bytes") && live != 0) {
        const std::uint64_t typed = total(heap, "typed_live_bytes");
        // Never rounded up to all of it.
        const double share = std::floor(10000.0 * static_cast<double>(typed) / static_cast<double>(live)) / 100.0;
        Line line = canvas.line(fmt::format("{:.2f} % of live bytes have a type", share));
        if (const auto& go = context.report.runtime.go)
            line.add(Ink::quiet, go->debug_info == "dwarf"
                                     ? ", from debug information, the runtime's descriptors and the allocator"
                                     : ", from the runtime's descriptors and the allocator: no debug information");
        canvas.row("types", line);
    }
}

void print_types(Context& context, const Heap& heap) {
    auto& canvas = context.canvas;
    if (heap.types.empty()) return;
    canvas.blank();
    const std::uint64_t live = total(heap, "live_bytes");
    std::uint64_t largest = 1;
    for (const auto& type : heap.types) largest = std::max(largest, type.live);
    const std::size_t shown = context.options().all ? heap.types.size() : std::min(heap.types.size(), most_rows);
    Table table(canvas, 0, {0, 0, bar_width, 0, 0, 0});
    table.right(0).right(1).right(3).right(4);
    table.row({canvas.line(Ink::quiet, "live"), canvas.line(Ink::quiet, "share"), canvas.line(""),
               canvas.line(Ink::quiet, "objects"), canvas.line(Ink::quiet, is_unsure(heap) ? "not reached" : "garbage"),
               canvas.line(Ink::quiet, "type")});
    for (std::size_t i = 0; i < shown; ++i) {
        const auto& type = heap.types[i];
        const std::uint64_t dead = type.bytes - std::min(type.bytes, type.live);
        table.row({canvas.line(Ink::strong, human_size(type.live)), canvas.line(percent(type.live, live)),
                   canvas.line(Ink::quiet, bar(static_cast<double>(type.live) / static_cast<double>(largest),
                                               canvas.options().unicode)),
                   canvas.line(grouped(type.count)), canvas.line(dead == 0 ? "" : human_size(dead)),
                   type_cell(canvas, type.name)});
    }
    table.flush();
    if (shown < heap.types.size()) {
        std::uint64_t rest = 0;
        for (std::size_t i = shown; i < heap.types.size(); ++i) rest += heap.types[i].live;
        canvas.print(canvas.line(Ink::quiet, fmt::format("… {} more types, {} live (--all)",
                                                         grouped(heap.types.size() - shown), human_size(rest))));
    }
}

/// One row of "who keeps how much": an object that is all that the one above it keeps stands in that one's row, since
/// its numbers are the same but for what lies between.
struct Kept {
    std::vector<const HeapType*> chain;  ///< outermost first
    std::uint64_t own = 0;               ///< bytes of the objects in it
};

std::vector<Kept> fold_chains(const std::vector<HeapType>& retainers, bool types) {
    std::vector<Kept> rows;
    std::vector<bool> shown(retainers.size());
    for (std::size_t i = 0; i < retainers.size(); ++i) {
        if (shown[i] || retainers[i].name.starts_with("every ") != types) continue;
        Kept row;
        for (std::optional<std::size_t> at = i; at && *at < retainers.size() && !shown[*at]; at = retainers[*at].only) {
            shown[*at] = true;
            row.chain.push_back(&retainers[*at]);
            row.own += retainers[*at].live;
        }
        rows.push_back(std::move(row));
    }
    return rows;
}

/// "main.cache → map[string]int 0x1b00cd000010": who holds the next one stands before it, and where its word lies says
/// less than where the object does.
Line chain_cell(Canvas& canvas, const Kept& kept, bool types) {
    Line who = canvas.line();
    for (const HeapType* row : kept.chain) {
        const std::string_view name = row->name;
        const bool first = row == kept.chain.front();
        const auto held = name.find(", held by ");
        const auto end = first && kept.chain.size() > 1 ? std::min(held, name.rfind(" (variable 0x")) : held;
        who.add(Ink::quiet, first ? "" : " → ");
        who.add(types ? Ink::type : Ink::strong, name.substr(0, end));
        if (first && held != std::string::npos) who.add(Ink::quiet, name.substr(held));
    }
    return who;
}

void print_retainers(Context& context, const Heap& heap) {
    auto& canvas = context.canvas;
    canvas.blank();
    const std::uint64_t live = total(heap, "live_bytes");
    const auto print = [&](std::string_view title, std::string_view note, bool types) {
        const std::vector<Kept> rows = fold_chains(*heap.retainers, types);
        if (rows.empty()) return;
        canvas.blank();
        canvas.heading(title, note);
        const std::size_t shown = context.options().all ? rows.size() : std::min(rows.size(), most_rows);
        Table table(canvas, 0, {0, 0, 0, 0, 0});
        table.right(0).right(1).right(2).right(3);
        table.row({canvas.line(Ink::quiet, "retained"), canvas.line(Ink::quiet, "share"),
                   canvas.line(Ink::quiet, "objects"), canvas.line(Ink::quiet, "own"), canvas.line(Ink::quiet, "by")});
        for (std::size_t i = 0; i < shown; ++i) {
            const HeapType& outermost = *rows[i].chain.front();
            table.row({canvas.line(Ink::strong, human_size(outermost.bytes)),
                       canvas.line(percent(outermost.bytes, live)), canvas.line(grouped(outermost.count)),
                       canvas.line(rows[i].own == 0 ? "" : human_size(rows[i].own)),
                       chain_cell(canvas, rows[i], types)});
        }
        table.flush();
        if (shown < rows.size())
            canvas.print(canvas.line(Ink::quiet, fmt::format("… {} more (--all)", grouped(rows.size() - shown))));
    };
    print("who keeps how much alive", "retained: what would be garbage without it", false);
    print("by type", "an object inside another of its type counts once", true);
}

/// "list.next.next.next.next" is "list(.next × 4)". A repeat ends where a name ends: ".next.nextName" has one.
std::string fold_repeats(std::string_view path) {
    constexpr std::size_t enough = 4;
    const auto stands_at = [&](std::size_t at, std::string_view part) {
        const std::string_view rest = path.substr(at);
        return rest.starts_with(part) && (rest.size() == part.size() || ".["sv.contains(rest[part.size()]));
    };
    std::string out;
    for (std::size_t i = 0; i < path.size();) {
        const std::size_t end = std::min(path.find_first_of(".[", i + 1), path.size());
        const std::string_view part = path.substr(i, end - i);
        std::size_t times = 1;
        while (stands_at(i + times * part.size(), part)) ++times;
        if (part.front() != '.' || times < enough) {
            out += part;
            i = end;
        } else {
            out += fmt::format("({} × {})", part, grouped(times));
            i += times * part.size();
        }
    }
    return out;
}

/// How many of the rows from the first on are alike: one field of a list after the other.
std::size_t alike(std::span<const std::pair<std::string, std::string>> rows) {
    const auto tail = [](const std::string& value) { return value.substr(std::min(value.find("  "), value.size())); };
    std::size_t n = 1;
    while (n < rows.size() && rows[n].first == rows[0].first && tail(rows[n].second) == tail(rows[0].second)) ++n;
    return n;
}

/// One object: the way to it, its fields.
void print_story(Context& context, const Location& location) {
    auto& canvas = context.canvas;
    canvas.blank();
    Line head = canvas.line().add(location.address);
    if (!location.text.empty()) head.space(2).add(Ink::strong, location.text);
    canvas.wrap(head, 2);
    canvas.blank();
    Table table(canvas, 0, {48, 0});
    constexpr std::size_t most_alike = 6;
    const bool all = context.options().all;
    for (std::size_t i = 0; i < location.details.size(); ++i) {
        const auto& [name, value] = location.details[i];
        const bool key = name == "kept by" || name == "object";
        table.row(
            {canvas.line(Ink::label, name),
             canvas.line(key ? Ink::strong : Ink::plain, name == "kept by" && !all ? fold_repeats(value) : value)});
        const std::size_t run = all ? 1 : alike(std::span(location.details).subspan(i));
        if (run <= most_alike) continue;
        table.row({canvas.line(Ink::label, name),
                   canvas.line(Ink::quiet, fmt::format("… {} more like these (--all)", grouped(run - 2)))});
        i += run - 2;  // and the last one
    }
    table.flush();
}

}  // namespace

void print_heap_summary(Context& context) {
    if (!context.report.heap || context.report.heap->totals.empty()) return;
    auto& canvas = context.canvas;
    const auto& heap = *context.report.heap;
    const std::uint64_t live = total(heap, "live_bytes");
    canvas.blank();
    canvas.wrap(canvas.line("Go heap").space(2).add(live_and_garbage(canvas, heap)), 2);
    if (live < large_heap) return;
    Table table(canvas, 2, {0, 0, 0});
    table.right(0).right(1);
    for (std::size_t i = 0; i < std::min(heap.types.size(), most_in_summary); ++i)
        if (const auto& type = heap.types[i]; type.live >= live / large_share)
            table.row({canvas.line(Ink::strong, human_size(type.live)), canvas.line(percent(type.live, live)),
                       type_cell(canvas, type.name)});
    table.flush();
}

void print_heap(Context& context) {
    if (!context.report.heap) return print_no_go(context);
    const auto& heap = *context.report.heap;
    if (context.report.location) return print_story(context, *context.report.location);
    print_totals(context, heap);
    heap.retainers ? print_retainers(context, heap) : print_types(context, heap);
}

}  // namespace incident::report::terminal
