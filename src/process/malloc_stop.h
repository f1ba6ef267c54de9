// Was the process stopped in the middle of malloc? Then malloc's data contradict each other, and nothing is wrong.
#pragma once

#include "native/malloc.h"
#include "process/process.h"

namespace incident {

/// By the frames of threads and crash; where no thread was unwound, by the thread's pc.
native::MallocStop malloc_stop(const Process& process);

}  // namespace incident
