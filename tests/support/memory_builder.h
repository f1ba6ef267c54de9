// MemoryBuilder: target memory written down literally, with labels, for tests that need a dead process without a core.
//
//     MemoryBuilder memory;
//     memory.at(0xc000010000).mark("g").u64(0xc000070000).u64(0xc000078000)  // stack.lo, stack.hi
//           .pointer("m").zeros(0x80);
//     memory.at(0x7f0000000000).mark("m").u32(7).cstring("hello");
//     TargetMemory target = memory.build();
//     target->load<std::uint64_t>(target["g"]);
//
// Labels may be used before they are marked: they are resolved by build(). Misuse of the builder (an unknown label, two
// blocks that run into each other) throws std::logic_error, which fails the test.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include "core/memory.h"

namespace incident {

/// A frozen Memory together with the bytes it points to.
class TargetMemory {
public:
    const Memory& operator*() const { return *memory_; }
    const Memory* operator->() const { return memory_.get(); }
    operator const Memory&() const { return *memory_; }
    /// Where a label was marked.
    Address operator[](std::string_view label) const;

private:
    friend class MemoryBuilder;
    std::shared_ptr<std::vector<std::vector<std::byte>>> bytes_;
    std::shared_ptr<Memory> memory_;
    std::map<std::string, Address, std::less<>> labels_;
};

class MemoryBuilder {
public:
    /// Moves to `address`. Inside or at the end of a block written before: goes on there, overwriting; else begins a
    /// block. Each block becomes a segment of its own unless it touches its neighbour.
    MemoryBuilder& at(std::uint64_t address);
    MemoryBuilder& at(Address address) { return at(address.value); }
    /// Moves to a label marked before, plus `offset`: to fill one field of a struct that stands already.
    MemoryBuilder& at(std::string_view label, std::uint64_t offset = 0);
    MemoryBuilder& at(const char* label, std::uint64_t offset = 0) { return at(std::string_view(label), offset); }

    MemoryBuilder& mark(std::string_view label);
    Address here() const { return Address{cursor_}; }
    /// Throws when the label is not marked yet.
    Address address_of(std::string_view label) const;

    MemoryBuilder& u8(std::uint8_t value) { return object(value); }
    MemoryBuilder& u16(std::uint16_t value) { return object(value); }
    MemoryBuilder& u32(std::uint32_t value) { return object(value); }
    MemoryBuilder& u64(std::uint64_t value) { return object(value); }
    MemoryBuilder& i32(std::int32_t value) { return object(value); }
    MemoryBuilder& i64(std::int64_t value) { return object(value); }
    MemoryBuilder& address(Address value) { return object(value.value); }
    /// Eight bytes: the address of `label` (marked now or later) plus `offset`.
    MemoryBuilder& pointer(std::string_view label, std::int64_t offset = 0);
    MemoryBuilder& bytes(std::span<const std::byte> raw);
    MemoryBuilder& text(std::string_view raw) { return bytes(std::as_bytes(std::span(raw.data(), raw.size()))); }
    MemoryBuilder& cstring(std::string_view raw) { return text(raw).u8(0); }
    MemoryBuilder& zeros(std::size_t count) { return fill(count, 0); }
    MemoryBuilder& fill(std::size_t count, std::uint8_t value);
    /// Zeros up to the next multiple of `alignment`.
    MemoryBuilder& align(std::uint64_t alignment);
    template <class T>
        requires std::is_trivially_copyable_v<T>
    MemoryBuilder& object(const T& value) {
        return bytes(std::as_bytes(std::span(&value, 1)));
    }
    /// Go's headers: {pointer to label, length} and {pointer, length, capacity}.
    MemoryBuilder& go_string(std::string_view label, std::uint64_t length) { return pointer(label).u64(length); }
    MemoryBuilder& go_slice(std::string_view label, std::uint64_t length, std::uint64_t capacity) {
        return pointer(label).u64(length).u64(capacity);
    }

    /// PF_R|PF_W|PF_X and origin of the current block; rw- and core when not said.
    MemoryBuilder& permissions(std::uint8_t flags);
    MemoryBuilder& origin(Origin from);
    /// A range that was mapped but whose bytes are not there.
    MemoryBuilder& missing(std::uint64_t begin, std::uint64_t size, ErrorKind why = ErrorKind::absent);

    /// The builder may be used on and built again; every result owns its bytes.
    TargetMemory build() const;

private:
    struct Block {
        std::vector<std::byte> bytes;
        std::uint8_t permissions = 6;
        Origin origin = Origin::core;
    };
    struct Fixup {
        std::uint64_t where;
        std::string label;
        std::int64_t offset;
    };
    std::map<std::uint64_t, Block>::iterator block_of_cursor();

    std::map<std::uint64_t, Block> blocks_;
    std::uint64_t cursor_ = 0x10000;
    std::map<std::string, Address, std::less<>> labels_;
    std::vector<Fixup> fixups_;
    std::vector<MissingRange> missing_;
};

}  // namespace incident
