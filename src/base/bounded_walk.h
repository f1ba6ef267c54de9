// Walking chains that the target's memory describes. A damaged list may be cyclic, endless or lead outside: the walk is
// bounded by count and by Brent's cycle check, and says how it ended.
#pragma once

#include <cstddef>

#include "base/address.h"

namespace incident {

enum class WalkEnd : std::uint8_t { done, cycle, limit, stopped };

/// Calls `visit(address)` for each link from `head` until null. `visit` returns the next link, or std::nullopt to stop
/// (a failed read, or enough seen).
template <class Visit>
WalkEnd walk_chain(Address head, std::size_t limit, Visit&& visit) {
    Address tortoise{};
    std::size_t power = 1, lap = 0;
    std::size_t count = 0;
    for (Address at = head; !at.is_null();) {
        if (count++ == limit) return WalkEnd::limit;
        if (at == tortoise) return WalkEnd::cycle;
        if (lap++ == power) {
            tortoise = at;
            power *= 2;
            lap = 0;
        }
        auto next = visit(at);
        if (!next) return WalkEnd::stopped;
        at = *next;
    }
    return WalkEnd::done;
}

}  // namespace incident
