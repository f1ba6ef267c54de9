// Walking Go stacks, by pcsp: the linker's exact sp deltas, which every binary has, stripped or not. A walk follows the
// runtime's own stack switches: signal handler → the context it interrupted, system stack (systemstack, mcall,
// morestack, asmcgocall) → the goroutine, C called from Go, and Go called from C back into C.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "core/core_file.h"
#include "go/stacks/code_table.h"
#include "go/stacks/goroutines.h"
#include "report/frame.h"
#include "unwind/unwinder.h"

namespace incident::go {

/// On whose stack a frame lies.
enum class StackOwner : std::uint8_t { goroutine, system /* g0, or C on the thread's stack */, signal };

/// One physical frame: what detectors, defers and snapshots work on.
struct PhysicalFrame {
    const CodePoint* code = nullptr;  ///< null, or code->func absent: no Go function that we know
    Address pc, sp, cfa;              ///< cfa = caller's sp after the return; null: unknown
    Address bp;                       ///< frame pointer register while this frame executes; null: unknown
    bool after_call = true;
    bool frame_has_saved_bp = false;  ///< the caller's bp is saved at cfa-16
    report::Trust trust = report::Trust::pclntab;
    report::FrameKind kind = report::FrameKind::go;
    StackOwner owner = StackOwner::goroutine;
    std::uint32_t native = ~0u;  ///< index into GoStack::native for C frames

    bool operator==(const PhysicalFrame&) const = default;
    const Func* func() const { return code != nullptr && code->func ? &*code->func : nullptr; }
    std::string_view name() const { return func() ? func()->name : std::string_view(); }
    /// Base of locals (runtime's frame.varp): cfa-8, less the saved bp when there is one.
    std::optional<Address> varp() const {
        if (cfa.is_null()) return std::nullopt;
        Address base = cfa - 8;
        return base > sp ? base - 8 : base;
    }
};

struct GoStack {
    std::vector<PhysicalFrame> physical;  ///< innermost first
    std::vector<UnwoundFrame> native;     ///< registers of the C frames
    std::vector<report::Frame> frames;    ///< logical ones, wrappers left out
    std::vector<std::uint32_t> frame_of;  ///< frames[i] belongs to physical[frame_of[i]]
    std::string end;                      ///< why it ended; "goexit", "start of the thread" …
    std::size_t elided = 0;               ///< physical frames left out of a very deep stack …
    std::size_t elided_at = 0;            ///< … before physical[elided_at]
    bool complete = false;                ///< reached a known outermost frame

    void clear();  ///< keeps the buffers
};

struct StackOptions {
    std::size_t limit = 10000;  ///< physical frames: of deeper stacks the innermost, and the outermost `outer`
    std::size_t outer = 100;
    bool elide = true;   ///< drop wrappers and mark runtime frames as the runtime does
    bool frames = true;  ///< fill GoStack::frames; false: physical ones only
};

/// Registers of the code that a signal handler interrupted, from the kernel's frame on the signal stack.
struct InterruptedContext {
    Address ucontext;  ///< target address of the ucontext_t
    Registers registers;
    std::optional<Address> siginfo;  ///< target address of the siginfo_t
    std::int32_t signal = 0;         ///< si_signo as saved; 0: unreadable
};
/// nullopt: the thread is not in a signal handler of Go. Of nested handlers, the outermost: what ran before all of
/// them.
std::optional<InterruptedContext> interrupted_context(const CoreFile& core, const Memory& memory,
                                                      const Runtime& runtime, const Machine_m& machine,
                                                      const ThreadState& thread);

/// One per worker: it caches. Not thread-safe; walking goroutines without `native_steps` never touches libdw.
class StackWalker {
public:
    StackWalker(const CoreFile& core, const Memory& memory, const Runtime& runtime, const GoroutineList& list);
    ~StackWalker();
    StackWalker(StackWalker&&) noexcept;

    /// `native_steps` (CFI…) join C frames under and over Go; without them C frames are left out and `end` or a gap
    /// says so. With `images`, C frames in `frames` get names and lines.
    GoStack walk(const Goroutine& g, std::span<const UnwindStep> native_steps = {}, const Images* images = nullptr,
                 const StackOptions& options = {});
    /// The same into a GoStack whose buffers are used again: for loops that keep nothing.
    void walk_into(GoStack& stack, const Goroutine& g, std::span<const UnwindStep> native_steps = {},
                   const Images* images = nullptr, const StackOptions& options = {});
    /// A thread from its registers on: signal handler, what it interrupted, system stack, its goroutine.
    GoStack walk_thread(const ThreadState& thread, std::span<const UnwindStep> native_steps = {},
                        const Images* images = nullptr, const StackOptions& options = {});
    /// From any context of Go code.
    GoStack walk_from(const Registers& registers, bool after_call, const Machine_m* machine,
                      std::span<const UnwindStep> native_steps = {}, const Images* images = nullptr,
                      const StackOptions& options = {});

private:
    struct State;
    std::unique_ptr<State> state_;
};

/// Fills `frames` and `frame_of` from `physical`. [any thread] when there are no C frames or no images.
void fill_frames(GoStack& stack, const StackOptions& options, const Images* images);

}  // namespace incident::go
