// Hidden words: addresses kept as uintptr in typed memory: package variables, static data and live objects whose type
// the heap's type pass knows. The collector does not follow them, so they outlive what they name.
#pragma once

#include <vector>

#include "process/process.h"

namespace incident::detect {

struct HiddenWord {
    Address word, value;
    Address base;        ///< of the value that the word is a field of
    std::string symbol;  ///< package variable; empty: an object
    std::string type;    ///< of the value at base
    std::string field;   ///< "where"; empty: the variable itself
};

/// Those whose value lies in the Go heap's arenas, at most `limit`. Types of the runtime's own are left out, and so are
/// bare uintptrs in objects (lists of program counters, keys of maps): only fields count there.
std::vector<HiddenWord> find_hidden_words(const Process& process, std::size_t limit, std::uint64_t& checked);

}  // namespace incident::detect
