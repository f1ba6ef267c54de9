// Record: one runtime struct copied out of dead memory in one piece, for loops over many: a field read is a bounds check and
// a memcpy, no look-up and no error text. A field that this runtime lacks, or that the record is too short for, is nullopt.
#pragma once

#include <cstddef>
#include <cstring>
#include <optional>
#include <span>

#include "core/memory.h"
#include "go/binary/layout.h"

namespace incident::go {

class Record {
public:
    Record() = default;
    explicit Record(std::span<const std::byte> bytes) : bytes_(bytes) {}

    /// In place; nullopt when it is not all there.
    static std::optional<Record> view(MemoryCursor& cursor, Address at, std::size_t size) {
        const std::byte* p = cursor.data_at(at, size);
        if (p == nullptr) return std::nullopt;
        return Record(std::span(p, size));
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
};

}  // namespace incident::go
