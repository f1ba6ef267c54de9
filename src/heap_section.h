// The Go heap for the report: the histogram by type, what keeps how much alive, the way to one object, one object's
// fields; and the same histogram as a profile for `go tool pprof`.
#pragma once

#include "analyze.h"
#include "process/locate.h"
#include "process/process.h"
#include "report/report.h"

namespace incident {

/// nullopt: the heap was not read (a gap says why). One object's story goes to report.location, this section's own gaps
/// to report.gaps.
std::optional<report::Heap> heap_section(const Process& process, const Locator& locator, const AnalyzeOptions& options,
                                         report::Report& report);

/// False: a root or an object's pointers could not be read. What is not reached is not known to be garbage then.
bool reaches_all(const go::HeapGraph& graph);

/// Writes the heap by type as a gzipped pprof protobuf: sample types objects and bytes, live and garbage apart. The
/// error is one sentence.
Result<void> write_pprof(const go::HeapTypes& types, const std::string& path);

}  // namespace incident
