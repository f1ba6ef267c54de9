// The detectors of slice, string and interface headers that cannot be what they claim.
#pragma once

#include <string_view>

#include "detect/detector.h"

namespace incident::detect {

inline constexpr std::string_view header_kinds[] = {"go.slice.bad", "go.string.bad", "go.interface.bad"};

Detection detect_bad_headers(const Process& process);

}  // namespace incident::detect
