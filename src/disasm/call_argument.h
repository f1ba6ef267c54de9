// What a call was given: the code before it loaded the register, from a word of the frame, from a variable, or through
// pointers that stand there.
#pragma once

#include <optional>
#include <span>

#include "core/memory.h"
#include "disasm/disasm.h"

namespace incident {

/// The frame that calls.
struct CallFrame {
    const Machine& machine;
    Address sp, bp;  ///< at the call; bp null: not known
};

/// The value of `reg`, an index into Machine::registers, at the call that ends `code`; nullopt: the straight path
/// before the call does not say, or a word on the way cannot be read. `s.index.byName` is three loads, no more are
/// followed. The words are read as they are now: a slot of a frame that waits for the call still stands, what a pointer
/// leads to may have changed since.
std::optional<Address> argument_of_call(const Memory& memory, std::span<const Instruction> code, unsigned reg,
                                        const CallFrame& frame);

}  // namespace incident
