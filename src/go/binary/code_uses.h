// What code does with package variables, and with the objects that the linker laid out and they lead to: calls whose
// arguments are such a word's address, or its value; what it stores there. It is how a stripped program still says what
// its variables are: nothing else names them.
//
// Surprising: a module may hold 10^5 such calls in 30 MB of text, too much to decode. So the text is searched for the
// bytes of a call with those of a rip-relative operand shortly before it (or behind), and only functions in which such
// a pair led to a variable that nothing else named yet are decoded, from their start, so that no instruction is misread.
#pragma once

#include <functional>
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
    Address object;           ///< that the code reached `at` through, at a displacement; null: none
    std::uint32_t maker = 0;  ///< made: by whom, an index into what was asked for
};

struct CallOfVariable {
    Address call;
    std::uint32_t callee = 0;  ///< index into what was asked for
    CodeArgument first, second;
    CodeArgument third, fourth, fifth;  ///< on the stack (up to Go 1.16) the fifth is not followed
};

/// What a call of one of `makers` returned is stored in a variable.
struct StoreOfMade {
    Address variable;
    Address object;           ///< as CodeArgument's
    std::uint32_t maker = 0;  ///< index into what was asked for
    Address type;             ///< the call's first argument
    bool header = false;      ///< the same function stores the two words behind it, too, as a slice's
};

/// An address that is no variable's, stored in one: a descriptor or an itab, the first word of an interface.
struct StoreOfAddress {
    Address variable;
    Address object;  ///< as CodeArgument's
    Address stored;
};

/// An object that the linker laid out is the receiver of a method.
struct CallOfMethod {
    Address object;
    std::uint32_t method = 0;  ///< index into what was asked for
};

struct CodeUses {
    std::vector<CallOfVariable> calls;
    std::vector<StoreOfMade> made;
    std::vector<StoreOfAddress> type_words;
    std::vector<CallOfMethod> methods;
};

/// Whose code is looked at; x86-64 only. What it refers to must outlive it.
struct CodeScope {
    const Memory& memory;
    const Runtime& runtime;
    const ModuleData& module;
    const Disassembler& disassembler;
    std::function<bool(Address)> is_type_word;  ///< a descriptor's address, or an itab's
};

/// Direct calls of the functions at `callees` in the Go code of one module, those whose first or second argument is a
/// variable of it. For each pair of variable and callee at least one call, if any was met.
std::vector<CallOfVariable> calls_of_variables(const CodeScope& scope, std::span<const Address> callees);

/// For each variable at least one store of what `makers` made, if any was met, and type words that are stored beside;
/// from Go 1.17 on only.
CodeUses stores_of_made(const CodeScope& scope, std::span<const Address> makers);

/// What `methods` do with a receiver that is a variable, or an object that the linker laid out, and what the methods
/// do that they hand it to; from Go 1.17 on only.
CodeUses uses_in_methods(const CodeScope& scope, std::span<const Address> methods, std::span<const Address> callees,
                         std::span<const Address> makers);

}  // namespace incident::go
