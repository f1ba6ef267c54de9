// Who, and where: a goroutine or thread in words, the same in every format.
#pragma once

#include <span>
#include <string>

#include "report/report.h"

namespace incident::report {

/// "goroutine 19" or "thread 4720"
std::string name_of(const Actor& who);
/// The frame that tells a person where this stack is: the first one that is neither the runtime's nor a standard
/// library's (Go's or C's); else the first of the program that has no name; else, of Go's library, the outermost, of
/// C's the innermost; null when there are no frames.
const Frame* telling_frame(std::span<const Frame> frames);
/// The same of a goroutine or thread; null when its frames are not known.
const Frame* telling_frame(const Report& report, const Actor& who);
/// "main.(*Ledger).Apply ledger.go:41"; empty when the function has no name.
std::string place_text(const Frame& frame);

}  // namespace incident::report
