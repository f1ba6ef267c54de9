// Address: a place in the target, the dead process we read. Never a pointer of ours: it cannot be dereferenced, only
// looked up in Memory. Ranges are half-open.
#pragma once

#include <algorithm>
#include <compare>
#include <cstdint>
#include <functional>

namespace incident {

struct Address {
    std::uint64_t value = 0;

    constexpr auto operator<=>(const Address&) const = default;
    /// Wraps on overflow, as the machine does: whoever adds an untrusted offset checks the result by looking it up.
    constexpr Address operator+(std::uint64_t bytes) const { return {value + bytes}; }
    constexpr Address operator-(std::uint64_t bytes) const { return {value - bytes}; }
    /// Signed distance in bytes.
    constexpr std::int64_t operator-(Address other) const { return static_cast<std::int64_t>(value - other.value); }
    constexpr Address& operator+=(std::uint64_t bytes) {
        value += bytes;
        return *this;
    }

    constexpr bool is_null() const { return value == 0; }
    constexpr bool is_aligned(std::uint64_t alignment) const { return value % alignment == 0; }
    constexpr Address align_down(std::uint64_t alignment) const { return {value - value % alignment}; }
};

/// [begin, end)
struct AddressRange {
    Address begin;
    Address end;

    constexpr auto operator<=>(const AddressRange&) const = default;
    constexpr std::uint64_t size() const { return end > begin ? end.value - begin.value : 0; }
    constexpr bool empty() const { return size() == 0; }
    constexpr bool contains(Address a) const { return a >= begin && a < end; }
    constexpr bool contains(AddressRange r) const { return r.begin >= begin && r.end <= end && r.begin <= r.end; }
    constexpr bool overlaps(AddressRange r) const { return r.begin < end && begin < r.end; }
    constexpr AddressRange intersect(AddressRange r) const {
        AddressRange both{std::max(begin, r.begin), std::min(end, r.end)};
        return both.begin < both.end ? both : AddressRange{begin, begin};
    }
};

}  // namespace incident

template <>
struct std::hash<incident::Address> {
    std::size_t operator()(incident::Address a) const noexcept {
        std::uint64_t x = a.value * 0x9e3779b97f4a7c15ull;
        return static_cast<std::size_t>(x ^ (x >> 32));
    }
};
