// The panics that a goroutine is in the middle of: g._panic, innermost first.
#pragma once

#include <string>
#include <vector>

#include "go/stacks/goroutines.h"

namespace incident::go {

struct ActivePanic {
    Address panic;          ///< *_panic
    Address type, data;     ///< its argument, an interface{}
    std::string type_name;  ///< "*main.codedError"; empty: nil, or unknown
    std::string value;      ///< as the runtime prints it
    bool exact = true;      ///< false: the runtime would have called Error or String, which we cannot
    bool recovered = false;
    bool aborted = false;     ///< up to Go 1.21: a later panic took over
    bool goexit = false;      ///< no panic: runtime.Goexit runs the defers
    bool repanicked = false;  ///< 1.25+: panicked again with the same value
};

struct Panics {
    std::vector<ActivePanic> chain;  ///< newest first
    bool complete = true;
};

Panics read_panics(const Memory& memory, const Runtime& runtime, const Goroutine& g);

/// The chain as the runtime prints it when it dies: oldest first, "panic: …\n\tpanic: … [recovered]\n".
std::string panic_text(const Panics& panics);

}  // namespace incident::go
