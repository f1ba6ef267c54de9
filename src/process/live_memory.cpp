#include "process/live_memory.h"

#include <algorithm>

#include "base/parallel.h"
#include "base/system_libraries.h"
#include "process/live_stack.h"

namespace incident {

namespace {

/// Which chunks were taken, by where their user's part begins: one bit per 16 bytes of malloc's ranges.
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
    bool taken(Address chunk) const { return bits_[bit_of(chunk)]; }
    /// True the first time.
    bool take(Address chunk) {
        auto bit = bit_of(chunk);
        if (bits_[bit]) return false;
        return bits_[bit] = true;
    }

private:
    std::uint64_t bit_of(Address chunk) const {
        auto after = std::ranges::upper_bound(ranges_, chunk, {}, &AddressRange::begin);
        auto row = static_cast<std::size_t>(after - ranges_.begin()) - 1;
        return first_[row] + (chunk.value - ranges_[row].begin.value) / 16;
    }
    std::span<const AddressRange> ranges_;
    std::vector<std::uint64_t> first_;
    std::vector<bool> bits_;
};

constexpr std::size_t most_chunks = 200'000'000;

}  // namespace

struct LiveMemory::Sweep {
    const Process& process;
    const native::Heaps& heaps;
    const Wanted& wanted;
    Visited visited;
    AddressRange all{};             ///< from the first of malloc's ranges to the last
    std::vector<AddressRange> own;  ///< malloc's arenas, sorted

    /// A part of memory, and what its words are.
    struct Piece {
        AddressRange range;
        Word word;
    };
    /// What a worker found in some pieces, in order: nobody else's business until all of them are done.
    struct Found {
        std::vector<Word> wanted;
        std::vector<Reached> chunks;  ///< in use, not taken before this batch, perhaps twice; without depth
        std::uint64_t words = 0;
    };

    Sweep(const Process& p, const Wanted& w) : process(p), heaps(*p.malloc), wanted(w), visited(heaps) {
        auto ranges = heaps.ranges();
        if (!ranges.empty()) all = {ranges.front().begin, ranges.back().end};
        constexpr std::uint64_t arena_size = 2400;  // struct malloc_state, 2200 at most
        for (const native::Arena& arena : heaps.arenas()) own.push_back({arena.address, arena.address + arena_size});
        std::ranges::sort(own);
        for (const native::ThreadCache& cache : heaps.caches())
            if (auto chunk = heaps.find(cache.address)) visited.take(chunk->user.begin);
    }

    bool is_own(Address a) const {
        auto after = std::ranges::upper_bound(own, a, {}, &AddressRange::begin);
        return after != own.begin() && (after - 1)->contains(a);
    }

    void look(const Word& word, Found& found) const {
        ++found.words;
        const Address to{word.value};
        std::optional<native::Chunk> chunk;
        if (all.contains(to)) chunk = heaps.find(to);
        if (chunk && to < chunk->user.begin) chunk.reset();
        if (wanted(word, chunk ? &*chunk : nullptr)) found.wanted.push_back(word);
        if (chunk && chunk->used() && !visited.taken(chunk->user.begin))
            found.chunks.push_back({chunk->user, word.at, word.source == Source::chunk ? word.chunk : no_chunk, 1});
    }

    void scan(const Piece& piece, MemoryCursor& cursor, Found& found) const {
        Word word = piece.word;
        for (Address at{(piece.range.begin.value + 7) & ~std::uint64_t{7}}; at + 8 <= piece.range.end; at += 8) {
            if (!cursor.load(at, word.value) || word.value == 0) continue;
            if (!own.empty() && is_own(at)) continue;
            word.at = at;
            look(word, found);
        }
    }

    std::vector<Piece> roots() const {
        std::vector<Piece> pieces;
        const auto segments = process.memory.segments();
        // Only what is held of it: a damaged header may call half of the address space a stack.
        auto add = [&](AddressRange range, Word word) {
            constexpr std::uint64_t most = 1 << 18;  // bytes: a huge array is work for several
            auto held =
                std::ranges::upper_bound(segments, range.begin, {}, [](const Segment& s) { return s.range.end; });
            for (; held != segments.end() && held->range.begin < range.end; ++held) {
                const Address end = std::min(range.end, held->range.end);
                for (Address at = std::max(range.begin, held->range.begin); at < end; at += most)
                    pieces.push_back({{at, std::min(end, at + most)}, word});
            }
        };
        for (const Image& image : process.images->all())
            for (const Section& section : image.sections())
                if (section.writable && !section.range.empty() && section.name != ".tbss" && section.name != ".tdata")
                    add(section.range, {.source = Source::data, .image = &image});
        for (const ThreadState& thread : process.core.threads())
            for (AddressRange stack : live_stacks(process, thread)) add(stack, {.source = Source::stack});
        return pieces;
    }

    Found registers() const {
        Found found;
        for (const ThreadState& thread : process.core.threads())
            for (unsigned i = 0; i < thread.registers.machine().registers.size(); ++i)
                if (auto value = thread.registers.get(i); value && *value != 0)
                    look({.at = {}, .value = *value, .source = Source::stack}, found);
        return found;
    }

    /// In parts of `grain` pieces; one result each.
    std::vector<Found> scan_all(std::size_t count, std::size_t grain,
                                const std::function<Piece(std::size_t)>& piece) const {
        std::vector<Found> found((count + grain - 1) / grain);
        parallel_chunks(process.jobs, count, grain, [&](std::size_t begin, std::size_t end, unsigned) {
            MemoryCursor cursor(process.memory);
            for (std::size_t i = begin; i < end; ++i) scan(piece(i), cursor, found[begin / grain]);
        });
        return found;
    }
};

bool LiveMemory::of_system_library(const Word& word) {
    return word.image != nullptr && system_library(word.image->path()) != SystemLibrary::none;
}

LiveMemory::LiveMemory(const Process& process, const Wanted& wanted, const std::function<void(const Word&)>& visit) {
    if (!process.malloc) return;
    Sweep sweep(process, wanted);
    auto take = [&](const Sweep::Found& found) {
        words_ += found.words;
        for (const Word& word : found.wanted) visit(word);
        for (Reached reached : found.chunks) {
            if (chunks_.size() >= most_chunks || !sweep.visited.take(reached.user.begin)) continue;
            if (reached.parent != no_chunk)
                reached.depth =
                    static_cast<std::uint16_t>(std::min<unsigned>(chunks_[reached.parent].depth + 1u, UINT16_MAX));
            chunks_.push_back(reached);
        }
    };
    const std::vector<Sweep::Piece> roots = sweep.roots();
    for (const auto& found : sweep.scan_all(roots.size(), 1, [&](std::size_t i) { return roots[i]; })) take(found);
    take(sweep.registers());
    // What a batch reaches is taken when all of it has been looked at: the order of one queue, however many workers.
    constexpr std::size_t grain = 512, batch = 1 << 16;  // chunks
    for (std::size_t begin = 0; begin < chunks_.size();) {
        const std::size_t end = std::min(chunks_.size(), begin + batch);
        auto piece = [&](std::size_t i) {
            return Sweep::Piece{chunks_[begin + i].user,
                                {.source = Source::chunk, .chunk = static_cast<std::uint32_t>(begin + i)}};
        };
        for (const auto& found : sweep.scan_all(end - begin, grain, piece)) take(found);
        begin = end;
    }
}

std::uint32_t LiveMemory::find(Address user) const {
    auto found = std::ranges::find(chunks_, user, [](const Reached& r) { return r.user.begin; });
    return found == chunks_.end() ? no_chunk : static_cast<std::uint32_t>(found - chunks_.begin());
}

}  // namespace incident
