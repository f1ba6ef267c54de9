// Locator: words. One line per placement, the same for registers, slots, evidence and the `locate` command; details for
// the latter. Freed memory is the one thing a reader must not overlook, so it alone is in capitals.
#include <algorithm>

#include <elf.h>
#include <fmt/format.h>

#include "base/text.h"
#include "native/malloc.h"
#include "process/locate_state.h"

namespace incident {

namespace {

std::string plus(std::uint64_t offset) { return offset == 0 ? std::string{} : "+" + hex(offset); }

std::string permissions_text(std::uint8_t flags) {
    return {(flags & PF_R) != 0 ? 'r' : '-', (flags & PF_W) != 0 ? 'w' : '-', (flags & PF_X) != 0 ? 'x' : '-'};
}

/// A name that can be one: type_name is asked about any address, and what lies between type descriptors is arbitrary.
std::optional<std::string> sound_type_name(const go::Runtime& runtime, Address a) {
    if (!a.is_aligned(8)) return std::nullopt;
    auto name = runtime.type_name(a);
    bool plain = name && !name->empty() && name->size() < 400 && is_valid_utf8(*name) &&
                 std::ranges::none_of(*name, [](char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7f; });
    return plain ? name : std::nullopt;
}

/// Type of the object by what the span itself says: a malloc header or largeType. Names the allocation's element type.
std::optional<std::string> type_by_span(const LocateContext& context, const go::ObjectRef& object) {
    if (context.runtime == nullptr || object.state == go::SlotState::free) return std::nullopt;
    Address type;
    if (object.span->pointers == go::PointerInfo::span_type) {
        type = object.span->large_type;
    } else if (object.span->pointers == go::PointerInfo::header) {
        if (auto header = context.memory.load_address(object.base)) type = *header;
    }
    return type.is_null() ? std::nullopt : sound_type_name(*context.runtime, type);
}

/// A funcval begins with its function's entry: closures on the heap, static functions in rodata.
std::string funcval_name(const LocateContext& context, Address at) {
    if (context.runtime == nullptr || !at.is_aligned(8)) return {};
    auto entry = context.memory.load_address(at);
    auto func = entry ? context.runtime->find_func(*entry) : std::nullopt;
    return func && func->entry == *entry ? escape_for_terminal(func->name) : std::string{};
}

std::uint64_t header_size(const go::ObjectRef& object) {
    return object.span->pointers == go::PointerInfo::header ? 8 : 0;
}

std::string state_text(const go::ObjectRef& object) {
    switch (object.state) {
        case go::SlotState::free: return "FREE";
        case go::SlotState::unknown: return "allocated or free: unknown";
        case go::SlotState::allocated: break;
    }
    if (auto marked = go::Spans::marked(*object.span, object.index); marked && !*marked)
        return "garbage, not swept yet";
    return "allocated";
}

std::string object_text(const Locator::State& state, const Placement& p) {
    const auto& context = state.context;
    const go::ObjectRef& object = p.object;
    std::uint64_t offset = p.address - object.base > 0 ? p.address.value - object.base.value : 0;
    std::string status = state_text(object);
    if (const auto* row = state.g_at(object.base)) {
        std::string whose =
            row->system ? fmt::format("of a system stack of thread {}", context.goroutines->machines[row->index].tid)
                        : fmt::format("of goroutine {}", context.goroutines->all[row->index].goid);
        return fmt::format("heap: runtime.g {}{}", whose, plus(offset));
    }
    std::string type = context.object_type ? context.object_type(object) : std::string{};
    if (type.empty()) type = type_by_span(context, object).value_or("");
    if (!type.empty()) {
        std::uint64_t header = header_size(object);
        offset = offset >= header ? offset - header : 0;
        return fmt::format("heap: {}{}, {} B, {}", escape_for_terminal(type), plus(offset), object.size, status);
    }
    if (object.state == go::SlotState::allocated)
        if (std::string closure = funcval_name(context, object.base); !closure.empty())
            return fmt::format("heap: closure of {}{}, {} B, {}", closure, plus(offset), object.size, status);
    std::string_view kind = object.state == go::SlotState::free ? "slot" : "object";
    return fmt::format("heap: {} B {}{}{}, {}", object.size, kind, plus(offset),
                       object.span->noscan() ? ", no pointers" : "", status);
}

std::string stack_text(const Placement& p) {
    std::uint64_t below_top = p.range.end.value - p.address.value;
    std::string whose = fmt::format("goroutine {}'s stack", *p.goroutine);
    if (below_top == 0) return whose + ", one past its end";
    if (p.part == StackPart::dead)
        return fmt::format("{}, DEAD part: {} below its sp", whose, hex(p.sp.value - p.address.value));
    std::string in =
        p.frame && !p.frame->name().empty() ? fmt::format(", in {}", escape_for_terminal(p.frame->name())) : "";
    return fmt::format("{}{}, {} below its top{}", whose, in, hex(below_top),
                       p.part == StackPart::unknown ? " (live or dead: unknown)" : "");
}

std::string native_stack_text(const Placement& p) {
    if (p.part == StackPart::unknown) return fmt::format("thread {}'s stack (live or dead: unknown)", *p.thread);
    if (p.address >= p.sp) return fmt::format("thread {}'s stack, sp{}", *p.thread, plus(p.address.value - p.sp.value));
    std::uint64_t below = p.sp.value - p.address.value;
    return fmt::format("thread {}'s stack, {}: {} below its sp", *p.thread,
                       p.part == StackPart::dead ? "DEAD part" : "red zone", hex(below));
}

/// "main.settle+0x4f settle.go:77"; empty when no Go function covers it.
std::string go_text(const go::Runtime* runtime, Address a, bool with_line, bool after_call = false) {
    if (runtime == nullptr) return {};
    auto func = runtime->find_func(after_call ? a - 1 : a);
    if (!func) return {};
    std::string text = escape_for_terminal(func->name) + plus(a.value - func->entry.value);
    if (!with_line || func->table == nullptr) return text;
    // The line of this very function: that of a call inlined into it would stand in another file.
    auto logical = func->table->logical_frames(*func, after_call ? a - 1 : a);
    if (logical.empty() || logical.back().position.file.empty()) return text;
    auto position = logical.back().position;
    return fmt::format("{} {}:{}", text, escape_for_terminal(base_name(position.file)), position.line);
}

/// A symbol and an offset into it, or what a variable's type makes of them.
std::string symbol_text(const Locator::State& state, const Symbol& symbol, Address a) {
    // The version of a symbol that a library defines: "__libc_start_main@GLIBC_2.2.5".
    std::string_view name = symbol.name;
    if (const auto at = name.find('@'); at != 0 && at != std::string_view::npos) name = name.substr(0, at);
    if (a != symbol.address && state.context.variable_path)
        if (std::string typed = state.context.variable_path(a, std::nullopt); !typed.empty())
            return escape_for_terminal(typed);
    return escape_for_terminal(demangle(name)) + plus(a.value - symbol.address.value);
}

/// `after_call`: `a` is a return address, and may be the first byte of the next function.
std::string native_text(const Locator::State& state, const Image& image, Address a, bool after_call = false) {
    auto symbol = image.symbol_at(after_call ? a - 1 : a);
    // `var book = &ledger{}` again, where the compiler's own name for what it points to was kept.
    const bool temporary = symbol && symbol->name.contains("..stmp_");
    if (symbol && !symbol->name.empty() && !temporary) return symbol_text(state, *symbol, a);
    const auto* reference = state.reference_to(a);
    if (temporary && (reference == nullptr || reference->value != symbol->address))
        return symbol_text(state, *symbol, a);
    auto holder = reference != nullptr ? image.symbol_at(reference->holder) : std::nullopt;
    if (!holder || holder->name.empty()) return {};
    const std::uint64_t behind = a.value - reference->value.value;
    if (behind != 0 && state.context.variable_path)
        if (std::string typed = state.context.variable_path(reference->holder, behind); !typed.empty())
            return escape_for_terminal(typed);
    std::string name = symbol_text(state, *holder, reference->holder);
    return behind == 0 ? "*" + name : fmt::format("(*{}){}", name, plus(behind));
}

std::string image_text(const Locator::State& state, const Placement& p, bool after_call = false) {
    const Image& image = *p.image;
    std::string_view file = base_name(image.path());
    std::string module = &image == state.context.images.executable() ? "" : escape_for_terminal(file) + " ";
    if (p.section == nullptr)
        return fmt::format("file: {}{}", escape_for_terminal(file), plus(p.address.value - image.bias()));
    bool text = p.section->executable;
    std::string_view what = text ? "text" : p.section->writable ? "data" : "rodata";
    if (text)
        if (std::string go = go_text(state.context.runtime, p.address, true, after_call); !go.empty())
            return fmt::format("text: {}", go);
    if (!text && state.context.runtime != nullptr) {
        for (const auto& m : state.context.runtime->modules()) {
            if (!m.types.contains(p.address)) continue;
            if (auto name = sound_type_name(*state.context.runtime, p.address))
                return fmt::format("type: {}", escape_for_terminal(*name));
        }
    }
    if (!text && !p.section->writable)
        if (std::string func = funcval_name(state.context, p.address); !func.empty())
            return fmt::format("rodata: func {}", func);
    std::string symbol = native_text(state, image, p.address, after_call && text);
    // The Go linker folds all strings and all types into one symbol each: an offset into those says less than the
    // section.
    bool folded = symbol.starts_with("go:") || symbol.starts_with("go.string") || symbol.starts_with("type:") ||
                  symbol.starts_with("type.*");
    if (symbol.empty() || folded)
        symbol = fmt::format("{}{}", escape_for_terminal(p.section->name),
                             plus(p.address.value - p.section->range.begin.value));
    return fmt::format("{}: {}{}", what, module, symbol);
}

/// "malloc chunk 0x55e0c0a1f2a0+0x8 (64 B, in use)": the address is what malloc returned.
std::string chunk_text(const native::Heaps& heaps, const native::Chunk& chunk, Address a) {
    using native::ChunkState;
    if (chunk.state == ChunkState::top) return "C heap: top of an arena, never handed out";
    if (chunk.state == ChunkState::unknown) return "C heap: between damaged chunks, of unknown state";
    std::string at = hex(chunk.user.begin.value);
    at += a >= chunk.user.begin ? plus(a.value - chunk.user.begin.value)
                                : fmt::format("-{} (its header)", hex(chunk.user.begin.value - a.value));
    return fmt::format("malloc chunk {} ({} B, {})", at, chunk.user.size(), chunk_state_text(heaps, chunk));
}

}  // namespace

std::string chunk_state_text(const native::Heaps& heaps, const native::Chunk& chunk) {
    using native::ChunkState;
    switch (chunk.state) {
        case ChunkState::in_use: return "in use";
        case ChunkState::mmapped: return "in use, a mapping of its own";
        case ChunkState::free_fastbin: return "FREED: in a fastbin";
        case ChunkState::free_unsorted: return "FREED: in the unsorted bin";
        case ChunkState::free_small: return "FREED: in a small bin";
        case ChunkState::free_large: return "FREED: in a large bin";
        case ChunkState::free_unlisted: return "FREED: in no list";
        case ChunkState::free_tcache: {
            auto cache = heaps.cache_of(chunk.address);
            auto tid = cache ? heaps.caches()[*cache].tid : std::nullopt;
            return tid ? fmt::format("FREED: in tcache of thread {}", *tid) : "FREED: in a tcache";
        }
        default: return std::string(native::to_string(chunk.state));
    }
}

std::string Locator::describe(const Placement& p) const {
    const State& s = *state_;
    switch (p.kind) {
        case PlaceKind::null: return "nil";
        case PlaceKind::small_number: return "small number";
        case PlaceKind::non_canonical: return "no user-space address";
        case PlaceKind::unmapped: return "unmapped";
        case PlaceKind::go_stack: return stack_text(p);
        case PlaceKind::go_freed_stack: return fmt::format("FREED stack of {} B", p.range.size());
        case PlaceKind::go_other_stack: return "a goroutine's stack, live or freed: unknown";
        case PlaceKind::g0_stack:
            return fmt::format("system stack of thread {}, {} below its top", *p.thread,
                               hex(p.range.end.value - p.address.value));
        case PlaceKind::gsignal_stack:
            return fmt::format("signal stack of thread {}, {} below its top", *p.thread,
                               hex(p.range.end.value - p.address.value));
        case PlaceKind::native_stack: return native_stack_text(p);
        case PlaceKind::go_object: return object_text(s, p);
        case PlaceKind::go_span_tail: return "heap: behind the last slot of a span";
        case PlaceKind::go_free_page: return "heap: FREE page";
        case PlaceKind::go_unknown_page: return "heap: page of unknown state";
        case PlaceKind::go_manual: return "heap: pages the Go runtime uses itself";
        case PlaceKind::go_runtime: return "Go runtime memory";
        case PlaceKind::image: return image_text(s, p);
        case PlaceKind::mapped_file:
            return fmt::format("file: {}{}", escape_for_terminal(base_name(p.file->path)),
                               plus(p.address.value - p.file->range.begin.value + p.file->file_offset));
        case PlaceKind::vdso: return "vdso";
        case PlaceKind::malloc_chunk:
        case PlaceKind::malloc_heap:
        case PlaceKind::anonymous: break;
    }
    if (s.context.malloc != nullptr)
        if (auto chunk = s.context.malloc->find(p.address)) return chunk_text(*s.context.malloc, *chunk, p.address);
    if (p.kind == PlaceKind::malloc_heap) return "C heap (brk)";
    const State::MappingRow* mapping = s.mapping_at(p.address);
    if (mapping == nullptr) return "anonymous mapping";
    return fmt::format("anonymous mapping, {}, {}", human_size(mapping->range.size()),
                       permissions_text(mapping->permissions));
}

std::string Locator::points_to(std::uint64_t value) const {
    Placement p = place(Address{value});
    switch (p.kind) {
        case PlaceKind::null:
        case PlaceKind::small_number:
        case PlaceKind::non_canonical:
        case PlaceKind::unmapped: return {};
        default: return describe(p);
    }
}

std::string Locator::describe_return(Address pc) const {
    if (std::string go = go_text(state_->context.runtime, pc, true, true); !go.empty()) return "text: " + go;
    const Placement p = place(pc);
    return p.kind == PlaceKind::image ? image_text(*state_, p, true) : describe(p);
}

std::string Locator::symbol(Address a) const {
    if (std::string go = go_text(state_->context.runtime, a, false); !go.empty()) return go;
    const State::SectionRow* row = state_->section_at(a);
    return row == nullptr ? std::string{} : native_text(*state_, *row->image, a);
}

report::Location Locator::location(Address a) const {
    Placement p = place(a);
    report::Location out;
    out.address = a;
    out.kind = to_string(p.kind);
    out.text = describe(p);
    auto add = [&](std::string name, std::string value) {
        out.details.emplace_back(std::move(name), std::move(value));
    };
    auto add_range = [&](std::string name, AddressRange range) {
        add(std::move(name), fmt::format("{}-{} ({} B)", hex(range.begin.value), hex(range.end.value), range.size()));
    };
    const auto& context = state_->context;
    if (p.object.span != nullptr) {
        const go::Span& span = *p.object.span;
        add_range("span", span.range);
        add("mspan", hex(span.mspan.value));
        if (span.state == go::SpanState::in_use) {
            add("size class", span.large() ? "large" : fmt::format("{} ({} B)", span.size_class(), span.elem_size));
            add("pointers", span.noscan() ? "none (noscan)" : "scanned");
        }
        if (p.kind == PlaceKind::go_object) {
            add("slot", fmt::format("{} of {}", p.object.index, span.elem_count));
            add_range("object", p.range);
            add("state", state_text(p.object));
        }
    } else if (p.mapped()) {
        add_range(p.image != nullptr && p.section != nullptr ? "section" : "range", p.range);
    }
    if (p.kind == PlaceKind::malloc_chunk)
        if (auto chunk = context.malloc->find(a)) {
            add("chunk", fmt::format("{} ({} B with its header)", hex(chunk->address.value), chunk->size));
            add("malloc returned", fmt::format("{} ({} B usable)", hex(chunk->user.begin.value), chunk->user.size()));
            add("state", chunk_state_text(*context.malloc, *chunk));
            if (chunk->arena != native::no_arena) {
                const native::Arena& arena = context.malloc->arenas()[chunk->arena];
                add("arena", fmt::format("{}{}", hex(arena.address.value), arena.main ? " (main)" : ""));
            }
        }
    if (p.goroutine) add("goroutine", std::to_string(*p.goroutine));
    if (p.thread) add("thread", std::to_string(*p.thread));
    if (!p.sp.is_null()) add("sp", hex(p.sp.value));
    if (p.frame)
        add("frame", fmt::format("{}, sp {} cfa {}", escape_for_terminal(p.frame->name()), hex(p.frame->sp.value),
                                 hex(p.frame->cfa.value)));
    if (p.image != nullptr) {
        add("file", escape_for_terminal(p.image->path()));
        if (p.section != nullptr) add("section name", escape_for_terminal(p.section->name));
        add("file address", hex(a.value - p.image->bias()));
    } else if (p.file != nullptr) {
        add("file", escape_for_terminal(p.file->path));
        add("file offset", hex(a.value - p.file->range.begin.value + p.file->file_offset));
    }
    if (const State::MappingRow* mapping = state_->mapping_at(a); mapping != nullptr) {
        add_range("mapping", mapping->range);
        add("permissions", permissions_text(mapping->permissions));
    }
    if (p.mapped()) {
        const Segment* segment = context.memory.find(a);
        add("bytes from", segment != nullptr ? std::string(to_string(segment->origin))
                                             : incident::describe(context.memory.explain(a)));
    }
    return out;
}

}  // namespace incident
