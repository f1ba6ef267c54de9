// Threads and registers.
#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "base/text.h"
#include "report/terminal/views.h"

namespace incident::report::terminal {

namespace {

/// As a debugger lists them, not as the kernel stores them; unknown names keep their order behind these.
std::size_t rank_of(std::string_view name) {
    constexpr std::array order{"rip", "pc",  "rsp", "sp", "rbp", "x29", "x30", "rax", "rbx", "rcx", "rdx",
                               "rsi", "rdi", "r8",  "r9", "r10", "r11", "r12", "r13", "r14", "r15"};
    return static_cast<std::size_t>(std::ranges::find(order, name) - order.begin());
}

/// Segment registers say nothing on a 64-bit machine.
bool is_furniture(const Register& r) {
    constexpr std::array names{"cs", "ss", "ds", "es", "fs", "gs"};
    return std::ranges::find(names, r.name) != names.end() || (r.name.ends_with("_base") && r.value == 0);
}

}  // namespace

void print_registers(Context& context, std::span<const Register> given) {
    auto& canvas = context.canvas;
    std::vector<Register> registers(given.begin(), given.end());
    std::ranges::stable_sort(registers, {}, [](const Register& r) { return rank_of(r.name); });
    Table table(canvas, 2, {8, 0, 0});
    std::vector<const Register*> silent;
    for (const auto& r : registers) {
        if (r.points_to.empty() && r.note.empty()) {
            if (is_furniture(r) && !context.options().all) continue;
            silent.push_back(&r);
            continue;
        }
        Line meaning = canvas.line(r.points_to);
        if (!r.note.empty()) {
            if (!meaning.empty()) meaning.space(2);
            meaning.add(Ink::error, "← ").add(Ink::strong, r.note);
        }
        table.row({canvas.line(Ink::label, r.name), canvas.line().add(Address{r.value}), std::move(meaning)});
    }
    table.flush();
    // Plain numbers: as many to a row as fit.
    std::vector<Line> cells;
    unsigned widest = 0;
    for (const auto* r : silent) {
        cells.push_back(canvas.line(Ink::label, r->name).space().add(Address{r->value}));
        widest = std::max(widest, cells.back().width());
    }
    Line line = canvas.line().space(2);
    for (const auto& cell : cells) {
        if (line.width() > 2 && line.width() + widest > canvas.width()) {
            canvas.print(line);
            line = canvas.line().space(2);
        }
        unsigned end = line.width() + widest + 3;
        line.add(cell).to_column(end);
    }
    if (!cells.empty()) canvas.print(line);
}

void print_thread(Context& context, const Thread& thread) {
    auto& canvas = context.canvas;
    canvas.blank();
    canvas.wrap(title_of(context, thread), 2);
    if (!thread.note.empty()) canvas.wrap(canvas.line().space(2).add(thread.note), 4);
    print_stack(context, {thread.frames, {}, thread.stack_end, true});
    if (!thread.registers.empty()) {
        canvas.blank();
        canvas.heading("registers");
        print_registers(context, thread.registers);
    }
    const auto* goroutine = thread.goroutine ? context.goroutine(*thread.goroutine) : nullptr;
    if (goroutine != nullptr && goroutine->frames_computed) print_goroutine(context, *goroutine);
}

void print_threads(Context& context) {
    auto& canvas = context.canvas;
    if (!context.report.threads) return;
    const auto& threads = *context.report.threads;
    canvas.blank();
    canvas.heading(count_of(threads.size(), "thread"));
    // Equal stacks together: the pool of idle threads of a Go process is one picture, not twenty.
    std::vector<std::pair<const Thread*, std::vector<std::int64_t>>> groups;
    auto same = [&](const Thread& a, const Thread& b) {
        return !a.goroutine && !b.goroutine && !a.frames.empty() && a.note == b.note &&
               std::ranges::equal(a.frames, b.frames, [](const Frame& x, const Frame& y) {
                   return x.pc == y.pc && x.function == y.function;
               });
    };
    for (const auto& t : threads) {
        auto group = std::ranges::find_if(groups, [&](const auto& g) { return same(*g.first, t); });
        if (group != groups.end() && !context.options().all)
            group->second.push_back(t.tid);
        else
            groups.push_back({&t, {t.tid}});
    }
    for (const auto& [thread, tids] : groups) {
        if (!canvas.alive()) return;
        canvas.blank();
        if (tids.size() == 1) {
            canvas.wrap(title_of(context, *thread), 2);
        } else {
            Line title = canvas.line(Ink::strong, fmt::format("{} threads with the same stack", tids.size()));
            canvas.wrap(title.dot().add(list_of(context, "", "", tids, 12)), 2);
        }
        if (!thread->note.empty()) canvas.wrap(canvas.line().space(2).add(thread->note), 4);
        print_stack(context, {thread->frames, {}, thread->stack_end, true});
    }
}

}  // namespace incident::report::terminal
