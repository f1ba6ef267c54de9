// What will be called though no goroutine's stack shows it: function values that the runtime calls (timers, finalizers,
// cleanups), and functions that are exported to C, which any C code may call at any time. A lock may wait for them.
#pragma once

#include <optional>
#include <string_view>
#include <vector>

#include "go/heap/spans.h"
#include "go/stacks/goroutines.h"

namespace incident::go {

enum class CallbackKind : std::uint8_t { timer, finalizer, cleanup, exported };
std::string_view to_string(CallbackKind kind);

struct Callback {
    CallbackKind kind = CallbackKind::timer;
    Address entry;                    ///< of the function
    std::optional<Address> closure;   ///< nullopt: a plain function
    std::optional<Address> argument;  ///< the first one: a finalizer's object
    Address record;                   ///< the runtime's timer or special; null for exported functions
    std::string_view name;            ///< of an exported function, as C knows it
};

struct Callbacks {
    std::vector<Callback> all;
    std::size_t timers = 0, finalizers = 0, exported = 0;
    std::size_t channel_timers = 0;  ///< of `timers`: those that send to a channel, no function of the program
    bool timers_read = false, finalizers_read = false;  ///< false: they could not be looked at
    bool exported_read = true;
};

/// `spans` may be null: then finalizers stay unread.
Callbacks read_callbacks(const Memory& memory, const Runtime& runtime, const Spans* spans);

}  // namespace incident::go
