// The detector of objects that stand twice in a sync.Pool.
#pragma once

#include <string_view>

#include "detect/detector.h"

namespace incident::detect {

inline constexpr std::string_view pool_kinds[] = {"go.pool.duplicate"};

Detection detect_pool_duplicates(const Process& process);

}  // namespace incident::detect
