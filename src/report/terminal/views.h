// The views of the terminal report, one function per section or command.
#pragma once

#include "report/terminal/parts.h"

namespace incident::report::terminal {

// opening.cpp
void print_header(Context& context);
void print_answer(Context& context);       ///< WHAT, WHERE, WHY
// finding.cpp
void print_findings(Context& context);
// closing.cpp
void print_gaps(Context& context);
void print_detectors(Context& context);

}  // namespace incident::report::terminal
