// Which frames are the program's own. Between what a program called and the kernel stand libc, the C++ runtime and the
// unwinder; above it stand the frames in which threads begin. Nobody asks about them.
#pragma once

#include "report/frame.h"

namespace incident {

/// Native code of a system library: by the module, and in static programs by the function's name.
bool of_the_runtime(const report::Frame& frame);
/// The same of any frame: of the runtimes of C, C++ and Go, or the kernel's signal frame.
bool is_machinery(const report::Frame& frame);
/// Code of the C++ library's headers, compiled into the program.
bool of_the_cxx_headers(const report::Frame& frame);

}  // namespace incident
