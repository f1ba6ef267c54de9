// The files of data/, as CMake compiled them in (data.cpp.in).
#pragma once

#include <string_view>

namespace incident::triage::data {

extern const std::string_view frames;
extern const std::string_view messages;

}  // namespace incident::triage::data
