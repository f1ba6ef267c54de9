// Spans: the questions. Everything here is [any thread], allocates nothing and never touches the target but for the
// bitmaps, whose places were resolved when the spans were read.
#include "go/heap/spans.h"

#include <algorithm>
#include <bit>

#include "go/heap/spans_state.h"

namespace incident::go {

namespace {

constexpr std::uint64_t inline_mark_block = 128;  // runtime.spanInlineMarkBits: scans[63], owned, marks[63], class

bool bit(const std::byte* bits, std::uint32_t index) {
    return (std::to_integer<unsigned>(bits[index / 8]) >> (index % 8) & 1) != 0;
}

}  // namespace

void Spans::State::index_arenas(std::vector<std::uint64_t> numbers) {
    std::ranges::sort(numbers);
    numbers.erase(std::unique(numbers.begin(), numbers.end()), numbers.end());
    arena_numbers = std::move(numbers);
    pages.resize(arena_numbers.size());
    if (!arena_numbers.empty() && arena_numbers.back() - arena_numbers.front() < (1u << 18)) {
        first_arena = arena_numbers.front();
        direct.assign(arena_numbers.back() - first_arena + 1, no_span);
        for (std::size_t i = 0; i < arena_numbers.size(); ++i)
            direct[arena_numbers[i] - first_arena] = static_cast<std::uint32_t>(i);
    }
    for (std::uint64_t number : arena_numbers) {
        AddressRange arena{{number * arena_bytes}, {(number + 1) * arena_bytes}};
        if (!arenas.empty() && arenas.back().end == arena.begin)
            arenas.back().end = arena.end;
        else
            arenas.push_back(arena);
        totals.arena_bytes += arena_bytes;
    }
}

std::uint32_t Spans::State::find_arena(Address a) const noexcept {
    std::uint64_t number = a.value / arena_bytes;
    if (!direct.empty()) {
        std::uint64_t at = number - first_arena;
        return at < direct.size() ? direct[at] : no_span;
    }
    auto found = std::ranges::lower_bound(arena_numbers, number);
    if (found == arena_numbers.end() || *found != number) return no_span;
    return static_cast<std::uint32_t>(found - arena_numbers.begin());
}

std::span<const Span> Spans::all() const { return state_->spans; }
std::span<const AddressRange> Spans::arenas() const { return state_->arenas; }
const SpanCheck& Spans::check() const { return state_->check; }
const HeapTotals& Spans::totals() const { return state_->totals; }
const std::vector<report::Gap>& Spans::gaps() const { return state_->gaps; }

const Span* Spans::find(Address a) const noexcept {
    std::uint32_t arena = state_->find_arena(a);
    if (arena == no_span) return nullptr;
    const auto* table = state_->pages[arena].get();
    if (table == nullptr) return nullptr;
    std::uint32_t index = (*table)[a.value % arena_bytes / page_bytes];
    return index == no_span ? nullptr : &state_->spans[index];
}

std::optional<ObjectRef> Spans::find_object(Address a) const noexcept {
    const Span* span = find(a);
    if (span == nullptr || span->state != SpanState::in_use) return std::nullopt;
    std::uint32_t index = span->index_of(a);
    if (index >= span->elem_count) return std::nullopt;
    return ObjectRef{span, index, span->slot(index), span->elem_size, slot_state(*span, index)};
}

SlotState Spans::slot_state(const Span& span, std::uint32_t index) noexcept {
    if (span.state != SpanState::in_use || index >= span.elem_count) return SlotState::unknown;
    if (index < span.free_index) return SlotState::allocated;
    if (span.alloc_bytes == nullptr) return SlotState::unknown;
    return bit(span.alloc_bytes, index) ? SlotState::allocated : SlotState::free;
}

std::optional<bool> Spans::marked(const Span& span, std::uint32_t index) noexcept {
    if (!span.needs_sweep || index >= span.elem_count || span.mark_bytes == nullptr) return std::nullopt;
    return bit(span.mark_bytes, index);
}

Address Spans::heap_bits(const Span& span) noexcept {
    if (span.pointers != PointerInfo::span_bitmap) return {};
    // One bit per word of the whole span (go1.22 src/runtime/mbitmap.go, spanHeapBitsRange); green tea's block comes
    // after it.
    Address end = span.range.end - (span.inline_mark_bits ? inline_mark_block : 0);
    return end - span.range.size() / 8 / 8;
}

bool Spans::in_arena(Address a) const noexcept { return state_->find_arena(a) != no_span; }
bool Spans::is_free_page(Address a) const noexcept { return complete() && in_arena(a) && find(a) == nullptr; }
bool Spans::complete() const noexcept { return state_->complete; }

}  // namespace incident::go
