// Unwinder: registers and stack bounds to frames. It tries its steps in order; each either finds the caller or rejects
// with a reason; the loop insists that sp rises and stays in bounds, and records how each frame was found and why the
// walk ended. Steps for other runtimes (Go's pclntab) are made elsewhere and handed in.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "core/machine.h"
#include "core/memory.h"
#include "image/images.h"
#include "report/frame.h"

namespace incident {

/// The machine state of one frame while it is unwound.
struct UnwindState {
    Registers registers;
    bool after_call = true;  ///< pc is a return address
    report::Trust trust = report::Trust::context;
    report::FrameKind kind = report::FrameKind::native;
    std::optional<Address> cfa;  ///< filled by the step that unwinds this frame
};

/// What a step answers.
struct StepResult {
    enum class Kind : std::uint8_t { caller, outermost, rejected } kind = Kind::rejected;
    std::optional<UnwindState> caller;
    std::optional<Address> cfa;               ///< of the frame that was unwound
    std::optional<std::uint64_t> bad_return;  ///< rejected: what the rules say is the return address, and is no code
    std::string reason;                       ///< when rejected or outermost: why, for --trace and for `end`
    /// The caller is on another stack (a signal handler's alternate stack ends, Go's systemstack): its bounds. Only
    /// then may sp fall; the loop allows 16 such changes.
    std::optional<AddressRange> stack;
    /// The frame that was unwound turned out to be the kernel's signal frame.
    bool signal_frame = false;
};

struct UnwindStep {
    std::string_view name;  ///< cfi, pclntab, frame pointer, scan
    /// Must not allocate per frame in the good case beyond `reason`.
    std::function<StepResult(const UnwindState&, AddressRange stack)> step;
};

struct UnwoundFrame {
    UnwindState state;
    std::optional<Address> cfa;
};

struct Unwound {
    std::vector<UnwoundFrame> frames;
    std::string end;                 ///< "outermost frame", "sp does not rise at 0x…", "limit of 4096 frames"
    bool complete = false;           ///< reached a known outermost frame
    std::vector<std::string> trace;  ///< each rejection, when tracing
};

struct UnwindLimits {
    std::size_t frames = 4096;
    bool trace = false;
};

/// The memory that holds `sp`, or, where sp has run off its stack's low end, from sp to the end of the stack above it.
/// Empty: there is none.
AddressRange stack_range(const Memory& memory, Address sp);

/// `stack` bounds sp; pass stack_range() when nothing better is known.
Unwound unwind(const UnwindState& start, AddressRange stack, std::span<const UnwindStep> steps,
               const UnwindLimits& limits = {});

/// By .eh_frame, then .debug_frame. Recognises signal frames (S augmentation) and an undefined return address as
/// outermost. Uses libdw: one thread only.
UnwindStep cfi_step(const Memory& memory, const Images& images);
/// Saved frame pointer chain. Rejects when the return address is not in executable memory after a call, and, with
/// `images`, functions that keep no frame pointer.
UnwindStep frame_pointer_step(const Memory& memory, const Images* images = nullptr);
/// Looks for the next word that is a plausible return address, 1024 words at most. What it finds has Trust::scan. Of a
/// context whose pc is no code at all (a call through a bad pointer) only the word at sp is tried.
UnwindStep scan_step(const Memory& memory, const Images& images);

/// What the kernel left on the stack for a signal handler's return: the interrupted registers, in the ucontext at `at`.
/// nullopt when memory does not hold a plausible one.
std::optional<Registers> load_ucontext(const Memory& memory, const Machine& machine, Address at);
/// Is `pc` the trampoline that a signal handler returns to (mov $15, %rax; syscall)? Its sp then points to the
/// ucontext.
bool is_signal_return(const Memory& memory, Address pc);

/// Frame (with inlined ones first) for one unwound frame of native code: function, file, line, module.
std::vector<report::Frame> symbolize_native(const UnwoundFrame& frame, const Images& images);

/// The variables of frame `index`: Image::variables_at with the right pc, and with the values that optimised code keeps
/// nowhere but that the caller's frame still tells.
std::vector<Variable> variables_of(const Unwound& stack, std::size_t index, const Images& images, const Memory& memory);

}  // namespace incident
