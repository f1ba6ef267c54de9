// pthread locks in the Report: rows of `locks`, and what each thread and goroutine in C waits for.
#pragma once

#include <vector>

#include "process/locate.h"
#include "process/process.h"
#include "report/report.h"

namespace incident {

/// Appends the pthread locks, and keeps the rows sorted by address.
void add_pthread_rows(const Process& process, const Locator& locator, std::vector<report::Lock>& rows);
/// "waits for pthread_mutex_t 0x…, owned by thread 12" as the thread's note.
void note_thread_waits(const Process& process, const Locator& locator, std::vector<report::Thread>& threads);
/// The same as `blocked_on` of goroutines that wait in C.
void note_goroutine_waits(const Process& process, const Locator& locator, std::vector<report::Goroutine>& goroutines);

}  // namespace incident
