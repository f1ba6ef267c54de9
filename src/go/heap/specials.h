// Specials of a span: what the runtime notes beside an object. Layout facts: go1.16–1.27 src/runtime/mheap.go. For
// go/heap and go/sync.
#pragma once

#include <cstdint>
#include <optional>

#include "go/binary/layout.h"
#include "go/binary/runtime.h"

namespace incident::go {

constexpr std::size_t special_limit = 1 << 22;  // of one span

/// Numbers of the special kinds; they moved twice.
struct SpecialKinds {
    std::uint8_t finalizer = 1, weak_handle = 0, cleanup = 0;  // 0: this release has none
};
inline SpecialKinds special_kinds(const Version& version) {
    if (version.at_least(25)) return {2, 3, 7};
    if (version.at_least(24)) return {1, 2, 6};
    if (version.at_least(23)) return {1, 2, 0};
    return {};
}

/// Bytes from the span's begin to the object.
inline std::optional<std::uint64_t> special_offset(const StructView& special, const Runtime& runtime) {
    if (runtime.version().at_least(24)) {
        auto wide = special.get(runtime.layout().special.offset64);
        return wide ? std::optional<std::uint64_t>(*wide) : std::nullopt;
    }
    auto narrow = special.get(runtime.layout().special.offset);
    return narrow ? std::optional<std::uint64_t>(*narrow) : std::nullopt;
}

}  // namespace incident::go
