// One account of memory: every byte that the core file holds, once, under what it is. The sum is the size of the
// (decompressed) core file.
#pragma once

#include "process/locate.h"
#include "report/report.h"

namespace incident {

/// Needs the Locator's spans and malloc for the parts of the Go and C heaps; without them their rows are coarser.
report::MemoryAccount memory_account(const Locator& locator);

}  // namespace incident
