// Record: one runtime struct of dead memory taken in one piece, for loops over many: a field read is a bounds check and
// a memcpy, no look-up and no error text. A field that this runtime lacks, or that the record is too short for, is
// nullopt.
#pragma once

#include <cstddef>
#include <cstring>
#include <optional>
#include <span>
#include <vector>

#include "core/memory.h"
#include "go/binary/layout.h"

namespace incident::go {

class Record {
public:
    Record() = default;
    explicit Record(std::span<const std::byte> bytes) : bytes_(bytes) {}
    Record(Record&&) noexcept = default;
    Record& operator=(Record&&) noexcept = default;

    /// In place, or copied when it lies across two segments; nullopt when it is not all there.
    static std::optional<Record> view(MemoryCursor& cursor, Address at, std::size_t size) {
        if (const std::byte* p = cursor.data_at(at, size)) return Record(std::span(p, size));
        Record copied;
        copied.owned_.resize(size);
        if (!cursor.memory().load(at, copied.owned_)) return std::nullopt;
        copied.bytes_ = copied.owned_;
        return copied;
    }

    template <class T>
    std::optional<T> get(Field<T> field) const {
        if (!field.present() || static_cast<std::size_t>(field.offset) + sizeof(T) > bytes_.size()) return std::nullopt;
        T value;
        std::memcpy(&value, bytes_.data() + field.offset, sizeof(T));
        return value;
    }
    template <class T>
    T get_or(Field<T> field, T otherwise) const {
        return get(field).value_or(otherwise);
    }

private:
    std::span<const std::byte> bytes_;
    std::vector<std::byte> owned_;
};

}  // namespace incident::go
