// Unwinder: registers and stack bounds to frames. It tries its steps in order; each either finds the caller or rejects with
// a reason; the loop insists that sp rises and stays in bounds, and records how each frame was found and why the walk ended.
// Steps for other runtimes (Go's pclntab) are made elsewhere and handed in.
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
    bool after_call = true;       ///< pc is a return address
    report::Trust trust = report::Trust::context;
    report::FrameKind kind = report::FrameKind::native;
    std::optional<Address> cfa;   ///< filled by the step that unwinds this frame
};

/// What a step answers.
struct StepResult {
    enum class Kind : std::uint8_t { caller, outermost, rejected } kind = Kind::rejected;
    std::optional<UnwindState> caller;
    std::optional<Address> cfa;   ///< of the frame that was unwound
    std::string reason;           ///< when rejected or outermost: why, for --trace and for `end`
};

struct UnwindStep {
    std::string_view name;        ///< cfi, pclntab, frame pointer, scan
    /// Must not allocate per frame in the good case beyond `reason`.
    std::function<StepResult(const UnwindState&, AddressRange stack)> step;
};

struct UnwoundFrame {
    UnwindState state;
    std::optional<Address> cfa;
};

struct Unwound {
    std::vector<UnwoundFrame> frames;
    std::string end;                      ///< "outermost frame", "sp does not rise at 0x…", "limit of 4096 frames"
    bool complete = false;                ///< reached a known outermost frame
    std::vector<std::string> trace;       ///< each rejection, when tracing
};

struct UnwindLimits {
    std::size_t frames = 4096;
    bool trace = false;
};

/// `stack` bounds sp; pass the mapping that holds sp when nothing better is known.
Unwound unwind(const UnwindState& start, AddressRange stack, std::span<const UnwindStep> steps, const UnwindLimits& limits = {});

/// By .eh_frame, then .debug_frame. Recognises signal frames (S augmentation) and an undefined return address as outermost.
/// Uses libdw: one thread only.
UnwindStep cfi_step(const Memory& memory, const Images& images);
/// Saved frame pointer chain. Rejects when the return address is not in executable memory after a call.
UnwindStep frame_pointer_step(const Memory& memory);
/// Looks for the next word that is a plausible return address. What it finds has Trust::scan.
UnwindStep scan_step(const Memory& memory, const Images& images);

/// Frame (with inlined ones first) for one unwound frame of native code: function, file, line, module.
std::vector<report::Frame> symbolize_native(const UnwoundFrame& frame, const Images& images);

}  // namespace incident
