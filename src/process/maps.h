// maps and read: the address space as rows, and annotated words. Both are lists of what the Locator knows.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "process/locate.h"
#include "report/report.h"

namespace incident {

/// One row per mapping of the core, and one per mapped file that the core has no segment for (gcore leaves text out),
/// sorted.
std::vector<report::Mapping> maps_section(const Locator& locator);
std::vector<report::Mapping> maps_section(const LocateContext& context);

/// `count` words of 8 bytes from `begin` on, as x/Ngx shows them, each with what it lies in and what it points to. At
/// most 65536; a word that cannot be read says why in `origin`.
std::vector<report::Word> read_words(const Locator& locator, Address begin, std::size_t count);

}  // namespace incident
