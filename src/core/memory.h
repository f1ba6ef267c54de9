// Memory: the dead process's address space, read-only and without copies. It is spliced once from the core's PT_LOADs
// and then from file pages of matched images, and frozen: after that it is immutable and any thread may read it.
//
// Surprising: a PT_LOAD whose memsz exceeds its filesz is NOT zero there. The kernel leaves file-backed read-only pages
// and filtered mappings out of the core; what is not in the file is absent, never zero. Holes of a sparse core file, in
// contrast, are real zero pages that the kernel skipped while writing.
#pragma once

#include <cstddef>
#include <cstring>
#include <span>
#include <string_view>
#include <type_traits>
#include <vector>

#include "base/address.h"
#include "base/result.h"

namespace incident {

/// Who says what a byte was.
enum class Origin : std::uint8_t {
    core,             ///< the core file itself
    file_verified,    ///< a file on disk whose build-id equals the target's
    file_unverified,  ///< a file on disk that nobody could verify, or that was forced by --allow-mismatch
};
std::string_view to_string(Origin origin);

/// Contiguous target bytes that we hold.
struct Segment {
    AddressRange range;
    const std::byte* data = nullptr;  ///< range.size() bytes, alive as long as the CoreFile and the Images
    Origin origin = Origin::core;
    std::uint8_t permissions = 0;  ///< PF_R | PF_W | PF_X
};

/// A part of the address space that the target had and we do not hold.
struct MissingRange {
    AddressRange range;
    ErrorKind why = ErrorKind::absent;  ///< absent: not dumped · truncated: cut off
};

class Memory {
public:
    /// Later segments win where they overlap earlier ones of the same call order; splice() keeps core bytes and only
    /// fills what is missing, truncated or unclaimed; of several splices the first wins. So splice only pages that the
    /// target could not have written: a file's .data is not what the process had there.
    void add(Segment segment);
    void splice(Segment segment);
    void add_missing(MissingRange missing);
    /// Sorts and merges. Must be called after the last add and before the first read.
    void freeze();

    std::span<const Segment> segments() const { return segments_; }
    std::span<const MissingRange> missing() const { return missing_; }

    /// The segment that holds `a`; nullptr when none does. Binary search; hot loops use MemoryCursor.
    const Segment* find(Address a) const noexcept;

    /// Exactly `size` bytes in place. Fails when they are not all there or not contiguous in one segment.
    Result<std::span<const std::byte>> view(Address a, std::size_t size) const;
    /// As many bytes in place from `a` on as one segment holds, at most `limit`; at least one, or an error.
    Result<std::span<const std::byte>> view_up_to(Address a, std::size_t limit) const;
    /// Copies `out.size()` bytes; may cross from one segment to the next.
    Result<void> load(Address a, std::span<std::byte> out) const;

    template <class T>
        requires std::is_trivially_copyable_v<T>
    Result<T> load(Address a) const {
        if (const std::byte* p = data_at(a, sizeof(T))) [[likely]] {
            T value;
            std::memcpy(&value, p, sizeof(T));
            return value;
        }
        T value;
        auto done = load(a, std::as_writable_bytes(std::span(&value, 1)));
        if (!done) return std::unexpected(std::move(done).error());
        return value;
    }
    Result<Address> load_address(Address a) const {
        auto word = load<std::uint64_t>(a);
        if (!word) return std::unexpected(std::move(word).error());
        return Address{*word};
    }
    /// Bytes up to a NUL, which must come within `limit`.
    Result<std::string_view> view_cstring(Address a, std::size_t limit) const;

    /// For hot paths: a pointer to `size` bytes, or nullptr. No message is built.
    const std::byte* data_at(Address a, std::size_t size) const noexcept {
        const Segment* segment = find(a);
        if (segment == nullptr || segment->range.end.value - a.value < size) return nullptr;
        return segment->data + (a.value - segment->range.begin.value);
    }

    /// Was this address mapped in the target, whether or not we hold its bytes?
    bool is_mapped(Address a) const noexcept;
    /// Why `a` cannot be read: unmapped, absent or truncated.
    Error explain(Address a) const;

private:
    std::vector<Segment> segments_;      // sorted, disjoint once frozen
    std::vector<Segment> spliced_;       // before freeze
    std::vector<MissingRange> missing_;  // sorted, disjoint once frozen
    std::vector<std::uint64_t> begins_;  // of segments_, dense for find()
};

/// Remembers the last segment hit: one per thread or per loop. Values are the same as Memory's.
class MemoryCursor {
public:
    explicit MemoryCursor(const Memory& memory) : memory_(&memory) {}
    const std::byte* data_at(Address a, std::size_t size) noexcept {
        if (last_ == nullptr || !last_->range.contains(a)) last_ = memory_->find(a);
        if (last_ == nullptr || last_->range.end.value - a.value < size) return nullptr;
        return last_->data + (a.value - last_->range.begin.value);
    }
    template <class T>
    bool load(Address a, T& out) noexcept {
        const std::byte* p = data_at(a, sizeof(T));
        if (p == nullptr) return false;
        std::memcpy(&out, p, sizeof(T));
        return true;
    }
    const Memory& memory() const { return *memory_; }

private:
    const Memory* memory_;
    const Segment* last_ = nullptr;
};

}  // namespace incident
