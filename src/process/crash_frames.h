// What the frames of a dying thread say by their names, and which of them are nobody's question. Private to process.
#pragma once

#include <span>
#include <string_view>
#include <vector>

#include "go/stacks/walk.h"
#include "report/frame.h"

namespace incident {

/// Frames of the runtime functions that end a process: throw, fatal, fatalpanic. Null: none.
struct FatalFrames {
    const go::PhysicalFrame* death = nullptr;           ///< what the process died of
    const go::PhysicalFrame* while_printing = nullptr;  ///< a throw that befell the runtime while it told the death
};
FatalFrames find_fatal_frames(const go::GoStack& stack);
bool has_frame(const go::GoStack& stack, std::string_view name);
/// Was the fatal error about the signal itself? A signal that had become a panic is the panic's story, also when the
/// runtime gave up over that panic: "panic while printing panic value". `fatal`: a frame of this stack.
bool throws_for_signal(const go::GoStack& stack, const go::PhysicalFrame& fatal);
bool calls_abort(std::span<const report::Frame> frames);
/// How an abort gets from the program to the kernel (free, malloc_printerr, abort, raise) is nobody's question.
void fold_way_of_abort(std::span<report::Frame> frames);
/// Nor is how a program and its threads begin: __libc_start_call_main, start_thread, clone3.
void fold_start(std::span<report::Frame> frames);
/// Frames below the runtime's own dying: from the function that threw on.
std::vector<report::Frame> frames_from(const go::GoStack& stack, const go::PhysicalFrame& fatal);
/// Without those of the signal's handler.
std::vector<report::Frame> frames_below_signal(const go::GoStack& stack);

}  // namespace incident
