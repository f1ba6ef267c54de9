// The views of the terminal report, one function per section or command. report/terminal/terminal.cpp says which
// command prints which.
#pragma once

#include <optional>

#include "report/terminal/parts.h"

namespace incident::report::terminal {

// opening.cpp
void print_header(Context& context);
void print_answer(Context& context);  ///< WHAT, WHERE, WHY

// terminal.cpp
void print_view(Context& context);           ///< what the report's command is about, without header and closing
void print_crash_section(Context& context);  ///< nothing when a finding has printed the crash already

// finding.cpp
void print_findings(Context& context);
void print_finding_titles(Context& context);  ///< one line each, for the views that show the facts themselves
/// Whom a finding concerns: a lock's state, waiters and holders, or the goroutines and threads that it names.
void print_concerned(Context& context, const Finding& finding);
void print_own_cycle(Context& context, const Finding& finding);  ///< of lock.cycle

// crash.cpp
/// The faulting context, the stack with its annotated frames, the words around sp, panics and defers.
/// `finding`: the one under which this is printed; its snapshots stand in for missing ones, its evidence is not
/// repeated.
void print_crash(Context& context, const Crash& crash, const Finding* finding = nullptr);

// stack.cpp
struct StackView {
    std::span<const Frame> frames;
    std::span<const FrameSnapshot> snapshots;  ///< those of this stack
    std::string_view end;                      ///< why the walk ended
    bool every_frame = false;                  ///< the runtime's too
};
/// One line per frame, a block per annotated frame; recursion and long stacks are folded.
void print_stack(Context& context, const StackView& view, unsigned indent = 2);
/// Slots as a table behind a gutter; used for frames and for raw words.
void print_slots(Context& context, std::span<const Slot> slots, const Line& gutter);
/// Snapshots grouped by the stack they belong to, each under its goroutine's or thread's title.
void print_snapshots(Context& context, std::span<const FrameSnapshot> snapshots);

// goroutines.cpp
void print_goroutine_list(Context& context);
void print_no_go(Context& context);              ///< why a question about Go has no answer, when that is why
void print_goroutine_groups(Context& context);   ///< equal stacks together, whole stacks
void print_goroutine_summary(Context& context);  ///< a few lines for `analyze`
void print_goroutine(Context& context, const Goroutine& goroutine);
void print_panics_and_defers(Context& context, const Goroutine& goroutine, bool title);

// threads.cpp
void print_threads(Context& context);
void print_thread_summary(Context& context);  ///< a few lines for `analyze` of a process without Go
bool has_thread_summary(const Context& context);
void print_thread(Context& context, const Thread& thread);
void print_registers(Context& context, std::span<const Register> registers);

// locks.cpp
void print_locks(Context& context);
void print_lock_rows(Context& context, const Lock& lock);  ///< state, waiting, held by: as rows of a finding
void print_wait_graph(Context& context);
void print_wait_summary(Context& context);  ///< who blocks most, for `analyze` where nothing is accused
void print_cycle(Context& context, const WaitGraph& graph, const std::vector<std::size_t>& cycle);

// memory.cpp
void print_maps(Context& context);
void print_location(Context& context);
void print_words(Context& context);
void print_heap(Context& context);
void print_heap_summary(Context& context);  ///< a few lines for `analyze`

// closing.cpp
void print_gaps(Context& context);
void print_detectors(Context& context);

}  // namespace incident::report::terminal
