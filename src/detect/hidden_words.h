// Hidden words: addresses kept as uintptr in typed memory: package variables, static data and live objects whose type
// the heap's type pass knows, and captured variables of closures (with DWARF, from Go 1.22 on). The collector does not
// follow them, so they outlive what they name.
#pragma once

#include <vector>

#include "process/process.h"

namespace incident::detect {

struct HiddenWord {
    Address word, value;
    Address base;          ///< of the value that the word is a field of
    std::string symbol;    ///< package variable; empty: an object
    std::string type;      ///< of the value at base
    std::string field;     ///< "where"; empty: the variable itself
    AddressRange among;    ///< its struct: what it may be the {begin, end} of a range with; elements of a list are not
    std::uint8_t tag = 0;  ///< its lowest bits, which value is without
};

/// Those whose value lies in the Go heap's arenas, at most `limit`. What is no multiple of a word counts only where it
/// is the first address of a free slot or page but for its three lowest bits, in which some keep a tag. Types of the
/// runtime's own are left out, and so are bare uintptrs in objects (lists of program counters, keys of maps): only
/// fields count there.
std::vector<HiddenWord> find_hidden_words(const Process& process, std::size_t limit, std::uint64_t& checked);

}  // namespace incident::detect
