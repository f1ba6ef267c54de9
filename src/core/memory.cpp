// Memory: one sweep at freeze() decides for every byte of the address space who holds it.
//
// Surprising: all claims (core segments, spliced file pages, missing ranges) go through the same sweep with a rank, so
// that overlaps of any shape cost O(n log n): cores with 10^5 mappings are real, and hostile ones overlap on purpose.
#include "core/memory.h"

#include <fmt/format.h>

#include <algorithm>
#include <queue>

namespace incident {

namespace {

/// One claim on a range. The highest rank wins.
struct Claim {
    AddressRange range;
    std::uint64_t rank;
    const Segment* segment;  // null: a missing range
    ErrorKind why = ErrorKind::absent;
};

bool continues(const Segment& left, const Segment& right) {
    return left.range.end == right.range.begin && left.data + left.range.size() == right.data &&
           left.origin == right.origin && left.permissions == right.permissions;
}

/// Index of the last of `begins` (sorted, not empty) that is not above `a`, or 0. Multiplying instead of branching:
/// random addresses defeat the branch predictor, and this is on every hot path.
std::size_t floor_index(const std::vector<std::uint64_t>& begins, std::uint64_t a) noexcept {
    const std::uint64_t* base = begins.data();
    for (std::size_t length = begins.size(); length > 1;) {
        std::size_t half = length / 2;
        base += static_cast<std::size_t>(base[half] <= a) * half;
        length -= half;
    }
    return static_cast<std::size_t>(base - begins.data());
}

const MissingRange* find_missing(std::span<const MissingRange> ranges, Address a) noexcept {
    auto above = std::ranges::upper_bound(ranges, a, {}, [](const MissingRange& m) { return m.range.begin; });
    if (above == ranges.begin()) return nullptr;
    const MissingRange& below = *std::prev(above);
    return below.range.contains(a) ? &below : nullptr;
}

}  // namespace

std::string_view to_string(Origin origin) {
    switch (origin) {
        case Origin::core: return "core";
        case Origin::file_verified: return "file";
        case Origin::file_unverified: return "unverified file";
    }
    return "unknown";
}

void Memory::add(Segment segment) {
    if (!segment.range.empty()) segments_.push_back(segment);
}

void Memory::splice(Segment segment) {
    if (!segment.range.empty()) spliced_.push_back(segment);
}

void Memory::add_missing(MissingRange missing) {
    if (!missing.range.empty()) missing_.push_back(missing);
}

void Memory::freeze() {
    // Ranks, from weak to strong: absent, truncated, spliced (the first one wins), core (the last one wins).
    std::vector<Claim> claims;
    claims.reserve(segments_.size() + spliced_.size() + missing_.size());
    for (const auto& m : missing_) claims.push_back({m.range, m.why == ErrorKind::truncated ? 1u : 0u, nullptr, m.why});
    std::uint64_t rank = 2 + spliced_.size();
    for (const auto& s : spliced_) claims.push_back({s.range, --rank, &s});
    rank = 2 + spliced_.size();
    for (const auto& s : segments_) claims.push_back({s.range, rank++, &s});
    std::sort(claims.begin(), claims.end(),
              [](const Claim& a, const Claim& b) { return a.range.begin < b.range.begin; });

    std::vector<Segment> held;
    std::vector<MissingRange> missing;
    auto emit = [&](const Claim& claim, Address begin, Address end) {
        if (claim.segment == nullptr) {
            if (!missing.empty() && missing.back().range.end == begin && missing.back().why == claim.why)
                missing.back().range.end = end;
            else
                missing.push_back({{begin, end}, claim.why});
            return;
        }
        Segment piece = *claim.segment;
        piece.data += begin.value - claim.range.begin.value;
        piece.range = {begin, end};
        if (!held.empty() && continues(held.back(), piece))
            held.back().range.end = end;
        else
            held.push_back(piece);
    };

    struct Weaker {
        bool operator()(const Claim* a, const Claim* b) const { return a->rank < b->rank; }
    };
    // Those that may cover `at`, strongest on top; ended ones are dropped when they surface.
    std::priority_queue<const Claim*, std::vector<const Claim*>, Weaker> active;
    std::size_t next = 0;
    Address at{};
    while (next < claims.size() || !active.empty()) {
        while (!active.empty() && active.top()->range.end <= at) active.pop();
        if (active.empty()) {
            if (next == claims.size()) break;
            at = std::max(at, claims[next].range.begin);
        }
        while (next < claims.size() && claims[next].range.begin <= at) active.push(&claims[next++]);
        if (active.empty() || active.top()->range.end <= at) continue;
        const Claim& top = *active.top();
        Address end = top.range.end;
        // A weaker claim that begins inside `top` changes nothing there; a stronger one cuts it short.
        while (next < claims.size() && claims[next].range.begin < end) {
            if (claims[next].rank > top.rank) {
                end = claims[next].range.begin;
                break;
            }
            active.push(&claims[next++]);
        }
        if (end > at) emit(top, at, end);
        at = end;
    }
    segments_ = std::move(held);
    missing_ = std::move(missing);
    spliced_.clear();
    spliced_.shrink_to_fit();
    begins_.clear();
    begins_.reserve(segments_.size());
    for (const auto& segment : segments_) begins_.push_back(segment.range.begin.value);
}

const Segment* Memory::find(Address a) const noexcept {
    if (begins_.empty()) return nullptr;
    const Segment* segment = &segments_[floor_index(begins_, a.value)];
    return segment->range.contains(a) ? segment : nullptr;
}

Result<std::span<const std::byte>> Memory::view(Address a, std::size_t size) const {
    if (size == 0) return std::span<const std::byte>{};
    const Segment* segment = find(a);
    if (segment == nullptr) return std::unexpected(explain(a));
    std::uint64_t held = segment->range.end.value - a.value;
    if (held >= size) return std::span(segment->data + (a.value - segment->range.begin.value), size);
    // Which byte is the first that is missing? If none is, the caller must copy with load().
    for (Address at = segment->range.end; size > held;) {
        const Segment* following = find(at);
        if (following == nullptr) return std::unexpected(explain(at));
        held += following->range.size();
        at = following->range.end;
    }
    return fail(ErrorKind::unsupported, fmt::format("{} bytes cross from one segment of the core to the next", size),
                a);
}

Result<std::span<const std::byte>> Memory::view_up_to(Address a, std::size_t limit) const {
    const Segment* segment = find(a);
    if (segment == nullptr) return std::unexpected(explain(a));
    std::uint64_t held = segment->range.end.value - a.value;
    return std::span(segment->data + (a.value - segment->range.begin.value), std::min<std::uint64_t>(held, limit));
}

Result<void> Memory::load(Address a, std::span<std::byte> out) const {
    while (!out.empty()) {
        const Segment* segment = find(a);
        if (segment == nullptr) return std::unexpected(explain(a));
        std::uint64_t held = std::min<std::uint64_t>(segment->range.end.value - a.value, out.size());
        std::memcpy(out.data(), segment->data + (a.value - segment->range.begin.value), held);
        out = out.subspan(held);
        a += held;
    }
    return {};
}

Result<std::string_view> Memory::view_cstring(Address a, std::size_t limit) const {
    auto bytes = TRY(view_up_to(a, limit));
    const auto* text = reinterpret_cast<const char*>(bytes.data());
    if (const void* nul = std::memchr(text, 0, bytes.size()))
        return std::string_view(text, static_cast<const char*>(nul));
    if (bytes.size() == limit)
        return fail(ErrorKind::corrupt, fmt::format("no end of string within {} bytes", limit), a);
    Address beyond = a + bytes.size();
    if (find(beyond) != nullptr)
        return fail(ErrorKind::unsupported, "the string crosses from one segment of the core to the next", a);
    return std::unexpected(explain(beyond));
}

bool Memory::is_mapped(Address a) const noexcept { return find(a) != nullptr || find_missing(missing_, a) != nullptr; }

Error Memory::explain(Address a) const {
    if (find(a) != nullptr) return {ErrorKind::unsupported, "readable, nothing is wrong with it", a};
    if (const MissingRange* range = find_missing(missing_, a)) {
        if (range->why == ErrorKind::truncated)
            return {range->why, "mapped, but the core file is cut off before it", a};
        return {range->why, "mapped, but its bytes were not dumped", a};
    }
    return {ErrorKind::unmapped, a.value < 4096 ? "the null page, nothing is mapped there" : "nothing is mapped there",
            a};
}

}  // namespace incident
