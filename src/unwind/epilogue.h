// The step for code without CFI whose function only has to return: its epilogue says where the caller's registers are.
#pragma once

#include "unwind/unwinder.h"

namespace incident {

/// A return address behind which nothing but pops and a return stand. For assembly without CFI (Go's crosscall1,
/// hand-written trampolines). As exact as CFI, and labelled so: the rules are those of the code itself.
UnwindStep epilogue_step(const Memory& memory);

}  // namespace incident
