#include "support/memory_builder.h"

#include <algorithm>
#include <cstring>
#include <stdexcept>

namespace incident {

Address TargetMemory::operator[](std::string_view label) const {
    auto found = labels_.find(label);
    if (found == labels_.end()) throw std::logic_error("TargetMemory: no label " + std::string(label));
    return found->second;
}

/// The block that holds the cursor or ends at it; begins a new one otherwise.
std::map<std::uint64_t, MemoryBuilder::Block>::iterator MemoryBuilder::block_of_cursor() {
    auto next = blocks_.upper_bound(cursor_);
    if (next != blocks_.begin()) {
        auto previous = std::prev(next);
        if (cursor_ - previous->first <= previous->second.bytes.size()) return previous;
    }
    return blocks_.emplace_hint(next, cursor_, Block{});
}

MemoryBuilder& MemoryBuilder::at(std::uint64_t address) {
    cursor_ = address;
    return *this;
}

MemoryBuilder& MemoryBuilder::at(std::string_view label, std::uint64_t offset) {
    cursor_ = address_of(label).value + offset;
    return *this;
}

MemoryBuilder& MemoryBuilder::mark(std::string_view label) {
    if (!labels_.emplace(label, here()).second)
        throw std::logic_error("MemoryBuilder: label twice: " + std::string(label));
    return *this;
}

Address MemoryBuilder::address_of(std::string_view label) const {
    auto found = labels_.find(label);
    if (found == labels_.end()) throw std::logic_error("MemoryBuilder: no label " + std::string(label));
    return found->second;
}

MemoryBuilder& MemoryBuilder::pointer(std::string_view label, std::int64_t offset) {
    std::uint64_t where = cursor_;
    u64(0);
    fixups_.push_back({where, std::string(label), offset});
    return *this;
}

MemoryBuilder& MemoryBuilder::bytes(std::span<const std::byte> raw) {
    auto block = block_of_cursor();
    auto next = std::next(block);
    if (next != blocks_.end() && next->first - cursor_ < raw.size())
        throw std::logic_error("MemoryBuilder: one block runs into the next");
    auto& held = block->second.bytes;
    std::size_t offset = cursor_ - block->first;
    held.resize(std::max(held.size(), offset + raw.size()));
    std::ranges::copy(raw, held.begin() + static_cast<std::ptrdiff_t>(offset));
    // A write over an earlier pointer() takes its place.
    std::erase_if(fixups_, [&](const Fixup& f) { return f.where >= cursor_ && f.where - cursor_ < raw.size(); });
    cursor_ += raw.size();
    return *this;
}

MemoryBuilder& MemoryBuilder::fill(std::size_t count, std::uint8_t value) {
    return bytes(std::vector<std::byte>(count, std::byte{value}));
}

MemoryBuilder& MemoryBuilder::align(std::uint64_t alignment) {
    return zeros((alignment - cursor_ % alignment) % alignment);
}

MemoryBuilder& MemoryBuilder::permissions(std::uint8_t flags) {
    block_of_cursor()->second.permissions = flags;
    return *this;
}

MemoryBuilder& MemoryBuilder::origin(Origin from) {
    block_of_cursor()->second.origin = from;
    return *this;
}

MemoryBuilder& MemoryBuilder::missing(std::uint64_t begin, std::uint64_t size, ErrorKind why) {
    missing_.push_back({{{begin}, {begin + size}}, why});
    return *this;
}

TargetMemory MemoryBuilder::build() const {
    auto blocks = blocks_;
    for (const auto& fixup : fixups_) {
        std::uint64_t value = address_of(fixup.label).value + static_cast<std::uint64_t>(fixup.offset);
        auto block = std::prev(blocks.upper_bound(fixup.where));
        std::memcpy(block->second.bytes.data() + (fixup.where - block->first), &value, sizeof value);
    }
    TargetMemory target;
    target.labels_ = labels_;
    target.bytes_ = std::make_shared<std::vector<std::vector<std::byte>>>();
    target.bytes_->reserve(blocks.size());
    target.memory_ = std::make_shared<Memory>();
    for (auto& [begin, block] : blocks) {
        if (block.bytes.empty()) continue;
        target.bytes_->push_back(std::move(block.bytes));
        const auto& held = target.bytes_->back();
        target.memory_->add({{{begin}, {begin + held.size()}}, held.data(), block.origin, block.permissions});
    }
    for (const auto& range : missing_) target.memory_->add_missing(range);
    target.memory_->freeze();
    return target;
}

}  // namespace incident
