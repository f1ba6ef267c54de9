// What code that has not run yet will release. A mutex has no owner; but whoever holds one has an Unlock of it still
// before him. So we follow the code of a frame from its return address on, and that of a pending defer from its start,
// with the values that the core still holds: stack slots, closures, heap fields, package variables. An Unlock that is
// met names its lock by address; where the address depends on something that is yet to come (a received value, a
// result), it is unknown.
//
// Surprising: Lock and Unlock on the way are matched with each other, so that a loop which locks and unlocks is no
// holder; only what is released without having been taken counts. Branches are followed both ways, loops twice, callees
// to a bounded depth. Whatever cannot be decoded or resolved is counted, never ignored. Not thread-safe.
#pragma once

#include <memory>
#include <optional>
#include <string_view>
#include <vector>

#include "go/stacks/defers.h"
#include "go/stacks/walk.h"
#include "go/sync/holders_code.h"

namespace incident::go {

/// How a lock is held, or a channel served: what a release gives back.
enum class HoldKind : std::uint8_t {
    exclusive,
    shared,
    group,
    receive /* will receive */,
    send /* will send or close */
};

struct Release {
    HoldKind kind = HoldKind::exclusive;
    std::optional<Address> address;  ///< of the lock, group or channel; nullopt: not known before it runs
    Address site;                    ///< the call or atomic instruction
    std::string_view function;       ///< that contains it
    bool standard = false;           ///< of the standard library, which knows no lock of the user's by name
    bool rwmutex = false;            ///< exclusive: by RWMutex.Unlock; else by Mutex.Unlock
};

/// How many times a path gives back, less what it takes: over all paths that were followed to a return.
struct Balance {
    Address address;
    HoldKind kind = HoldKind::exclusive;
    int least = 0, most = 0;  ///< taken minus released
};

struct Remaining {
    std::vector<Release> releases;    ///< without a matching acquisition before them
    std::vector<Balance> balances;    ///< of locks with known addresses
    std::vector<Address> unresolved;  ///< calls whose target is not known; at most a few
    bool incomplete = false;          ///< undecodable code, or a bound was reached
    bool returns = false;             ///< some path returns
};

class RemainingCode {
public:
    /// `reuse`: what one frame's code was found to do serves all frames that are alike (frame_runs.h).
    RemainingCode(const Memory& memory, const Runtime& runtime, const Disassembler& disassembler, bool reuse = true);
    ~RemainingCode();

    /// Code of physical frame `index` from its pc on, without what it had deferred before. `context`: the closure that
    /// it runs, where a thread's register still tells; what a preempted goroutine was stopped with is found here.
    Remaining of_frame(const Goroutine& g, const GoStack& stack, std::uint32_t index,
                       std::optional<Address> context = std::nullopt);
    /// A function value: called with `argument` in the first argument's place.
    Remaining of_closure(Address closure, std::optional<Address> argument = std::nullopt);
    Remaining of_defer(const PendingDefer& pending);
    /// A function, as one of `closure` where it is one's.
    Remaining of_function(Address entry, std::optional<Address> closure, std::optional<Address> argument);
    /// A goroutine that has not run yet.
    Remaining of_unborn(const Goroutine& g);
    /// Is there anything to follow in a frame with this pc? Cheap once a pc is known.
    bool interesting(Address pc);
    std::size_t frames_followed() const;  ///< by of_frame, not served by another's

private:
    struct State;
    std::unique_ptr<State> state_;
};

}  // namespace incident::go
