// `incident serve CORE [EXE]`: one opened core, many questions, for a debugger's front-end that keeps this process as
// its child.
//
// The protocol is the command itself, line by line. A question is one line of JSON on stdin:
//     {"args": ["goroutine", "12", "--all"], "columns": 120}
// `args` is a command line without CORE and EXE; `columns` (0 or absent: as a file) is the width to draw for. The
// answer is one line of JSON, then exactly `out` bytes of what the command would have written to stdout and `err` bytes
// of stderr:
//     {"code": 0, "out": 1834, "err": 0}
// The end of stdin is the end of the process. A question that cannot be understood has code 2, as on a command line.
#pragma once

#include <istream>
#include <ostream>
#include <string>
#include <vector>

#include "cli/invocation.h"

namespace incident::cli {

/// What one command wrote.
struct Reply {
    int code = 0;
    std::string out, err;
};

/// Until `in` ends. `invocation`: that of `serve` itself, with the core and the engine's options.
int serve(const Invocation& invocation, std::istream& in, std::ostream& out);

}  // namespace incident::cli
