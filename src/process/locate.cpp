// Locator: place(), the hot part. Heap first (most addresses that matter lie there), then stacks, images, mappings.
#include "process/locate.h"

#include <algorithm>

#include "native/malloc.h"
#include "process/locate_state.h"

namespace incident {

namespace {

constexpr std::uint64_t lowest_mappable = 0x10000;  // vm.mmap_min_addr, as distributions ship it
constexpr std::int64_t small_negative = -0x10000;

}  // namespace

std::string_view to_string(PlaceKind kind) {
    switch (kind) {
        case PlaceKind::null: return "nil";
        case PlaceKind::small_number: return "number";
        case PlaceKind::non_canonical: return "non-canonical";
        case PlaceKind::unmapped: return "unmapped";
        case PlaceKind::go_stack: return "go-stack";
        case PlaceKind::go_freed_stack: return "go-stack-freed";
        case PlaceKind::go_other_stack: return "go-stack-unknown";
        case PlaceKind::g0_stack: return "go-system-stack";
        case PlaceKind::gsignal_stack: return "go-signal-stack";
        case PlaceKind::native_stack: return "native-stack";
        case PlaceKind::go_object: return "go-heap";
        case PlaceKind::go_span_tail: return "go-heap-tail";
        case PlaceKind::go_free_page: return "go-heap-free-page";
        case PlaceKind::go_unknown_page: return "go-heap-unknown";
        case PlaceKind::go_manual: return "go-heap-manual";
        case PlaceKind::go_runtime: return "go-runtime";
        case PlaceKind::image: return "image";
        case PlaceKind::mapped_file: return "file";
        case PlaceKind::vdso: return "vdso";
        case PlaceKind::malloc_chunk: return "malloc-chunk";
        case PlaceKind::malloc_heap: return "native-heap";
        case PlaceKind::anonymous: return "mapping";
    }
    return "unknown";
}

Locator::Locator(LocateContext context) : state_(std::make_unique<State>(std::move(context))) {}
Locator::Locator(Locator&&) noexcept = default;
Locator::~Locator() = default;

const LocateContext& Locator::context() const { return state_->context; }

const MappedFile* Locator::file_at(Address a) const { return state_->file_at(a); }

std::span<const AddressRange> Locator::arenas() const { return state_->arenas(); }
std::span<const AddressRange> Locator::runtime_tables() const { return state_->tables; }

std::uint64_t Locator::runtime_bytes(AddressRange range) const {
    const auto& tables = state_->tables;
    std::uint64_t bytes = 0;
    auto table = std::ranges::upper_bound(tables, range.begin, {}, &AddressRange::end);
    for (; table != tables.end() && table->begin < range.end; ++table) bytes += table->intersect(range).size();
    return bytes;
}

AddressRange Locator::mapping(Address a) const {
    const State::MappingRow* row = state_->mapping_at(a);
    return row == nullptr ? AddressRange{} : row->range;
}

std::vector<std::int32_t> Locator::threads_in(AddressRange mapping) const {
    std::vector<std::int32_t> found;
    for (const State::ThreadRow& row : state_->threads)
        if (row.mapping == mapping) found.push_back(row.tid);
    std::ranges::sort(found);
    return found;
}

const Locator::State::MappingRow* Locator::State::mapping_at(Address a) const { return detail::find_row(mappings, a); }
const Locator::State::SectionRow* Locator::State::section_at(Address a) const { return detail::find_row(sections, a); }

const MappedFile* Locator::State::file_at(Address a) const {
    auto after = std::ranges::upper_bound(files, a, {}, [](const MappedFile* file) { return file->range.begin; });
    if (after == files.begin() || !(*(after - 1))->range.contains(a)) return nullptr;
    return *(after - 1);
}

const Locator::State::GRow* Locator::State::g_at(Address base) const {
    auto found = std::ranges::lower_bound(gs, base, {}, &GRow::g);
    return found != gs.end() && found->g == base && !base.is_null() ? &*found : nullptr;
}

std::optional<go::PhysicalFrame> Locator::State::frame_at(std::uint32_t goroutine, Address a) const {
    if (context.stacks == nullptr) return std::nullopt;
    const auto frames = context.stacks->physical(goroutine);
    auto holds = [&](const go::PhysicalFrame& f) {
        return f.owner == go::StackOwner::goroutine && a >= f.sp && a < f.cfa;
    };
    if (frames_off_stack[goroutine]) {
        auto found = std::ranges::find_if(frames, holds);
        return found == frames.end() ? std::nullopt : std::optional(*found);
    }
    auto found = std::ranges::upper_bound(frames, a, {}, &go::PhysicalFrame::cfa);  // the first whose end lies above a
    return found != frames.end() && holds(*found) ? std::optional(*found) : std::nullopt;
}

bool Locator::State::place_stack(Placement& p) const {
    const StackRow* row = detail::find_row(stacks, p.address);
    // stack.hi itself belongs to nobody, and g, _cgo_topofstack and frames hold it: it must not look like freed memory.
    if (row == nullptr) row = detail::find_row(stacks, p.address - 1);
    if (row == nullptr) return false;
    p.kind = PlaceKind::go_stack;
    p.range = row->range;
    p.goroutine = context.goroutines->all[row->index].goid;
    p.sp = stack_sp[row->index];
    if (p.sp.is_null()) return true;
    p.part = p.address >= p.sp ? StackPart::live : StackPart::dead;
    if (p.part == StackPart::live) p.frame = frame_at(row->index, p.address);
    return true;
}

bool Locator::State::place_system_stack(Placement& p) const {
    const SystemRow* row = detail::find_row(systems, p.address);
    if (row == nullptr) row = detail::find_row(systems, p.address - 1);
    if (row == nullptr) return false;
    p.kind = row->signal ? PlaceKind::gsignal_stack : PlaceKind::g0_stack;
    p.range = row->range;
    const auto& m = context.goroutines->machines[row->index];
    p.thread = m.tid;
    for (const ThreadState& thread : context.core.threads()) {
        if (thread.tid != m.tid) continue;
        // Only a thread that stands on this very stack says where it ends; g0's frames are kept alive below otherwise.
        if (auto sp = thread.registers.sp(); sp && row->range.contains(*sp)) {
            p.sp = *sp;
            p.part = p.address >= *sp ? StackPart::live : StackPart::dead;
        }
        break;
    }
    return true;
}

bool Locator::State::place_native_stack(Placement& p, const MappingRow& mapping) const {
    // The thread with the highest sp at or below the address owns it; below all of them, the lowest one's dead part.
    auto after = std::ranges::upper_bound(threads, p.address, {}, &ThreadRow::sp);
    const ThreadRow* owner = nullptr;
    if (after != threads.begin() && (after - 1)->mapping == mapping.range)
        owner = &*(after - 1);
    else if (after != threads.end() && after->mapping == mapping.range)
        owner = &*after;
    if (owner == nullptr || owner->shared) return false;
    p.kind = PlaceKind::native_stack;
    p.range = mapping.range;
    p.thread = owner->tid;
    if (!owner->sp_known) return true;
    p.sp = owner->sp;
    // What lies within the red zone below sp may be live in a leaf function.
    bool live = p.address + context.core.machine().red_zone >= owner->sp;
    p.part = live ? StackPart::live : StackPart::dead;
    return true;
}

const go::Span* Locator::State::heap_span(Placement& p, bool* known) const {
    if (context.spans != nullptr) {
        *known = context.spans->complete();
        return context.spans->find(p.address);
    }
    auto found = lookup->find(p.address);
    *known = found.has_value();
    if (!found || !*found) return nullptr;
    p.own_span = std::make_shared<const go::Span>(**found);
    return p.own_span.get();
}

void Locator::State::place_heap(Placement& p) const {
    bool known = false;
    const go::Span* span = heap_span(p, &known);
    if (span == nullptr) {
        Address page = p.address.align_down(8192);
        p.range = {page, page + 8192};
        p.kind = known ? PlaceKind::go_free_page : PlaceKind::go_unknown_page;
        place_stack(p);
        return;
    }
    p.range = span->range;
    if (span->state == go::SpanState::in_use) {
        p.object.span = span;
        std::uint32_t index = span->index_of(p.address);
        if (index >= span->elem_count) {
            p.kind = PlaceKind::go_span_tail;
            return;
        }
        p.kind = PlaceKind::go_object;
        p.object = {span, index, span->slot(index), span->elem_size, go::Spans::slot_state(*span, index)};
        p.range = {p.object.base, p.object.base + p.object.size};
        return;
    }
    if (place_stack(p) || place_system_stack(p)) return;
    p.object.span = span;
    // elemsize is set for spans that stacks are carved from, and only for those (go1.16–1.27 src/runtime/stack.go).
    if (span->elem_size == 0 || context.goroutines == nullptr) {
        p.kind = PlaceKind::go_manual;
        return;
    }
    bool all_known = context.goroutines->which == go::Which::all && context.goroutines->gaps.empty();
    p.kind = all_known ? PlaceKind::go_freed_stack : PlaceKind::go_other_stack;
    Address slot = span->range.begin + (p.address.value - span->range.begin.value) / span->elem_size * span->elem_size;
    p.range = {slot, slot + span->elem_size};
}

/// Thread stacks may be chunks themselves (Go's C threads get theirs from mmap, others from malloc): a chunk in use
/// that holds a thread's sp is its stack.
bool Locator::State::place_chunk(Placement& p) const {
    if (context.malloc == nullptr || !context.malloc->contains(p.address)) return false;
    auto chunk = context.malloc->find(p.address);
    if (!chunk) return false;
    if (chunk->used()) {
        auto thread = std::ranges::lower_bound(threads, chunk->user.begin, {}, &ThreadRow::sp);
        if (thread != threads.end() && thread->sp_known && chunk->user.contains(thread->sp)) return false;
    }
    p.range = {chunk->address, chunk->address + chunk->size};
    bool told = chunk->free() || chunk->used();
    p.kind = told ? PlaceKind::malloc_chunk : PlaceKind::malloc_heap;
    p.chunk_free = chunk->free();
    return true;
}

Placement Locator::place(Address a) const {
    Placement p;
    p.address = a;
    auto as_number = static_cast<std::int64_t>(a.value);
    if (a.value < lowest_mappable || (as_number < 0 && as_number >= small_negative)) {
        p.kind = a.is_null() ? PlaceKind::null : PlaceKind::small_number;
        return p;
    }
    const State& s = *state_;
    if (a.value >> s.context.core.machine().canonical_bits != 0) {
        p.kind = PlaceKind::non_canonical;
        return p;
    }
    if (s.in_arena(a)) {
        s.place_heap(p);
        return p;
    }
    if (s.place_stack(p)) return p;

    const State::MappingRow* mapping = s.mapping_at(a);
    if (s.place_chunk(p)) return p;
    if (mapping != nullptr && !mapping->file && s.place_native_stack(p, *mapping)) return p;
    if (s.place_system_stack(p)) return p;
    if (const State::SectionRow* row = s.section_at(a)) {
        p.kind = PlaceKind::image;
        p.range = row->range;
        p.image = row->image;
        p.section = row->section;
        p.file = s.file_at(a);
        return p;
    }
    p.file = s.file_at(a);
    if (const Image* image = s.context.images.find(a); image != nullptr && (p.file != nullptr || mapping == nullptr)) {
        p.kind = PlaceKind::image;
        p.image = image;
        p.range = image->range();
        if (mapping != nullptr || s.context.memory.is_mapped(a)) return p;
        p.kind = PlaceKind::unmapped;  // a hole between its segments
        p.image = nullptr;
        return p;
    }
    if (p.file != nullptr) {
        p.kind = PlaceKind::mapped_file;
        p.range = p.file->range;
        return p;
    }
    if (mapping == nullptr) {
        p.kind = s.context.memory.is_mapped(a) ? PlaceKind::anonymous : PlaceKind::unmapped;
        return p;
    }
    p.range = mapping->range;
    const AddressRange* table = detail::find_range(s.tables, a);
    if (mapping->vdso)
        p.kind = PlaceKind::vdso;
    else if (table != nullptr)
        p.kind = PlaceKind::go_runtime, p.range = table->intersect(mapping->range);
    else if (mapping->brk)
        p.kind = PlaceKind::malloc_heap;
    else
        p.kind = PlaceKind::anonymous;
    return p;
}

}  // namespace incident
