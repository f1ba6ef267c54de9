#pragma once

#include <string_view>

#include "detect/detector.h"

namespace incident::detect {

inline constexpr std::string_view leaked_kinds[] = {"go.goroutine.leaked"};
Detection detect_leaked_goroutines(const Process& process);

}  // namespace incident::detect
