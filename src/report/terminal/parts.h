// Pieces that several views of the terminal report share: how a frame, a goroutine, a source line or an actor reads.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <unordered_map>

#include "report/actors.h"
#include "report/terminal/canvas.h"

namespace incident::report::terminal {

/// What every view gets.
struct Context {
    Canvas& canvas;
    const Report& report;
    std::unordered_map<std::int64_t, const Goroutine*> goroutines;
    std::unordered_map<std::int32_t, const Thread*> threads;

    Context(Canvas& c, const Report& r);
    const Goroutine* goroutine(std::int64_t id) const;
    const Thread* thread(std::int32_t tid) const;
    const RenderOptions& options() const { return canvas.options(); }
};

/// "10,432"
std::string grouped(std::uint64_t count);

Ink ink_of(Severity severity);

/// "ledger.go:41"; whole path with --all; empty when unknown.
Line source_of(const Context& context, std::string_view file, std::uint32_t line);
/// "main.(*Ledger).Apply", or "libc.so.6+0x8f2c" or "0x7f…" when there is no name.
Line function_of(const Context& context, const Frame& frame);
/// "raft.(*node).run" of "go.etcd.io/raft/v3.(*node).run": the package as Go code calls it, for tables, which would cut
/// the name itself; whole with --all.
Line brief_function_of(const Context& context, const Frame& frame);
std::string without_directories(std::string_view go_function);
/// function  file:line
Line place_of(const Context& context, const Frame& frame);

/// Of a goroutine or thread; null when its frames are not known.
const Frame* telling_frame(const Context& context, const Actor& who);
/// "main.(*Ledger).Apply  ledger.go:41" of a goroutine or thread, empty when its frames are not known.
Line place_of(const Context& context, const Actor& who);

/// "waiting (sync.Mutex.Lock)"
Line status_of(const Context& context, const Goroutine& goroutine);
/// "goroutine 19 · waiting (…) · at least 4m12s · created by main.main main.go:60"
Line title_of(const Context& context, const Goroutine& goroutine);
Line title_of(const Context& context, const Thread& thread);
/// "goroutine 19" or "thread 4720"
Line actor(const Context& context, const Actor& who);
/// "goroutines 3, 4, 9 and 12 more"
Line list_of(const Context& context, std::string_view one, std::string_view many, std::span<const std::int64_t> ids,
             std::size_t limit);

/// "runbook   " title, owner, numbered steps, links.
void print_runbook(Canvas& canvas, const RunbookStep& entry);

}  // namespace incident::report::terminal
