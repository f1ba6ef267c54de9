// Which C library and which allocators the process has, by the names of mapped files and by symbols. What is not
// glibc's malloc is named, not read.
#pragma once

#include <optional>
#include <vector>

#include "native/malloc.h"
#include "report/report.h"

namespace incident::native {

std::vector<ForeignAllocator> find_foreign_allocators(const CoreFile& core, const Images& images);
/// glibc with its version ("2.36"), musl, or nothing.
std::optional<report::Libc> identify_libc(const CoreFile& core, const Images& images);

}  // namespace incident::native
