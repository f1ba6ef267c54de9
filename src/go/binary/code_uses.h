// What code does with package variables: calls whose first arguments are such a variable's address, or its value. It is
// how a stripped program still says what its variables are: nothing else names them.
//
// Surprising: a module may hold 10^5 such calls in 30 MB of text, too much to decode. So the text is searched for the
// bytes of a call with those of a rip-relative operand shortly before it, and only functions in which such a pair led
// to a variable that nothing else named yet are decoded, from their start, so that no instruction is misread.
#pragma once

#include <span>
#include <vector>

#include "disasm/disasm.h"
#include "go/binary/runtime.h"

namespace incident::go {

struct CodeArgument {
    enum class Kind : std::uint8_t {
        unknown,
        address,
        value,  ///< loaded from `at`
        made,   ///< returned by a maker that was called with the type at `at`
    };
    Kind kind = Kind::unknown;
    Address at;
    bool operator==(const CodeArgument&) const = default;
};

struct CallOfVariable {
    Address call;
    std::uint32_t callee = 0;  ///< index into what was asked for
    CodeArgument first, second;
    CodeArgument third, fourth, fifth;  ///< on the stack (up to Go 1.16) the fifth is not followed
};

/// What a call of one of `makers` returned is stored in a variable, right behind the call.
struct StoreOfMade {
    Address variable;
    std::uint32_t maker = 0;  ///< index into what was asked for
    Address type;             ///< the call's first argument
};

/// Direct calls of the functions at `callees` in the Go code of one module, those whose first or second argument is a
/// variable of it. For each pair of variable and callee at least one call, if any was met; x86-64 only.
std::vector<CallOfVariable> calls_of_variables(const Memory& memory, const Runtime& runtime, const ModuleData& module,
                                               std::span<const Address> callees, const Disassembler& disassembler);

/// For each variable at least one such store, if any was met; x86-64 from Go 1.17 on only.
std::vector<StoreOfMade> stores_of_made(const Memory& memory, const Runtime& runtime, const ModuleData& module,
                                        std::span<const Address> makers, const Disassembler& disassembler);

}  // namespace incident::go
