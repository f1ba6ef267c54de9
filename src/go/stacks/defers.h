// Pending defers of a goroutine, all three kinds: records on g._defer, open-coded ones (a bit and a slot in the frame,
// never on the list while the function runs normally) and those of range-over-func bodies. Open-coded ones are the
// usual case: whoever reads only the list calls every `defer mu.Unlock()` missing.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "disasm/disasm.h"
#include "go/stacks/walk.h"

namespace incident::go {

enum class DeferKind : std::uint8_t { open_coded, record, rangefunc };
std::string_view to_string(DeferKind kind);  ///< "open-coded", "record", "rangefunc"

struct PendingDefer {
    DeferKind kind = DeferKind::record;
    Address closure;               ///< *funcval; null: `defer` of a nil func. Captured words follow its first
    Address entry;                 ///< code it starts at
    std::string_view function;     ///< what will be called, the compiler's wrapper looked through; empty: unknown
    std::string_view wrapper;      ///< that wrapper ("main.hold.deferwrap1"); empty: none
    std::string_view deferred_in;  ///< function that deferred it; empty: its frame is not on the stack
    std::optional<std::uint32_t> physical;  ///< its frame: index into GoStack::physical
    Address record;                         ///< *_defer; null for open-coded ones
    std::vector<AddressRange> arguments;    ///< up to Go 1.17: where its arguments lie, receiver first
    bool running = false;  ///< up to Go 1.21: a panic or Goexit runs it now, its record stays until it returns
};

struct Defers {
    std::vector<PendingDefer> pending;  ///< in the order in which they will run: newest frame first
    bool complete = true;               ///< false: a list or a frame could not be read to its end
    std::string why;                    ///< then: what
};

/// What a function value will call: through deferwrap, dwrap and method-value wrappers. Not thread-safe; caches.
class CalleeResolver {
public:
    CalleeResolver(const Memory& memory, const Runtime& runtime, CodeTable& code, const Disassembler* disassembler);
    ~CalleeResolver();
    CalleeResolver(CalleeResolver&&) noexcept;

    struct Callee {
        Address entry;
        std::string_view function;  ///< empty: unknown
        std::string_view wrapper;   ///< empty: `function` is what the closure itself is
    };
    Callee resolve(Address closure);

private:
    struct State;
    std::unique_ptr<State> state_;
};

Defers read_defers(const Memory& memory, const Runtime& runtime, const Goroutine& g, const GoStack& stack,
                   CalleeResolver& callees);

}  // namespace incident::go
