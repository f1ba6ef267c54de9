// Sections: one part of the Process to one part of the Report. No new facts arise here.
#pragma once

#include "analyze.h"
#include "process/locate.h"
#include "process/process.h"
#include "report/report.h"

namespace incident {

report::Input input_section(const Process& process);
report::Runtime runtime_section(const Process& process);
report::Crash crash_section(const Process& process, const Locator& locator);
std::vector<report::Thread> threads_section(const Process& process, const Locator& locator,
                                            std::optional<std::int32_t> only);

/// `only`: one goroutine, its user frames annotated.
std::vector<report::Goroutine> goroutines_section(const Process& process, const Locator& locator,
                                                  std::optional<std::int64_t> only);

}  // namespace incident
