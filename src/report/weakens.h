// What gaps weaken, where somebody who draws conclusions asks for it by name.
#pragma once

#include <string_view>

namespace incident::report {

/// Some goroutines could not be read: none may be called absent.
inline constexpr std::string_view weakens_all_goroutines = "every statement about all goroutines";

/// How the sentences end that say so: roots or pointers are missing, and what is not reached may be alive.
inline constexpr std::string_view weakens_reach = "not reached";

}  // namespace incident::report
