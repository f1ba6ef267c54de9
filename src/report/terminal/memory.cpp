// Addresses: mappings, one location, annotated words.
#include <fmt/format.h>

#include <algorithm>

#include "base/text.h"
#include "report/terminal/views.h"

namespace incident::report::terminal {

namespace {

void print_account(Context& context, const MemoryAccount& memory) {
    auto& canvas = context.canvas;
    canvas.blank();
    Line head = canvas.line(Ink::strong, fmt::format("{} in the core", human_size(memory.core_bytes)));
    head.dot().add(fmt::format("{} of memory", human_size(memory.memory)));
    head.dot().add(fmt::format("{} of address space", human_size(memory.address_space)));
    canvas.wrap(head, 2);
    canvas.blank();
    Table table(canvas, 0, {0, 0, 0, 0});
    table.right(1).right(2).row({canvas.line(Ink::quiet, ""), canvas.line(Ink::quiet, "bytes"),
                                 canvas.line(Ink::quiet, "touched"), canvas.line(Ink::quiet, "what")});
    std::string_view group;
    for (const MemoryUse& use : memory.uses) {
        table.row({canvas.line(Ink::strong, use.group == group ? "" : use.group), canvas.line(grouped(use.bytes)),
                   canvas.line(Ink::quiet, grouped(use.touched)), canvas.line(use.what)});
        group = use.group;
    }
    std::uint64_t touched = 0;
    for (const MemoryUse& use : memory.uses) touched += use.touched;
    table.row({canvas.line(Ink::strong, "sum"), canvas.line(Ink::strong, grouped(memory.core_bytes)),
               canvas.line(grouped(touched)), canvas.line(Ink::quiet, "touched: in pages that are not all zero")});
    table.flush();
}

}  // namespace

void print_maps(Context& context) {
    auto& canvas = context.canvas;
    if (context.report.memory) print_account(context, *context.report.memory);
    if (!context.report.maps) return;
    const auto& maps = *context.report.maps;
    std::uint64_t size = 0, in_core = 0, lost = 0;
    for (const auto& m : maps) {
        size += m.range.size();
        in_core += m.in_core;
        lost += m.lost;
    }
    canvas.blank();
    Line head = canvas.line(Ink::strong, count_of(maps.size(), "mapping")).add("  ").add(human_size(size));
    head.dot().add(fmt::format("{} in the core", human_size(in_core)));
    if (lost != 0) head.dot().add(Ink::warning, fmt::format("{} cut off", human_size(lost)));
    canvas.wrap(head, 2);
    canvas.blank();
    Table table(canvas, 0, {0, 0, 0, 0, 0, 0});
    table.right(2).row({canvas.line(Ink::quiet, "begin"), canvas.line(Ink::quiet, "end"),
                        canvas.line(Ink::quiet, "size"), canvas.line(Ink::quiet, "mode"),
                        canvas.line(Ink::quiet, "bytes from"), canvas.line(Ink::quiet, "what")});
    for (const auto& m : maps) {
        if (!canvas.alive()) return;
        Line from = canvas.line(m.origin == "absent" || m.lost != 0 ? Ink::warning : Ink::plain, m.origin);
        if (m.in_core != 0 && m.in_core < m.range.size())
            from.add(Ink::quiet, fmt::format(" {} in core", human_size(m.in_core)));
        if (m.lost != 0) from.add(Ink::warning, fmt::format(" {} cut off", human_size(m.lost)));
        Line what = canvas.line(m.what);
        if (!m.path.empty() && (m.what.empty() || context.options().all)) {
            if (!what.empty()) what.space(2);
            what.add(Ink::source, m.path);
            if (m.file_offset != 0) what.add(Ink::quiet, fmt::format("+{:#x}", m.file_offset));
        }
        table.row({canvas.line().add(m.range.begin), canvas.line().add(m.range.end),
                   canvas.line(human_size(m.range.size())), canvas.line(m.permissions), std::move(from),
                   std::move(what)});
    }
    table.flush();
}

void print_location(Context& context) {
    auto& canvas = context.canvas;
    if (!context.report.location) return;
    const auto& location = *context.report.location;
    canvas.blank();
    Line line = canvas.line()
                    .add(location.address)
                    .space(2)
                    .add(Ink::strong, location.text.empty() ? location.kind : location.text);
    canvas.wrap(line, 2);
    Table table(canvas, 2, {24, 0});
    for (const auto& [name, value] : location.details) table.row({canvas.line(Ink::label, name), canvas.line(value)});
    table.flush();
}

void print_words(Context& context) {
    auto& canvas = context.canvas;
    if (!context.report.words) return;
    const auto& words = *context.report.words;
    canvas.blank();
    // Short names of places ("main.ledger+0x8") stand beside the address; long ones ("goroutine 21's stack, in
    // main.audit …") would push everything off the screen and head the words that follow instead.
    constexpr unsigned most_beside = 28;
    bool beside =
        std::ranges::all_of(words, [&](const Word& w) { return canvas.line(w.symbol).width() <= most_beside; });
    Table table(canvas, beside ? 0 : 2, {0, 0, 0, 0});
    for (const auto& w : words) {
        if (!canvas.alive()) return;
        if (!beside && !w.symbol.empty()) {
            table.flush();
            canvas.wrap(canvas.line(Ink::strong, w.symbol), 2);
        }
        Line meaning = canvas.line(w.points_to);
        if (w.value && !w.origin.empty() && w.origin != "core") {
            if (!meaning.empty()) meaning.space(2);
            meaning.add(Ink::quiet, "from " + w.origin);
        }
        Line value = w.value ? canvas.line(Ink::address, fmt::format("{:#018x}", *w.value))
                             : canvas.line(Ink::warning, w.origin.empty() ? "unreadable" : w.origin);
        table.row({canvas.line().add(w.address), canvas.line(beside ? std::string_view(w.symbol) : ""),
                   std::move(value), std::move(meaning)});
    }
    table.flush();
}

}  // namespace incident::report::terminal
