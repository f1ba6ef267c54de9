// The account is made mapping by mapping: what `maps` says about one is the default for its bytes, and spans and malloc
// chunks inside take their own share. Only bytes that the core file holds count; `touched` are those of them in pages
// that are not all zero, the nearest thing to resident memory that a core shows.
#include "process/memory_account.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <map>

#include "core/holes.h"
#include "native/malloc.h"
#include "process/maps.h"

namespace incident {

namespace {

constexpr std::uint64_t page = 4096;

/// Groups and rows in the order of the report.
enum Use : std::size_t {
    go_objects,
    go_free_slots,
    go_stacks,
    go_work,
    go_free_pages,
    go_runtime,
    c_used,
    c_used_mmap,
    c_cached,
    c_free,
    c_top,
    c_own,
    c_unread,
    thread_stacks,
    file_code,
    file_data,
    bss,
    anonymous,
    special,
    headers,
    uses
};
struct UseRow {
    std::string_view group, what;
};
constexpr UseRow rows[uses] = {
    {"Go heap", "objects"},
    {"Go heap", "free slots of spans in use"},
    {"Go heap", "goroutine and system stacks"},
    {"Go heap", "the collector's work buffers"},
    {"Go heap", "free pages"},
    {"Go runtime", "its own tables"},
    {"C heap", "blocks in use"},
    {"C heap", "blocks in use, by mmap"},
    {"C heap", "freed, in thread caches and fastbins"},
    {"C heap", "freed, between blocks in use (fragmented)"},
    {"C heap", "top of its arenas, never handed out"},
    {"C heap", "malloc's own"},
    {"C heap", "not read"},
    {"threads", "stacks"},
    {"files", "code and constants"},
    {"files", "data"},
    {"files", "data without a file (.bss)"},
    {"mmap", "anonymous, of unknown use"},
    {"mmap", "guards, vdso and other special ranges"},
    {"core file", "headers and notes"},
};

class Accountant {
public:
    explicit Accountant(const Locator& locator)
        : locator_(locator), context_(locator.context()), holes_(context_.core) {}

    report::MemoryAccount run() {
        report::MemoryAccount account;
        for (const report::Mapping& row : maps_section(locator_)) {
            account.address_space += row.range.size();
            take_mapping(row);
        }
        std::uint64_t sum = 0;
        for (const Sum& use : sums_) sum += use.bytes;
        account.memory = sum;
        std::uint64_t file = 0;  // of a compressed core, as far as its segments reach
        if (context_.core.compression().empty()) file = context_.core.size();
        for (const LoadSegment& segment : context_.core.load_segments())
            if (file == 0 || !context_.core.compression().empty())
                file = std::max(file, segment.file_offset + segment.file_size - segment.lost);
        account.core_bytes = std::max(sum, file);
        sums_[headers].bytes = sums_[headers].touched = account.core_bytes - sum;
        for (std::size_t i = 0; i < uses; ++i)
            if (sums_[i].bytes != 0)
                account.uses.push_back(
                    {std::string(rows[i].group), std::string(rows[i].what), sums_[i].bytes, sums_[i].touched});
        return account;
    }

private:
    struct Sum {
        std::uint64_t bytes = 0, touched = 0;
    };

    /// Segments that the core holds, one by one.
    void take_mapping(const report::Mapping& row) {
        Use use = default_use(row);
        auto segments = context_.memory.segments();
        auto at = std::ranges::upper_bound(segments, row.range.begin, {}, [](const Segment& s) { return s.range.end; });
        for (; at != segments.end() && at->range.begin < row.range.end; ++at)
            if (at->origin == Origin::core) take_piece(at->range.intersect(row.range), use);
    }

    static Use default_use(const report::Mapping& row) {
        const std::string& what = row.what;
        if (!row.path.empty()) return row.permissions.find('w') != std::string::npos ? file_data : file_code;
        if (what.starts_with("Go heap arena")) return go_free_pages;
        if (what.starts_with("C heap")) return what == "C heap (brk)" ? c_unread : c_own;
        if (what.starts_with("stack")) return thread_stacks;
        if (what.find(" .") != std::string::npos) return bss;
        if (what.empty() || what.ends_with("Go runtime memory")) return anonymous;
        return special;
    }

    void take_piece(AddressRange piece, Use use) {
        Address at = piece.begin;
        auto rest_until = [&](Address end) {
            if (end > at) add_rest(use, {at, end});
            at = std::max(at, end);
        };
        // Spans and heaps never overlap; both are sorted.
        std::span<const go::Span> spans;
        if (context_.spans != nullptr && use == go_free_pages) spans = context_.spans->all();
        auto span = std::ranges::upper_bound(spans, piece.begin, {}, [](const go::Span& s) { return s.range.end; });
        for (; span != spans.end() && span->range.begin < piece.end; ++span) {
            AddressRange part = span->range.intersect(piece);
            if (part.empty() || part.begin < at) continue;
            rest_until(part.begin);
            take_span(*span, part);
            at = part.end;
        }
        std::span<const AddressRange> heaps;
        if (context_.malloc != nullptr) heaps = context_.malloc->ranges();
        auto heap = std::ranges::upper_bound(heaps, piece.begin, {}, &AddressRange::end);
        for (; heap != heaps.end() && heap->begin < piece.end; ++heap) {
            if (heap->begin < at) continue;  // it began in the piece before: then its chunks are counted there
            rest_until(heap->begin);
            at = take_heap(static_cast<std::size_t>(heap - heaps.begin()), piece.end);
        }
        rest_until(piece.end);
    }

    /// What nobody else claims; where the runtime keeps its tables, these are it.
    void add_rest(Use use, AddressRange rest) {
        const auto tables = locator_.runtime_tables();
        auto table = std::ranges::upper_bound(tables, rest.begin, {}, &AddressRange::end);
        for (; (use == anonymous || use == c_own) && table != tables.end() && table->begin < rest.end; ++table) {
            const AddressRange part = table->intersect(rest);
            add(use, {rest.begin, part.begin});
            add(go_runtime, part);
            rest.begin = part.end;
        }
        add(use, rest);
    }

    void take_span(const go::Span& span, AddressRange part) {
        if (span.state == go::SpanState::manual) return add(span.elem_size != 0 ? go_stacks : go_work, part);
        if (span.state != go::SpanState::in_use) return add(go_free_pages, part);
        std::uint64_t allocated = 0;
        for (std::uint32_t i = 0; i < span.elem_count; ++i)
            if (go::Spans::slot_state(span, i) == go::SlotState::allocated) allocated += span.elem_size;
        std::uint64_t objects = std::min(allocated, part.size());
        std::uint64_t touched = touched_in(part), of_objects = std::min(touched, objects);
        sums_[go_objects].bytes += objects;
        sums_[go_objects].touched += of_objects;
        sums_[go_free_slots].bytes += part.size() - objects;
        sums_[go_free_slots].touched += touched - of_objects;
    }

    static Use use_of(native::ChunkState state) {
        using native::ChunkState;
        switch (state) {
            case ChunkState::in_use: return c_used;
            case ChunkState::mmapped: return c_used_mmap;
            case ChunkState::free_tcache:
            case ChunkState::free_fastbin: return c_cached;
            case ChunkState::free_unsorted:
            case ChunkState::free_small:
            case ChunkState::free_large:
            case ChunkState::free_unlisted: return c_free;
            case ChunkState::top: return c_top;
            default: return c_own;
        }
    }

    /// Returns where the counted part ends. A heap may go on in the next mapping; what lies there is counted here too
    /// as far as `end`, and by take_piece of that mapping from its beginning on.
    Address take_heap(std::size_t index, Address end) {
        Address at = context_.malloc->ranges()[index].begin;
        context_.malloc->for_each_chunk_in(index, [&](const native::Chunk& chunk) {
            if (chunk.address >= end) return;
            if (chunk.address > at) add(c_own, {at, chunk.address});
            Address stop = std::min(chunk.address + chunk.size, end);
            if (chunk.state == native::ChunkState::mmapped)
                stop = std::min(Address{(chunk.user.end.value + 8 + page - 1) / page * page}, end);
            if (stop <= chunk.address) return;
            add(use_of(chunk.state), {std::max(at, chunk.address), stop});
            at = stop;
        });
        return at;
    }

    void add(Use use, AddressRange range) {
        sums_[use].bytes += range.size();
        sums_[use].touched += touched_in(range);
    }

    /// Bytes of the range in pages that hold something.
    std::uint64_t touched_in(AddressRange range) {
        std::uint64_t bytes = 0;
        for (Address at = range.begin; at < range.end;) {
            if (const Address data = holes_.next_data(at).align_down(page); data > at) {
                at = data;
                continue;
            }
            Address next = std::min(at.align_down(page) + page, range.end);
            if (at.align_down(page) != page_ || !known_) {
                page_ = at.align_down(page);
                known_ = true;
                holds_ = holds_something(page_);
            }
            if (holds_) bytes += next.value - at.value;
            at = next;
        }
        return bytes;
    }
    bool holds_something(Address begin) const {
        const Segment* segment = context_.memory.find(begin);
        if (segment == nullptr || segment->range.end.value - begin.value < page) return true;
        const std::byte* data = segment->data + (begin.value - segment->range.begin.value);
        return data[0] != std::byte{0} || std::memcmp(data, data + 1, page - 1) != 0;
    }

    const Locator& locator_;
    const LocateContext& context_;
    Holes holes_;
    std::array<Sum, uses> sums_{};
    Address page_;
    bool known_ = false, holds_ = false;
};

}  // namespace

report::MemoryAccount memory_account(const Locator& locator) { return Accountant(locator).run(); }

}  // namespace incident
