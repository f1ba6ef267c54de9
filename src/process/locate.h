// locate: one address, one answer for everyone: "what is this?" Registers, slots, evidence and the `locate` command all
// print the same line. The Locator joins what the passes found: goroutine stacks, spans, images, mappings, thread
// stacks.
//
// place() is cheap (no libdw; no allocation when there is an index of spans) and [any thread]: use it in loops over
// millions of words. describe() and location() name symbols and belong to the one thread that may touch libdw.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/core_file.h"
#include "core/memory.h"
#include "go/binary/runtime.h"
#include "go/heap/spans.h"
#include "go/stacks/goroutines.h"
#include "go/stacks/stack_set.h"
#include "image/images.h"
#include "report/report.h"

namespace incident {

namespace native {
class Heaps;  // native/malloc.h
struct Chunk;
}  // namespace native

/// What is known so far; null or empty parts were not computed and their answers degrade to the next best.
struct LocateContext {
    const CoreFile& core;
    const Memory& memory;
    const Images& images;
    const go::Runtime* runtime = nullptr;
    const go::GoroutineList* goroutines = nullptr;
    const go::Spans* spans = nullptr;      ///< null: heap addresses are looked up one by one in the runtime's tables
    const go::GoStacks* stacks = nullptr;  ///< parallel to goroutines->all; null or empty: not walked
    /// Type of a Go heap object, when a pass knows it better than the span does ("main.Tx"); may be empty.
    std::function<std::string(const go::ObjectRef&)> object_type = {};
    /// A package variable's word, or what lies behind the pointer there, by its type ("main.accounts[1].mu"); may be
    /// empty. go::variable_path.
    std::function<std::string(Address, std::optional<std::uint64_t> behind)> variable_path = {};
    const native::Heaps* malloc = nullptr;  ///< null: chunks are not told apart, only "C heap (brk)" is
};

enum class PlaceKind : std::uint8_t {
    null,
    small_number,   ///< below the lowest mappable address, or a small negative number
    non_canonical,  ///< no machine address of user space
    unmapped,
    go_stack,         ///< the stack of a goroutine: see `part`
    go_freed_stack,   ///< a stack span, but no goroutine of ours lives there: given back, or of a dead goroutine
    go_other_stack,   ///< a stack span, and not every goroutine was read: whose, or whether freed, is unknown
    g0_stack,         ///< system stack of an M
    gsignal_stack,    ///< signal stack of an M
    native_stack,     ///< mapping that holds a thread's sp
    go_object,        ///< a slot of a heap span: see `object`
    go_span_tail,     ///< inside a heap span, behind its last slot: bitmaps, marks
    go_free_page,     ///< heap page in no span: given back or never used
    go_unknown_page,  ///< heap page in no span that we could read
    go_manual,        ///< heap pages the runtime uses itself (work buffers)
    go_runtime,       ///< the runtime's off-heap memory: mspans, bitmaps, tables
    image,            ///< section of a mapped ELF file
    mapped_file,      ///< file mapping without an image
    vdso,
    malloc_chunk,  ///< a chunk of glibc's malloc, see `chunk_free`; top and what damage hides are `malloc_heap`
    malloc_heap,   ///< [heap], what follows brk
    anonymous,
};
std::string_view to_string(PlaceKind kind);

enum class StackPart : std::uint8_t { unknown, live, dead };

struct Placement {
    Address address;
    PlaceKind kind = PlaceKind::unmapped;
    AddressRange range;  ///< the stack, slot, span, section or mapping that holds it
    // stacks
    StackPart part = StackPart::unknown;
    Address sp;                              ///< of the stack's owner; null: unknown
    std::optional<std::int64_t> goroutine;   ///< go_stack
    std::optional<std::int32_t> thread;      ///< g0, gsignal, native stacks
    std::optional<go::PhysicalFrame> frame;  ///< go_stack, live: whose frame, when stacks were walked
    // heap
    go::ObjectRef object;
    std::shared_ptr<const go::Span> own_span;  ///< without an index of spans: keeps object.span alive
    bool chunk_free = false;                   ///< malloc_chunk: given back
    // files
    const Image* image = nullptr;
    const Section* section = nullptr;  ///< null: between sections
    const MappedFile* file = nullptr;

    bool mapped() const { return kind > PlaceKind::unmapped; }
    /// A place whose content is gone by the runtime's own rules.
    bool freed() const {
        return kind == PlaceKind::go_freed_stack || kind == PlaceKind::go_free_page ||
               (kind == PlaceKind::go_object && object.state == go::SlotState::free) ||
               (kind == PlaceKind::malloc_chunk && chunk_free) ||
               ((kind == PlaceKind::go_stack || kind == PlaceKind::native_stack) && part == StackPart::dead);
    }
};

/// "in use", "FREED: in tcache of thread 12".
std::string chunk_state_text(const native::Heaps& heaps, const native::Chunk& chunk);

class Locator {
public:
    struct State;  ///< private to process/

    /// Keeps references into `context`, which must outlive it.
    explicit Locator(LocateContext context);
    Locator(Locator&&) noexcept;
    ~Locator();

    const LocateContext& context() const;
    Placement place(Address a) const;  ///< [any thread]
    /// The line everybody prints: "heap: main.Tx, 48 B, allocated", "data: main.ledger+0x8", "unmapped".
    std::string describe(const Placement& placement) const;
    std::string describe(Address a) const { return describe(place(a)); }
    /// A return address: "text: main.worker+0x37 ledger.go:88", the line being that of the call before it.
    std::string describe_return(Address pc) const;
    /// As describe(), but empty where a plain number needs no remark (small numbers, unmapped values).
    std::string points_to(std::uint64_t value) const;
    /// Symbol that covers `a`: "main.ledger+0x8", "main.settle+0x4f"; empty: none.
    std::string symbol(Address a) const;
    report::Location location(Address a) const;            ///< with details
    const MappedFile* file_at(Address a) const;            ///< row of NT_FILE; null: none [any thread]
    std::span<const AddressRange> arenas() const;          ///< of the Go heap; empty: unknown
    std::span<const AddressRange> runtime_tables() const;  ///< see runtime_tables.h
    /// Bytes of them in `range`: the runtime has its hands in that mapping. [any thread]
    std::uint64_t runtime_bytes(AddressRange range) const;
    AddressRange mapping(Address a) const;  ///< PT_LOAD that holds `a`; empty: none [any thread]
    std::vector<std::int32_t> threads_in(
        AddressRange mapping) const;  ///< whose stacks lie in this mapping [any thread]

private:
    std::unique_ptr<State> state_;
};

}  // namespace incident
