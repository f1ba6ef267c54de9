// maps and read. Where a mapping's bytes come from is summed from Memory's own segments, so the row says what a read
// gets.
#include "process/maps.h"

#include <algorithm>

#include <elf.h>
#include <fmt/format.h>

#include "base/text.h"
#include "native/malloc.h"

namespace incident {

namespace {

constexpr std::size_t word_limit = 65536;

struct Account {
    std::uint64_t core = 0, file = 0;
};

Account account_of(const Memory& memory, AddressRange range) {
    Account sum;
    auto segments = memory.segments();
    auto at = std::ranges::upper_bound(segments, range.begin, {}, [](const Segment& s) { return s.range.end; });
    for (; at != segments.end() && at->range.begin < range.end; ++at)
        (at->origin == Origin::core ? sum.core : sum.file) += at->range.intersect(range).size();
    return sum;
}

std::string_view origin_text(const Account& sum, std::uint64_t size) {
    if (sum.core == 0 && sum.file == 0) return "absent";
    if (sum.file == 0 && sum.core == size) return "core";
    if (sum.core == 0 && sum.file == size) return "file";
    return "mixed";
}

std::string role(std::uint8_t permissions, std::string_view file) {
    if ((permissions & PF_X) != 0) return fmt::format("{} text", file);
    if ((permissions & PF_W) != 0) return fmt::format("{} data", file);
    return permissions == 0 ? std::string(file) : fmt::format("{} rodata", file);
}

std::string threads_text(const Locator& locator, AddressRange range) {
    std::vector<std::int32_t> threads = locator.threads_in(range);
    if (threads.empty()) return {};
    std::string text;
    for (std::size_t i = 0; i < threads.size() && i < 4; ++i)
        text += (text.empty() ? "" : ", ") + std::to_string(threads[i]);
    if (threads.size() > 4) text += fmt::format(" and {} more", threads.size() - 4);
    return fmt::format("{} {}", threads.size() == 1 ? "stack of thread" : "stacks of threads", text);
}

/// glibc's secondary malloc arenas: 64 MB, aligned to that, the first part of it in use (glibc malloc/arena.c,
/// HEAP_MAX_SIZE).
bool is_malloc_arena(const Locator& locator, AddressRange range, bool reserved) {
    constexpr std::uint64_t size = 64 << 20;
    Address begin = range.begin.align_down(size);
    AddressRange first = locator.mapping(begin), last = locator.mapping(begin + size - 1);
    return first.begin == begin && last.end == begin + size &&
           (reserved ? last == range && first != range : first == range);
}

/// By what was walked: the heaps and blocks of malloc that lie in the mapping.
std::string heap_text(const native::Heaps& heaps, AddressRange range) {
    auto ranges = heaps.ranges();
    auto at = std::ranges::upper_bound(ranges, range.begin, {}, &AddressRange::end);
    if (at == ranges.end() || !at->overlaps(range)) return {};
    auto chunk = heaps.find(at->begin);
    if (chunk && chunk->arena == native::no_arena) {
        auto after = std::ranges::lower_bound(ranges, range.end, {}, &AddressRange::begin);
        auto blocks = after - at;
        return blocks > 1 ? fmt::format("C heap ({} blocks by mmap)", blocks) : "C heap (block by mmap)";
    }
    if (!chunk) return "C heap";
    const native::Arena& arena = heaps.arenas()[chunk->arena];
    return arena.main ? "C heap (main arena)" : fmt::format("C heap (arena {:#x})", arena.address.value);
}

/// What an anonymous mapping is for, judged by its first byte, or by where it lies.
std::string anonymous_text(const Locator& locator, AddressRange range, std::uint8_t permissions) {
    bool reserved = (permissions & (PF_R | PF_W | PF_X)) == 0;
    for (AddressRange arena : locator.arenas())
        if (arena.overlaps(range)) return reserved ? "Go heap arena, reserved" : "Go heap arena";
    if (std::string threads = threads_text(locator, range); !threads.empty()) return threads;
    const auto& context = locator.context();
    if (context.malloc != nullptr)
        if (std::string heap = heap_text(*context.malloc, range); !heap.empty()) return heap;
    const std::uint64_t tables = locator.runtime_bytes(range);
    if (tables != 0 && reserved) return "Go runtime memory, reserved";
    if (tables != 0) return tables >= range.size() / 2 ? "Go runtime memory" : "partly Go runtime memory";
    Placement first = locator.place(range.begin);
    switch (first.kind) {
        case PlaceKind::vdso: return "vdso";
        case PlaceKind::malloc_heap:
            if (context.malloc == nullptr) return "C heap (brk)";
            break;
        case PlaceKind::image:
            if (first.section != nullptr)
                return fmt::format("{} {}", base_name(first.image->path()), first.section->name);
            break;
        default: break;
    }
    if (is_malloc_arena(locator, range, reserved))
        return reserved ? "C heap (malloc arena), reserved" : "C heap (malloc arena)";
    if (!reserved) return {};
    // Right below a thread's stack: its guard.
    Placement next = locator.place(range.end);
    if (next.kind == PlaceKind::native_stack && range.size() <= (1 << 20))
        return fmt::format("guard below the stack of thread {}", *next.thread);
    return "reserved, no access";
}

}  // namespace

std::vector<report::Mapping> maps_section(const LocateContext& context) { return maps_section(Locator(context)); }

std::vector<report::Mapping> maps_section(const Locator& locator) {
    const auto& context = locator.context();
    std::vector<report::Mapping> rows;
    std::vector<AddressRange> seen;
    auto add = [&](AddressRange range, const MappedFile* file, std::optional<std::uint8_t> permissions) {
        report::Mapping row;
        row.range = range;
        Account sum = account_of(context.memory, range);
        row.in_core = sum.core;
        row.origin = origin_text(sum, range.size());
        if (permissions)
            row.permissions = {(*permissions & PF_R) != 0 ? 'r' : '-', (*permissions & PF_W) != 0 ? 'w' : '-',
                               (*permissions & PF_X) != 0 ? 'x' : '-'};
        if (file != nullptr) {
            row.path = file->path;
            row.file_offset = file->file_offset + (range.begin.value - file->range.begin.value);
            row.what = role(permissions.value_or(0), base_name(file->path)) + (file->deleted ? " (deleted)" : "");
        } else {
            row.what = anonymous_text(locator, range, permissions.value_or(0));
        }
        rows.push_back(std::move(row));
        return &rows.back();
    };
    for (const LoadSegment& segment : context.core.load_segments()) {
        add(segment.range, locator.file_at(segment.range.begin), segment.permissions)->lost = segment.lost;
        seen.push_back(segment.range);
    }
    std::ranges::sort(seen);
    for (const MappedFile& file : context.core.mapped_files()) {
        auto after = std::ranges::upper_bound(seen, file.range.begin, {}, &AddressRange::end);
        if (after == seen.end() || !after->overlaps(file.range)) add(file.range, &file, std::nullopt);
    }
    std::ranges::sort(rows, {}, [](const report::Mapping& row) { return row.range; });
    return rows;
}

std::vector<report::Word> read_words(const Locator& locator, Address begin, std::size_t count) {
    const Memory& memory = locator.context().memory;
    std::vector<report::Word> words;
    count = std::min(count, word_limit);
    words.reserve(count);
    Placement last;
    for (std::size_t i = 0; i < count; ++i) {
        report::Word word;
        word.address = begin + i * 8;
        if (word.address < begin) break;  // past the end of the address space
        Placement here = locator.place(word.address);
        // Named symbols at every word; what has none is named where it begins.
        if (here.kind == PlaceKind::image) word.symbol = locator.symbol(word.address);
        if (word.symbol.empty() && (i == 0 || here.kind != last.kind || here.range != last.range ||
                                    here.part != last.part || here.frame != last.frame))
            word.symbol = locator.describe(here);
        last = here;
        if (auto value = memory.load<std::uint64_t>(word.address)) {
            word.value = *value;
            word.points_to = locator.points_to(*value);
            const Segment* segment = memory.find(word.address);
            word.origin = segment != nullptr ? to_string(segment->origin) : "core";
        } else {
            word.origin = describe(value.error());
        }
        words.push_back(std::move(word));
    }
    return words;
}

}  // namespace incident
