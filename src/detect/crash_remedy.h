#pragma once

#include <string>

#include "process/crash_context.h"

namespace incident::detect {

/// What to do about this death; `place`: where the program's own code stood, empty when no frame tells; `go`: a Go
/// program.
std::string crash_remedy(const CrashContext& crash, const std::string& place, bool go);

}  // namespace incident::detect
