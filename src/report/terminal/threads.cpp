// Threads and registers.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <functional>
#include <unordered_map>

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

struct Group {
    const Thread* first = nullptr;
    std::vector<std::int64_t> tids;
    bool one_note = true;  ///< all of them have the same
};

/// Futexes that nothing names are as good as each other: many threads at one place, each with a word of its own, are
/// one picture too.
std::string without_word(std::string note) {
    constexpr std::string_view word = "futex word 0x";
    const auto at = note.find(word);
    if (at == std::string::npos) return note;
    const auto digits = at + word.size(), end = note.find_first_not_of("0123456789abcdef", digits);
    return note.erase(digits - 3, (end == std::string::npos ? note.size() : end) - (digits - 3));
}

/// What they do: "waits for …" of one, "wait for …" of several.
std::string note_of(const Group& group) {
    std::string note = group.one_note ? group.first->note : without_word(group.first->note);
    constexpr std::string_view waits = "waits ";
    if (group.tids.size() > 1 && note.starts_with(waits)) note.erase(waits.size() - 2, 1);
    return note;
}

/// Threads with equal keys together: the pool of idle threads is one picture, not twenty. In the order of their first,
/// tids in order. An empty key is like no other.
template <class Key>
std::vector<Group> group_by(std::span<const Thread> threads, Key key_of) {
    std::unordered_map<std::string, std::size_t> index;
    std::vector<Group> groups;
    for (const auto& thread : threads) {
        std::string key = key_of(thread);
        const bool alone = key.empty();
        const std::size_t at = alone ? groups.size() : index.try_emplace(std::move(key), groups.size()).first->second;
        if (at == groups.size()) groups.push_back({&thread, {}});
        groups[at].one_note &= groups[at].first->note == thread.note;
        groups[at].tids.push_back(thread.tid);
    }
    for (auto& group : groups) std::ranges::sort(group.tids);
    return groups;
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
    const bool together = !context.options().all;
    const auto groups = group_by(threads, [&](const Thread& thread) {
        if (thread.goroutine || thread.frames.empty() || !together) return std::string();
        std::string key = without_word(thread.note) + '\0';
        for (const auto& frame : thread.frames) key += fmt::format("{:x} {}\n", frame.pc.value, frame.function);
        return key;
    });
    for (const auto& group : groups) {
        const auto* thread = group.first;
        const auto& tids = group.tids;
        if (!canvas.alive()) return;
        canvas.blank();
        if (tids.size() == 1) {
            canvas.wrap(title_of(context, *thread), 2);
        } else {
            Line title = canvas.line(Ink::strong, fmt::format("{} threads with the same stack", grouped(tids.size())));
            canvas.wrap(title.add(":").add(list_of(context, "", "", tids, 12)), 2);
        }
        if (!thread->note.empty()) canvas.wrap(canvas.line().space(2).add(note_of(group)), 4);
        print_stack(context, {thread->frames, {}, thread->stack_end, true});
    }
}

bool has_thread_summary(const Context& context) {
    const Report& report = context.report;
    if (report.goroutines || !report.threads || report.threads->empty()) return false;
    if (report.threads->size() > 1) return true;
    // The only thread of a process that was asked for its core: where it hangs, unless something else has shown it.
    const bool asked_for = !report.crash || report.crash->kind == CrashKind::requested;
    return asked_for && !context.options().all && std::ranges::none_of(report.findings, [&](const Finding& f) {
               return f.severity >= context.options().min_severity && (!f.threads.empty() || !f.snapshots.empty());
           });
}

namespace {

/// What the way in which it ended says of all threads together.
void print_hang(Context& context) {
    for (const Finding& finding : context.report.findings)
        if (finding.kind == "crash.requested" && !finding.explanation.empty())
            context.canvas.wrap(context.canvas.line().space(2).add(finding.explanation), 2);
}

}  // namespace

void print_thread_summary(Context& context) {
    auto& canvas = context.canvas;
    if (!has_thread_summary(context)) return;
    if (context.report.threads->size() == 1) return print_threads(context);
    auto groups = group_by(*context.report.threads, [](const Thread& thread) {
        const auto* frame = telling_frame(thread.frames);
        if (frame == nullptr) return std::string();
        return fmt::format("{}\n{}\n{}\n{}\n{}", without_word(thread.note), frame->function, frame->module, frame->file,
                           frame->line);
    });
    std::ranges::stable_sort(groups, std::greater(), [](const Group& group) { return group.tids.size(); });
    canvas.blank();
    canvas.heading(fmt::format("{} threads", grouped(context.report.threads->size())));
    print_hang(context);
    constexpr std::size_t most = 10;
    const std::size_t shown = context.options().all ? groups.size() : std::min(groups.size(), most);
    Table table(canvas, 2, {0, 32, 28, 0});
    table.right(0);
    for (const auto& group : std::span(groups).first(shown)) {
        const auto* thread = group.first;
        const auto& tids = group.tids;
        const std::string who =
            tids.size() == 1 ? fmt::format("thread {}", tids.front()) : fmt::format("{} threads", grouped(tids.size()));
        const auto* frame = telling_frame(thread->frames);
        table.row({canvas.line(Ink::strong, who), frame == nullptr ? canvas.line() : function_of(context, *frame),
                   frame == nullptr ? canvas.line() : source_of(context, frame->file, frame->line),
                   canvas.line(note_of(group))});
    }
    table.flush();
    if (shown < groups.size())
        canvas.print(canvas.line().space(2).add(
            Ink::quiet,
            fmt::format("… {} (--all, or the command threads)", count_of(groups.size() - shown, "more place"))));
}

}  // namespace incident::report::terminal
