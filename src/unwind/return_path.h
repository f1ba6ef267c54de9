// The step for code without CFI: what the function still has to do before it returns says where its caller's registers
// are.
#pragma once

#include "unwind/unwinder.h"

namespace incident {

/// Assembly without CFI (Go's crosscall1, hand-written trampolines) and libraries that are built without it (musl). As
/// exact as CFI, and labelled so: the rules are those of the code itself. One thread only.
UnwindStep return_path_step(const Memory& memory, const Machine& machine);

}  // namespace incident
