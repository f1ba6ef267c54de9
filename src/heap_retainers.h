// Who keeps how much of the Go heap alive: `heap --retained`.
#pragma once

#include <vector>

#include "go/heap/heap_names.h"
#include "process/process.h"
#include "report/report.h"

namespace incident {

/// Variables, goroutines and objects that alone keep a thousandth of the heap or more, most first; behind them the
/// types ("every main.node"). The heap and its types must have been read.
std::vector<report::HeapType> heap_retainers(const Process& process, const go::HeapNames& names);

}  // namespace incident
