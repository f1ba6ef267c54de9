// Function values that the runtime itself will call: timers, finalizers, cleanups. A lock may wait for one of them, and
// no goroutine's stack shows it.
#pragma once

#include <optional>
#include <string_view>
#include <vector>

#include "go/heap/spans.h"
#include "go/stacks/goroutines.h"

namespace incident::go {

enum class CallbackKind : std::uint8_t { timer, finalizer, cleanup };
std::string_view to_string(CallbackKind kind);

struct Callback {
    CallbackKind kind = CallbackKind::timer;
    Address closure;
    std::optional<Address> argument;  ///< the first one: a finalizer's object
    Address record;                   ///< the runtime's timer or special
};

struct Callbacks {
    std::vector<Callback> all;
    std::size_t timers = 0, finalizers = 0;
    bool timers_read = false, finalizers_read = false;  ///< false: they could not be looked at
};

/// `spans` may be null: then finalizers stay unread.
Callbacks read_callbacks(const Memory& memory, const Runtime& runtime, const Spans* spans);

}  // namespace incident::go
