// Can anybody else know an address in this frame? Told by the code that the frame has executed: where its function
// takes the address of a local (lea, or a copy of sp), and whether that register is stored or handed to a call.
#pragma once

#include <optional>

#include "process/process.h"

namespace incident {

/// No address in the frame left it before the call that returns to `return_pc`. False also when the code does not say:
/// undecodable, no beginning of the function known, a jump back from behind the call.
bool keeps_addresses_in(const Process& process, Address entry, Address return_pc);

/// Entry of the function whose frame returns to `return_pc` of its caller: the target of the call there, or the symbol
/// around `pc`.
std::optional<Address> function_entry(const Process& process, Address pc, std::optional<Address> return_pc);

}  // namespace incident
