// What gaps weaken, where somebody who draws conclusions asks for it by name.
#pragma once

#include <string_view>

namespace incident::report {

/// Some goroutines could not be read: none may be called absent.
inline constexpr std::string_view weakens_all_goroutines = "every statement about all goroutines";

}  // namespace incident::report
