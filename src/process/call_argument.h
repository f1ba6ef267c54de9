// What a call was given, told by the caller's own code: the instructions before the call that loaded the argument's
// register, evaluated over the caller's frame. Needs no debug data. The slot it names was read when the call was made;
// its word now is what the core shows, and nobody can have changed it unless the callee did.
#pragma once

#include <cstdint>
#include <optional>

#include "process/process.h"

namespace incident {

struct CallArgument {
    std::uint64_t value = 0;
    std::optional<Address> slot;  ///< where it was loaded from, when it was
};

/// The first integer argument (System V: rdi) of the call that returns to `return_pc`; `caller` are the caller's
/// registers after the return. nullopt: its code does not say, in a straight line.
std::optional<CallArgument> first_argument(const Process& process, Address return_pc, const Registers& caller);

}  // namespace incident
