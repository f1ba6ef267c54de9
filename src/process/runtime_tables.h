// Where the Go runtime keeps what is its own outside the heap: mspans and their bits, the metadata of arenas, the page
// allocator's tables.
//
// Surprising: the kernel joins neighbouring anonymous mappings, so one mapping often holds these and memory that the
// program got from mmap itself. What is known of a page does not tell of the mapping around it.
#pragma once

#include <vector>

#include "process/locate.h"

namespace incident {

/// Whole pages, sorted, disjoint. `arenas`: of the Go heap. With symbols all that the runtime's allocators for itself
/// got in pieces; without, only the pages in which something is known to lie. Empty: no runtime, or nothing could be
/// read.
std::vector<AddressRange> find_runtime_tables(const LocateContext& context, std::span<const AddressRange> arenas);

}  // namespace incident
