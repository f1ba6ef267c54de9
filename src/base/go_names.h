// What a Go function's linker name says about where it comes from.
#pragma once

#include <string_view>

namespace incident {

/// Of Go's standard library, by the first element of the import path.
bool is_standard_library(std::string_view function);

}  // namespace incident
