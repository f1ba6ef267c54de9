#include "base/result.h"

#include <fmt/format.h>

namespace incident {

std::string describe(const Error& error) {
    std::string text = error.what.empty() ? std::string(to_string(error.kind))
                                          : fmt::format("{}: {}", to_string(error.kind), error.what);
    if (!error.address.is_null()) text += fmt::format(" (at {:#x})", error.address.value);
    return text;
}

}  // namespace incident
