// Roots: where the collector starts. Package variables (data and bss of each module, by the linker's masks), stacks (by
// the maps of each frame, stack objects only when something live points to them), what hangs on goroutines beside their
// stacks (defers, panics, saved context), registers of running goroutines, queued finalizers and cleanups, specials
// (finalizer, cleanup, weak handle) and the allocator's current tiny blocks. Everything else of the runtime (timers,
// sudogs, Ps, Ms, maps of interned strings) hangs on its package variables.
//
// Surprising: a frame that was not stopped at a call has no exact map, and its registers count too: it is taken
// conservatively, every word that could be a pointer, as the runtime does with asynchronously preempted frames. A frame
// that faulted and has no defer is dead, though, as it is for the collector: it will never run again. The vector
// registers of such a goroutine are no roots: up to 1.25 they lie on its stack and are looked at with it, from 1.26 on
// they lie outside and the collector itself does not look (go1.26 src/runtime/preempt_xreg.go: scalars only).
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "go/heap/heap_pointers.h"
#include "go/stacks/stack_set.h"

namespace incident {
class Images;
}

namespace incident::go {

enum class RootKind : std::uint8_t {
    data,             ///< initialised package variable
    bss,              ///< zeroed package variable
    local,            ///< live slot of a frame
    argument,         ///< argument or result slot of a frame
    stack_object,     ///< variable whose address is taken, itself reachable
    register_,        ///< of a running goroutine; `where` is its index in the machine's table
    context,          ///< g.sched.ctxt
    defer,            ///< a defer record: its function, its arguments, the record itself
    panic,            ///< a panic in progress
    finalizer_queue,  ///< finalizer or cleanup that waits to run
    finalizer,        ///< special: the finalizer function, and what the finalized object refers to
    cleanup,          ///< special
    weak_handle,      ///< special: the handle, not what it refers to
    tiny_block,       ///< where the next tiny object will go
};
std::string_view to_string(RootKind kind);

inline constexpr std::uint32_t no_owner = 0xffffffff;

/// One word outside the heap that leads into it. 10^6 of them: small.
struct Root {
    Address where;  ///< the word
    SlotId target = no_slot;
    std::uint32_t goroutine = no_owner;  ///< index into GoroutineList::all
    std::uint32_t frame = no_owner;      ///< index into GoStack::physical
    RootKind kind = RootKind::data;
    bool conservative = false;  ///< may be no pointer at all
    std::uint16_t module = 0;   ///< data, bss: index into Runtime::modules()
};

/// What all heap passes read; everything must outlive what is built from it.
struct HeapInput {
    const CoreFile* core = nullptr;  ///< for registers; null: none
    const Memory& memory;
    const Runtime& runtime;
    const Spans& spans;
    const GoroutineList* goroutines = nullptr;  ///< null: no stacks, which a gap says
    const GoStacks* stacks = nullptr;           ///< parallel to goroutines->all; null: none
    unsigned jobs = 1;
};

/// A word that the collector takes for a pointer, exactly, and that leads into the heap's arenas but to no slot: a free
/// page, or another stack.
struct StrayRoot {
    Address where, value;
    std::uint32_t goroutine = no_owner;  ///< as in Root
    std::uint32_t frame = no_owner;
    RootKind kind = RootKind::data;
};

struct Roots {
    std::vector<Root>
        all;  ///< only words that lead to a slot; globals first, then specials, then goroutine by goroutine
    std::vector<StrayRoot> strays;
    /// Objects that allocations under way have taken and perhaps not cleared yet: nobody's garbage, but their words are
    /// those of whoever had them before. Nothing in `all` leads to them.
    std::vector<SlotId> unmade;
    std::vector<report::Gap> gaps;
    std::uint64_t conservative_frames = 0;
    std::uint64_t frames_without_maps = 0;  ///< of these, though they wait for a call: no table, or a damaged one

    /// The roots of one goroutine, contiguous in `all`.
    std::span<const Root> of(std::uint32_t goroutine) const;
    /// Those of no goroutine.
    std::span<const Root> shared() const {
        return std::span(all).first(first_of_goroutine.empty() ? all.size() : first_of_goroutine[0]);
    }
    std::vector<std::uint32_t> first_of_goroutine;  ///< size is goroutines + 1
};

Roots find_roots(const HeapInput& input, const HeapSlots& slots, const HeapPointers& pointers);

/// A root for a person: "main.cache+0x10", "goroutine 7, main.serve, bp-0x48". Symbols are asked: one thread only.
std::string describe_root(const Root& root, const HeapInput& input, const Images* images);

}  // namespace incident::go
