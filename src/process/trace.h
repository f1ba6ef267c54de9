// --trace: what was rejected on the way, line by line: runtime fields this target lacks, and why each stack walk ended.
#pragma once

#include <functional>
#include <string_view>

#include "process/process.h"

namespace incident {

using Log = std::function<void(std::string_view line)>;

void trace_layout(const go::Runtime& runtime, const Log& log);
void trace_stacks(const Process& process, const Log& log);

}  // namespace incident
