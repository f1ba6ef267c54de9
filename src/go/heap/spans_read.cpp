// Spans: reading mheap_.allspans. Every mspan ever made stands in it, dead ones too (state 0), since the runtime
// recycles them. What is read is checked structurally: alignment, arenas, counts and sizes that fit, no overlap; what
// fails is left out and named in a gap, so that a damaged mspan cannot answer questions about memory that is not its
// own.
#include <algorithm>
#include <atomic>
#include <bit>
#include <cstring>

#include <fmt/format.h>

#include "base/parallel.h"
#include "base/text.h"
#include "go/heap/span_reader.h"
#include "go/heap/spans_state.h"

namespace incident::go {

namespace {

constexpr std::uint64_t span_limit = 1ull << 28;  // 2^28 spans are at least 2 TB of heap

/// Which slots are there, by the runtime's three accounts; see the top of spans.h.
std::uint32_t count_allocated(const Span& s) {
    std::uint32_t count = s.free_index;
    for (std::uint32_t i = s.free_index; i < s.elem_count;) {
        std::uint64_t word;
        std::memcpy(&word, s.alloc_bytes + i / 64 * 8, 8);
        std::uint32_t in_word = i % 64, use = std::min<std::uint32_t>(64 - in_word, s.elem_count - i);
        word >>= in_word;
        if (use < 64) word &= (std::uint64_t{1} << use) - 1;
        count += static_cast<std::uint32_t>(std::popcount(word));
        i += use;
    }
    return count;
}

/// Is green tea on? Presence is what counts (it was an experiment in 1.25 and can be switched off later): spans of
/// small objects that keep 128 bytes for their marks hold fewer elements. Each span whose count tells the two apart has
/// one vote.
bool uses_inline_marks(const std::vector<Span>& spans) {
    std::int64_t votes = 0;
    for (const Span& s : spans) {
        if (s.state != SpanState::in_use || s.large() || s.elem_size < 16 || s.elem_size > largest_in_span_bitmap)
            continue;
        std::uint64_t bitmap = s.noscan() ? 0 : s.range.size() / 64;
        std::uint64_t plain = (s.range.size() - bitmap) / s.elem_size;
        std::uint64_t reserved = (s.range.size() - bitmap - inline_mark_block) / s.elem_size;
        if (plain == reserved) continue;
        votes += s.elem_count == reserved ? 1 : -1;
    }
    return votes > 0;
}

struct Reading {
    std::vector<Span> good;
    std::size_t listed = 0, unreadable = 0, damaged = 0;
    Address example;
};

Result<Reading> read_all(const SpanReader& reader, Address mheap, unsigned jobs) {
    const Memory& memory = reader.memory();
    auto list = TRY(load_slice(memory, mheap, reader.layout().mheap.allspans, "mheap_.allspans", span_limit));
    Reading reading;
    reading.listed = list.len;
    std::size_t grain = 4096, chunks = (list.len + grain - 1) / grain;
    std::vector<Reading> parts(chunks);
    parallel_chunks(jobs, list.len, grain, [&](std::size_t begin, std::size_t end, unsigned) {
        MemoryCursor list_cursor(memory), cursor(memory);
        for (std::size_t at = begin; at < end; ++at) {
            Reading& part = parts[at / grain];
            Address mspan;
            Span span;
            auto outcome = SpanReader::Outcome::unreadable;
            if (list_cursor.load(Address{list.data} + at * 8, mspan.value)) outcome = reader.read(cursor, mspan, span);
            if (outcome == SpanReader::Outcome::good) part.good.push_back(span);
            if (outcome == SpanReader::Outcome::unreadable) ++part.unreadable, part.example = mspan;
            if (outcome == SpanReader::Outcome::damaged) ++part.damaged, part.example = mspan;
        }
    });
    std::size_t total = 0;
    for (const Reading& part : parts) total += part.good.size();
    reading.good.reserve(total);
    for (Reading& part : parts) {
        reading.good.insert(reading.good.end(), part.good.begin(), part.good.end());
        reading.unreadable += part.unreadable;
        reading.damaged += part.damaged;
        if (!part.example.is_null() && reading.example.is_null()) reading.example = part.example;
    }
    return reading;
}

/// The runtime's list of arenas, at the machine's offset: the one under which the spans lie in arenas.
Result<std::vector<std::uint64_t>> choose_arenas(const SpanReader& reader, Address mheap,
                                                 const std::vector<Span>& spans) {
    for (std::uint64_t offset : {amd64_arena_offset, std::uint64_t{0}}) {
        auto numbers = TRY(read_arenas(reader.memory(), reader.layout(), mheap, offset));
        std::ranges::sort(numbers);
        std::size_t inside = 0;
        for (const Span& s : spans)
            inside += std::ranges::binary_search(numbers, s.range.begin.value / arena_bytes) ? 1 : 0;
        if (inside * 2 >= spans.size()) return numbers;
    }
    return fail(ErrorKind::corrupt, "most spans lie outside the listed arenas", mheap);
}

Result<std::vector<std::uint64_t>> arenas_of_spans(const std::vector<Span>& spans, Address mheap) {
    std::vector<std::uint64_t> numbers;
    for (const Span& s : spans) {
        std::uint64_t first = s.range.begin.value / arena_bytes, last = (s.range.end.value - 1) / arena_bytes;
        if (last - first > arena_limit || numbers.size() > arena_limit)
            return fail(ErrorKind::corrupt, "spans claim more than the address space", mheap);
        for (std::uint64_t n = first; n <= last; ++n)
            if (numbers.empty() || numbers.back() != n) numbers.push_back(n);
    }
    return numbers;
}

/// Gap of what did not survive the structural checks.
void report_losses(const Reading& reading, const SpanCheck& check, std::vector<report::Gap>& gaps) {
    if (std::size_t lost = reading.unreadable + reading.damaged; lost > 0)
        gaps.push_back({fmt::format("{} of {} heap spans", lost, reading.listed),
                        fmt::format("{} not readable, {} contradict themselves, one at {}", reading.unreadable,
                                    reading.damaged, hex(reading.example.value)),
                        "freed pages cannot be told from pages of these spans", true});
    if (check.unreadable > 0)
        gaps.push_back({fmt::format("allocation bits of {} heap spans", check.unreadable), "not in the core",
                        "whether their objects are allocated or freed is unknown", true});
}

}  // namespace

/// The page table of the arena that holds `a`, made when it is first needed; null: no arena, or too many of them.
Spans::State::PageTable* Spans::State::table_of(Address a) {
    std::uint32_t arena = find_arena(a);
    if (arena == no_span) return nullptr;
    if (pages[arena] == nullptr) {
        if (tables >= table_limit) return nullptr;
        ++tables;
        pages[arena] = std::make_unique<PageTable>();
        pages[arena]->fill(no_span);
    }
    return pages[arena].get();
}

/// Puts each span at its first page and takes them in address order, which sorts them in O(pages); then fills the
/// index. Returns the mspans that lie outside the arenas or claim pages of others.
std::vector<Address> Spans::State::place(const std::vector<Span>& unsorted) {
    std::vector<Address> rejected;
    for (std::uint32_t i = 0; i < unsorted.size(); ++i) {
        const Span& s = unsorted[i];
        PageTable* table = table_of(s.range.begin);
        std::uint32_t* page = table == nullptr ? nullptr : &(*table)[s.range.begin.value % arena_bytes / page_bytes];
        bool fits = s.range.size() / arena_bytes <= table_limit && find_arena(s.range.end - 1) != no_span;
        if (page != nullptr && *page == no_span && fits)
            *page = i;
        else
            rejected.push_back(s.mspan);
    }
    spans.reserve(unsorted.size() - rejected.size());
    for (auto& table : pages) {
        if (table == nullptr) continue;
        for (std::uint32_t& page : *table) {
            if (page == no_span) continue;
            const Span& s = unsorted[page];
            page = no_span;
            if (spans.empty() || spans.back().range.end <= s.range.begin)
                spans.push_back(s);
            else
                rejected.push_back(s.mspan);
        }
    }
    for (std::uint32_t i = 0; i < spans.size(); ++i) {
        for (Address a = spans[i].range.begin; a < spans[i].range.end;) {
            Address stop = std::min(a.align_down(arena_bytes) + arena_bytes, spans[i].range.end);
            if (PageTable* table = table_of(a)) {
                std::fill(table->data() + a.value % arena_bytes / page_bytes,
                          table->data() + (stop.value - 1) % arena_bytes / page_bytes + 1, i);
            }
            a = stop;
        }
    }
    return rejected;
}

/// Per span: where its pointer maps are, and whether its counts agree. Sums go into check and totals.
void Spans::State::examine(const Memory& memory, const RuntimeLayout& layout, const Version& version, unsigned jobs) {
    const HeapEra era{.arena_bitmaps = keeps_arena_bitmaps(layout, version),
                      .inline_marks = version.at_least(25) && uses_inline_marks(spans)};
    std::vector<std::uint32_t> allocated(spans.size());
    parallel_chunks(jobs, spans.size(), 4096, [&](std::size_t begin, std::size_t end, unsigned) {
        for (std::size_t i = begin; i < end; ++i) {
            describe_pointers(spans[i], memory, era);
            if (spans[i].alloc_bytes != nullptr) allocated[i] = count_allocated(spans[i]);
        }
    });
    for (std::uint32_t i = 0; i < spans.size(); ++i) {
        const Span& s = spans[i];
        if (s.state == SpanState::manual) {
            (s.elem_size != 0 ? totals.stack_bytes : totals.work_bytes) += s.range.size();
            continue;
        }
        totals.in_use_bytes += s.range.size();
        if (s.alloc_bytes == nullptr) {
            ++check.unreadable;
            continue;
        }
        totals.objects += allocated[i];
        totals.object_bytes += allocated[i] * s.elem_size;
        ++check.spans;
        if (allocated[i] == s.alloc_count)
            ++check.equal;
        else if (check.unequal.size() < 64)
            check.unequal.push_back(i);
    }
}

Result<Spans> Spans::read(const Memory& memory, const RuntimeLayout& layout, const Version& version, Address mheap,
                          unsigned jobs) {
    SpanReader reader = TRY(SpanReader::create(memory, layout, version, mheap));
    Reading reading = TRY(read_all(reader, mheap, jobs));

    auto state = std::make_shared<State>();
    auto numbers = choose_arenas(reader, mheap, reading.good);
    if (!numbers) {
        state->gaps.push_back({"the list of heap arenas", describe(numbers.error()),
                               "arenas were taken from the spans: one without any span is not known", true});
        numbers = TRY(arenas_of_spans(reading.good, mheap));
    }
    state->index_arenas(std::move(*numbers));
    // 64 GB of heap, or four times what the core holds: pages that were never touched are not in it.
    std::uint64_t held = 0;
    for (const Segment& segment : memory.segments()) held += segment.range.size();
    state->table_limit = std::max<std::size_t>(state->table_limit, held / arena_bytes * 4);
    auto rejected = state->place(reading.good);
    reading.damaged += rejected.size();
    if (!rejected.empty()) reading.example = rejected.front();
    reading.good = {};
    state->complete = reading.unreadable + reading.damaged == 0;
    state->examine(memory, layout, version, jobs);
    report_losses(reading, state->check, state->gaps);
    return Spans(std::move(state));
}

}  // namespace incident::go
