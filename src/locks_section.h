// The locks and the wait-for graph as sections of the Report.
#pragma once

#include <span>
#include <vector>

#include "process/locate.h"
#include "process/process.h"
#include "report/report.h"

namespace incident {

std::vector<report::Lock> locks_section(const Process& process, const Locator& locator);
/// Which locks the list cannot hold, because nothing that was read names their type.
void note_unread_locks(const Process& process, std::vector<report::Gap>& gaps);
report::WaitGraph wait_graph_section(const Process& process, const Locator& locator,
                                     std::span<const report::Lock> locks);

}  // namespace incident
