// The coroutine that a goroutine waits for: the body of an iter.Pull that waits for the next call of next or stop, or
// the caller of one, while the body runs. go1.23–1.27 src/runtime/coro.go: coro {gp guintptr; f func(*coro); …}.
//
// Surprising: no word of the g says which it is. But coro.gp is the g that waits, whichever of the two that is; and the
// coro lies in a frame, corostart's for one, or in a function value that a frame has: next, stop, yield.
#include "go/sync/queues.h"

namespace incident::go {

namespace {

constexpr std::uint64_t most_stack = 65536, most_captured = 64;  // bytes

bool is_coroutine_of(const Memory& memory, const Runtime& runtime, Address g, Address coro) {
    if (coro.is_null() || !coro.is_aligned(8)) return false;
    const auto gp = memory.load_address(coro);
    if (!gp || *gp != g) return false;
    const auto body = memory.load_address(coro + 8);
    if (!body || body->is_null()) return false;
    const auto entry = memory.load_address(*body);
    const auto func = entry ? runtime.find_func(*entry) : std::nullopt;
    return func && func->entry == *entry;
}

}  // namespace

std::optional<Address> coroutine_of(const Memory& memory, const Runtime& runtime, const Goroutine& g) {
    if (g.sched_sp < g.stack.begin || g.sched_sp >= g.stack.end) return std::nullopt;
    const Address end = std::min(g.stack.end, g.sched_sp + most_stack);
    for (const bool captured : {false, true}) {
        for (Address at = g.sched_sp.align_down(8); at < end; at += 8) {
            const auto word = memory.load_address(at);
            if (!word) break;
            if (word->is_null() || !word->is_aligned(8) || g.stack.contains(*word)) continue;
            if (!captured) {
                if (is_coroutine_of(memory, runtime, g.g, *word)) return *word;
                continue;
            }
            for (std::uint64_t inside = 8; inside < most_captured; inside += 8) {
                const auto value = memory.load_address(*word + inside);
                if (!value) break;
                if (is_coroutine_of(memory, runtime, g.g, *value)) return *value;
            }
        }
    }
    // Not begun: it is the argument of the first switch, in the g itself.
    const auto size = static_cast<std::uint64_t>(runtime.layout().g.size > 0 ? runtime.layout().g.size : 0);
    for (Address at = g.g; at < g.g + std::min<std::uint64_t>(size, 1024); at += 8) {
        const auto word = memory.load_address(at);
        if (word && is_coroutine_of(memory, runtime, g.g, *word)) return *word;
    }
    return std::nullopt;
}

}  // namespace incident::go
