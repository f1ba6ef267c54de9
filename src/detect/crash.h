#pragma once

#include <string_view>

#include "detect/detector.h"

namespace incident::detect {

inline constexpr std::string_view crash_kinds[] = {"crash.fault", "crash.panic",     "crash.fatal",
                                                   "crash.abort", "crash.requested", "crash.stack-overflow"};

Detection detect_crash(const Process& process);

}  // namespace incident::detect
