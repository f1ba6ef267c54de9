#include "report/terminal/parts.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/text.h"

namespace incident::report::terminal {

Context::Context(Canvas& c, const Report& r) : canvas(c), report(r) {
    if (r.goroutines) {
        goroutines.reserve(r.goroutines->size());
        for (const auto& g : *r.goroutines) goroutines.emplace(g.id, &g);
    }
    if (r.threads)
        for (const auto& t : *r.threads) threads.emplace(t.tid, &t);
}

const Goroutine* Context::goroutine(std::int64_t id) const {
    auto found = goroutines.find(id);
    return found == goroutines.end() ? nullptr : found->second;
}

const Thread* Context::thread(std::int32_t tid) const {
    auto found = threads.find(tid);
    return found == threads.end() ? nullptr : found->second;
}

std::string grouped(std::uint64_t count) {
    auto digits = fmt::format("{}", count);
    for (std::size_t i = digits.size(); i > 3; i -= 3) digits.insert(i - 3, 1, ',');
    return digits;
}

Ink ink_of(Severity severity) {
    switch (severity) {
        case Severity::error: return Ink::error;
        case Severity::warning: return Ink::warning;
        case Severity::info: return Ink::strong;
    }
    return Ink::plain;
}

Line source_of(const Context& context, std::string_view file, std::uint32_t line) {
    Line out = context.canvas.line();
    if (file.empty()) return out;
    auto name = context.options().all ? file : base_name(file);
    return out.add(Ink::source, line == 0 ? std::string(name) : fmt::format("{}:{}", name, line));
}

Line function_of(const Context& context, const Frame& frame) {
    Line out = context.canvas.line();
    if (!frame.function.empty()) return out.add(Ink::function, frame.function);
    if (!frame.module.empty())
        return out.add(Ink::function, fmt::format("{}+{:#x}", base_name(frame.module), frame.module_offset));
    return out.add(frame.pc).add(Ink::quiet, " in no known module");
}

std::string without_directories(std::string_view go_function) {
    // Receivers and type arguments may hold paths of their own.
    const auto slash = go_function.substr(0, go_function.find_first_of("([")).rfind('/');
    if (slash == std::string_view::npos) return std::string(go_function);
    const std::string_view above = go_function.substr(0, slash), last = go_function.substr(slash + 1);
    const auto dot = last.find('.');
    const std::string_view package = last.substr(0, dot);
    // A major version is no package's name: "raft/v3".
    const bool version = package.size() > 1 && package.front() == 'v' && dot != std::string_view::npos &&
                         package.find_first_not_of("0123456789", 1) == std::string_view::npos;
    if (!version) return std::string(last);
    return fmt::format("{}{}", base_name(above), last.substr(dot));
}

Line brief_function_of(const Context& context, const Frame& frame) {
    if (context.options().all || frame.kind != FrameKind::go || frame.function.empty())
        return function_of(context, frame);
    return context.canvas.line(Ink::function, without_directories(frame.function));
}

Line place_of(const Context& context, const Frame& frame) {
    Line out = function_of(context, frame);
    auto source = source_of(context, frame.file, frame.line);
    if (!source.empty())
        out.space(2).add(source);
    else if (!frame.function.empty() && frame.kind != FrameKind::go && !frame.module.empty())
        out.space(2).add(Ink::source, base_name(frame.module));
    return out;
}

const Frame* telling_frame(const Context& context, const Actor& who) {
    if (const auto* g = who.goroutine ? context.goroutine(*who.goroutine) : nullptr)
        return telling_frame(g->frames.stored());
    if (const auto* t = who.thread ? context.thread(*who.thread) : nullptr) return telling_frame(t->frames);
    return nullptr;
}

Line place_of(const Context& context, const Actor& who) {
    const auto* frame = telling_frame(context, who);
    return frame == nullptr ? context.canvas.line() : place_of(context, *frame);
}

Line status_of(const Context& context, const Goroutine& goroutine) {
    Line out = context.canvas.line(goroutine.status.empty() ? "status unknown" : goroutine.status);
    if (!goroutine.wait_reason.empty()) out.add(" (").add(goroutine.wait_reason).add(")");
    return out;
}

Line title_of(const Context& context, const Goroutine& goroutine) {
    Line out = context.canvas.line(Ink::strong, fmt::format("goroutine {}", goroutine.id));
    out.dot().add(status_of(context, goroutine));
    auto part = [&](const std::string& text) { out.dot().add(context.canvas.line(text).keep()); };
    if (goroutine.waited) part(fmt::format("at least {}", human_duration(goroutine.waited->at_least_ns)));
    if (goroutine.thread) part(fmt::format("on thread {}", *goroutine.thread));
    if (goroutine.locked_to_thread) part("locked to its thread");
    if (goroutine.system) part("the runtime's own");
    if (!goroutine.created_by.empty()) {
        Line creator = context.canvas.line("created by ").add(goroutine.created_by);
        auto source = source_of(context, goroutine.created_file, goroutine.created_line);
        if (!source.empty()) creator.space().add(source);
        if (goroutine.created_by_goroutine)
            creator.add(fmt::format(" in goroutine {}", *goroutine.created_by_goroutine));
        out.dot().add(creator.width() < 60 ? creator.keep() : creator);
    }
    return out;
}

Line title_of(const Context& context, const Thread& thread) {
    Line out = context.canvas.line(Ink::strong, fmt::format("thread {}", thread.tid));
    if (!thread.name.empty()) out.dot().add(thread.name);
    if (thread.goroutine) out.dot().add(fmt::format("runs goroutine {}", *thread.goroutine));
    return out;
}

Line actor(const Context& context, const Actor& who) {
    Line out = context.canvas.line();
    if (who.goroutine) return out.add(fmt::format("goroutine {}", *who.goroutine));
    if (who.thread) return out.add(fmt::format("thread {}", *who.thread));
    return out.add("nobody known");
}

Line list_of(const Context& context, std::string_view one, std::string_view many, std::span<const std::int64_t> ids,
             std::size_t limit) {
    Line out = context.canvas.line(ids.size() == 1 ? one : many);
    std::size_t shown = std::min(ids.size(), context.options().all ? ids.size() : limit);
    for (std::size_t i = 0; i < shown; ++i) out.add(fmt::format("{}{}", i == 0 ? " " : ", ", ids[i]));
    if (shown < ids.size()) out.add(fmt::format(" and {} more", grouped(ids.size() - shown)));
    return out;
}

void print_runbook(Canvas& canvas, const RunbookStep& entry) {
    Line title = canvas.line(Ink::strong, entry.title);
    if (!entry.owner.empty()) title.dot().add(entry.owner);
    std::string_view label = "runbook";
    if (!title.empty()) {
        canvas.row(label, title);
        label = "";
    }
    for (std::size_t i = 0; i < entry.steps.size(); ++i) {
        Line step = canvas.line(Ink::label, label).to_column(10, false);
        step.add(fmt::format("{}. ", i + 1)).add(entry.steps[i]);
        canvas.wrap(step, 13);
        label = "";
    }
    for (const auto& link : entry.links) {
        canvas.row(label, canvas.line(Ink::source, link));
        label = "";
    }
}

}  // namespace incident::report::terminal
