// What the steps ask of an address: is it code? Three answers, since a core does not hold every page.
#pragma once

#include "core/memory.h"

namespace incident {

enum class Code : std::uint8_t {
    yes,      ///< we hold it and it is executable
    no,       ///< not mapped, or mapped without execute permission
    unknown,  ///< mapped in the target, but neither the core nor a file gives its bytes
};
Code is_code(const Memory& memory, Address a);

}  // namespace incident
