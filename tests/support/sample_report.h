// Hand-written Reports for the renderers' tests: values are invented, every field of the schema occurs in one of them.
#pragma once

#include "report/report.h"

namespace incident::test {

report::Report sample_hang();   ///< analyze: an orphaned mutex, waiters, snapshots, goroutines, locks, gaps
report::Report sample_crash();  ///< analyze: nil dereference with faulting context, panics, defers, raw stack
report::Report sample_cycle();  ///< analyze: two findings, a cycle between a goroutine and a thread, locks, wait graph
report::Report sample_healthy();     ///< analyze: requested, nothing found
report::Report sample_core_alone();  ///< analyze: executable missing, core cut off, nothing found
report::Report sample_hostile();     ///< analyze: control characters, bytes that are no UTF-8, very long names
report::Report sample_memory();      ///< heap, maps, location, words
report::Report sample_heap();        ///< heap: by type, untyped objects and garbage
report::Report sample_retained();    ///< heap --retained
report::Report sample_kept_by();     ///< heap --roots

/// For speed: `goroutines` goroutines with `frames` frames each.
report::Report sample_many(std::size_t goroutines, std::size_t frames);

}  // namespace incident::test
