// Private to core.
#pragma once

#include <cstdint>

#include "base/address.h"

namespace incident {

/// No process has anything behind it: of all that a core shows, [vsyscall] lies highest, 10 MB below the end. Whoever
/// steps through a range from the core never wraps around.
constexpr Address end_of_memory{-(std::uint64_t{8} << 20)};

}  // namespace incident
