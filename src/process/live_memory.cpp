#include "process/live_memory.h"

#include <algorithm>

namespace incident {

namespace {

/// One bit per 16 bytes of malloc's ranges.
class Visited {
public:
    explicit Visited(const native::Heaps& heaps) : ranges_(heaps.ranges()) {
        std::uint64_t bits = 0;
        for (AddressRange range : ranges_) {
            first_.push_back(bits);
            bits += range.size() / 16 + 1;
        }
        bits_.resize(bits);
    }
    /// True the first time.
    bool take(Address chunk) {
        auto after = std::ranges::upper_bound(ranges_, chunk, {}, &AddressRange::begin);
        auto row = static_cast<std::size_t>(after - ranges_.begin()) - 1;
        auto bit = first_[row] + (chunk.value - ranges_[row].begin.value) / 16;
        if (bits_[bit]) return false;
        return bits_[bit] = true;
    }

private:
    std::span<const AddressRange> ranges_;
    std::vector<std::uint64_t> first_;
    std::vector<bool> bits_;
};

constexpr std::size_t most_chunks = 200'000'000;

}  // namespace

LiveMemory::LiveMemory(const Process& process, const std::function<void(const Word&)>& visit) {
    if (!process.malloc) return;
    const native::Heaps& heaps = *process.malloc;
    auto ranges = heaps.ranges();
    AddressRange all{};
    if (!ranges.empty()) all = {ranges.front().begin, ranges.back().end};
    Visited visited(heaps);
    MemoryCursor cursor(process.memory);

    // malloc's own: arenas, and the caches, which are chunks.
    std::vector<AddressRange> own;
    constexpr std::uint64_t arena_size = 2400;  // struct malloc_state, 2200 at most
    for (const native::Arena& arena : heaps.arenas()) own.push_back({arena.address, arena.address + arena_size});
    std::ranges::sort(own);
    for (const native::ThreadCache& cache : heaps.caches())
        if (auto chunk = heaps.find(cache.address)) visited.take(chunk->address);
    auto is_own = [&](Address a) {
        auto after = std::ranges::upper_bound(own, a, {}, &AddressRange::begin);
        return after != own.begin() && (after - 1)->contains(a);
    };

    auto look = [&](Word word) {
        ++words_;
        visit(word);
        Address to{word.value};
        if (!all.contains(to)) return;
        auto chunk = heaps.find(to);
        if (!chunk || !chunk->used() || to < chunk->user.begin || !visited.take(chunk->address)) return;
        if (chunks_.size() >= most_chunks) return;
        Reached reached{chunk->user, word.at, no_chunk, 1};
        if (word.source == Source::chunk) {
            reached.parent = word.chunk;
            reached.depth = static_cast<std::uint16_t>(std::min<unsigned>(chunks_[word.chunk].depth + 1u, UINT16_MAX));
        }
        chunks_.push_back(reached);
    };
    auto scan = [&](AddressRange range, Word word) {
        for (Address at{(range.begin.value + 7) & ~std::uint64_t{7}}; at + 8 <= range.end; at += 8) {
            if (!cursor.load(at, word.value) || word.value == 0) continue;
            if (!own.empty() && is_own(at)) continue;
            word.at = at;
            look(word);
        }
    };

    for (const Image& image : process.images->all())
        for (const Section& section : image.sections())
            if (section.writable && !section.range.empty() && section.name != ".tbss" && section.name != ".tdata")
                scan(section.range, {.source = Source::data, .image = &image});
    for (const ThreadState& thread : process.core.threads()) {
        const Machine& machine = thread.registers.machine();
        for (unsigned i = 0; i < machine.registers.size(); ++i)
            if (auto value = thread.registers.get(i); value && *value != 0)
                look({.at = {}, .value = *value, .source = Source::stack});
        auto sp = thread.registers.sp();
        if (!sp) continue;
        for (const LoadSegment& segment : process.core.load_segments())
            if (segment.range.contains(*sp) && !heaps.contains(*sp))
                scan({*sp, segment.range.end}, {.source = Source::stack});
    }
    for (std::uint32_t next = 0; next < chunks_.size(); ++next)
        scan(chunks_[next].user, {.source = Source::chunk, .chunk = next});
}

std::uint32_t LiveMemory::find(Address user) const {
    auto found = std::ranges::find(chunks_, user, [](const Reached& r) { return r.user.begin; });
    return found == chunks_.end() ? no_chunk : static_cast<std::uint32_t>(found - chunks_.begin());
}

}  // namespace incident
