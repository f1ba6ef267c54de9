// Which memory is the stack that an sp is on. Surprising: after an overflow sp lies in a guard page, or far below the
// stack in nothing at all (a large local array, alloca), and the frames are still above.
#include <algorithm>

#include "unwind/unwinder.h"

namespace incident {

AddressRange stack_range(const Memory& memory, Address sp) {
    constexpr std::uint64_t overshoot = 256 << 20;  // larger than any frame on purpose
    constexpr std::uint8_t write = 2;               // PF_W
    auto segments = memory.segments();
    auto at = std::ranges::upper_bound(segments, sp, {}, [](const Segment& s) { return s.range.end; });
    for (; at != segments.end() && at->range.begin.value <= sp.value + overshoot; ++at)
        if (at->permissions & write) return at->range.contains(sp) ? at->range : AddressRange{sp, at->range.end};
    return {sp, sp};
}

}  // namespace incident
