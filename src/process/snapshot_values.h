// Values of variables as a person reads them: by the source type's name, bounded, escaped.
#pragma once

#include <optional>
#include <string>

#include "image/image.h"
#include "process/locate.h"
#include "report/frame.h"

namespace incident {

/// Fills value and points_to of a slot from a DWARF variable. Go's strings, slices and interfaces show their parts.
void describe_variable(const Locator& locator, const Variable& variable, report::Slot& slot);
/// A word known to be a pointer (or typed uintptr): its value and what it points to, nil and unmapped included.
void describe_pointer(const Locator& locator, std::uint64_t value, report::Slot& slot);

/// Printable text at `a`: exactly `length` bytes (at most 48 are shown), or up to a NUL when there is no length.
/// nullopt when it is not there or not printable.
std::optional<std::string> quoted_text(const Memory& memory, Address a, std::optional<std::uint64_t> length);

}  // namespace incident
