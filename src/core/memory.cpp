// Memory: one sweep at freeze() decides for every byte of the address space who holds it.
//
// Surprising: all claims (core segments, spliced file pages, missing ranges) go through the same sweep with a rank, so
// that overlaps of any shape cost O(n log n): cores with 10^5 mappings are real, and hostile ones overlap on purpose.
#include "core/memory.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>

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

template <class Range>
const Range* find_in(const std::vector<Range>& ranges, Address a) noexcept {
    const Range* base = ranges.data();
    std::size_t length = ranges.size();
    if (length == 0) return nullptr;
    while (length > 1) {  // branch-free: the compiler makes a conditional move of it
        std::size_t half = length / 2;
        base += base[half].range.begin <= a ? half : 0;
        length -= half;
    }
    return base->range.contains(a) ? base : nullptr;
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

    struct Stronger {
        bool operator()(const Claim* a, const Claim* b) const { return a->rank != b->rank ? a->rank > b->rank : a < b; }
    };
    std::set<const Claim*, Stronger> active;  // those that may cover `at`; ended ones are dropped when they surface
    std::size_t next = 0;
    Address at{};
    while (next < claims.size() || !active.empty()) {
        while (!active.empty() && (*active.begin())->range.end <= at) active.erase(active.begin());
        if (active.empty()) {
            if (next == claims.size()) break;
            at = std::max(at, claims[next].range.begin);
        }
        while (next < claims.size() && claims[next].range.begin <= at) active.insert(&claims[next++]);
        if (active.empty() || (*active.begin())->range.end <= at) continue;
        const Claim& top = **active.begin();
        Address end = top.range.end;
        // A weaker claim that begins inside `top` changes nothing there; a stronger one cuts it short.
        while (next < claims.size() && claims[next].range.begin < end) {
            if (claims[next].rank > top.rank) {
                end = claims[next].range.begin;
                break;
            }
            active.insert(&claims[next++]);
        }
        if (end > at) emit(top, at, end);
        at = end;
    }
    segments_ = std::move(held);
    missing_ = std::move(missing);
    spliced_.clear();
    spliced_.shrink_to_fit();
}

const Segment* Memory::find(Address a) const noexcept { return find_in(segments_, a); }

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

bool Memory::is_mapped(Address a) const noexcept { return find(a) != nullptr || find_in(missing_, a) != nullptr; }

Error Memory::explain(Address a) const {
    if (find(a) != nullptr) return {ErrorKind::unsupported, "readable, nothing is wrong with it", a};
    if (const MissingRange* range = find_in(missing_, a)) {
        if (range->why == ErrorKind::truncated)
            return {range->why, "mapped, but the core file is cut off before it", a};
        return {range->why, "mapped, but its bytes were not dumped", a};
    }
    return {ErrorKind::unmapped, a.value < 4096 ? "the null page, nothing is mapped there" : "nothing is mapped there",
            a};
}

}  // namespace incident
