// Which C library and which allocators the process has, by the names of mapped files and by symbols. What is not
// glibc's malloc is named, not read.
#pragma once

#include <optional>
#include <vector>

#include "native/malloc.h"
#include "report/report.h"

namespace incident::native {

std::vector<ForeignAllocator> find_foreign_allocators(const CoreFile& core, const Images& images);

struct FoundLibc {
    report::Libc libc;           ///< glibc with its version ("2.36"), or musl
    bool in_executable = false;  ///< a static program: its code and libc's are one file
};
/// nullopt: a process without one, or a static program whose executable is missing.
std::optional<FoundLibc> identify_libc(const Images& images);

}  // namespace incident::native
