// ByteReader: a cursor over bytes that somebody else may have damaged. Every read is bounded; a failed read leaves the
// cursor where it was. Little-endian only, like every machine we read.
#pragma once

#include <bit>
#include <cstddef>
#include <cstring>
#include <span>
#include <string_view>
#include <type_traits>

#include "base/result.h"

namespace incident {

static_assert(std::endian::native == std::endian::little, "targets are little-endian and so must we be");

class ByteReader {
public:
    explicit ByteReader(std::span<const std::byte> bytes) : bytes_(bytes) {}

    std::size_t position() const { return position_; }
    std::size_t remaining() const { return bytes_.size() - position_; }
    bool at_end() const { return remaining() == 0; }

    Result<void> seek(std::size_t position) {
        if (position > bytes_.size()) return fail(ErrorKind::corrupt, "seek past the end");
        position_ = position;
        return {};
    }
    Result<void> skip(std::size_t count) {
        if (count > remaining()) return fail(ErrorKind::corrupt, "skip past the end");
        position_ += count;
        return {};
    }
    template <class T>
        requires std::is_trivially_copyable_v<T>
    Result<T> read() {
        if (sizeof(T) > remaining()) return fail(ErrorKind::corrupt, "read past the end");
        T value;
        std::memcpy(&value, bytes_.data() + position_, sizeof(T));
        position_ += sizeof(T);
        return value;
    }
    Result<std::span<const std::byte>> view(std::size_t count) {
        if (count > remaining()) return fail(ErrorKind::corrupt, "view past the end");
        auto part = bytes_.subspan(position_, count);
        position_ += count;
        return part;
    }
    /// Unsigned LEB128, as DWARF and Go's varints use it; at most 64 bits.
    Result<std::uint64_t> read_uvarint() {
        std::uint64_t value = 0;
        for (unsigned shift = 0, at = 0; shift < 64; shift += 7, ++at) {
            if (at >= remaining()) return fail(ErrorKind::corrupt, "varint past the end");
            auto byte = std::to_integer<std::uint64_t>(bytes_[position_ + at]);
            value |= (byte & 0x7f) << shift;
            if (byte < 0x80) {
                position_ += at + 1;
                return value;
            }
        }
        return fail(ErrorKind::corrupt, "varint longer than 64 bits");
    }
    /// Up to the NUL, which is consumed and not returned.
    Result<std::string_view> view_cstring() {
        auto* begin = reinterpret_cast<const char*>(bytes_.data()) + position_;
        auto* nul = static_cast<const char*>(std::memchr(begin, 0, remaining()));
        if (nul == nullptr) return fail(ErrorKind::corrupt, "string without an end");
        position_ += static_cast<std::size_t>(nul - begin) + 1;
        return std::string_view(begin, nul);
    }

private:
    std::span<const std::byte> bytes_;
    std::size_t position_ = 0;
};

}  // namespace incident
