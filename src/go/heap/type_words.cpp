// Codes of type words; see type_words.h.
#include "go/heap/type_words.h"

namespace incident::go {

namespace {

constexpr std::size_t index_size = 1 << 17;  // twice as many as there are codes

std::size_t place_of(std::uint32_t word) { return word * 0x9e3779b97f4a7c15ull >> 47; }

}  // namespace

TypeWords::TypeWords(SlotId limit, Code most) : codes_(limit), most_(most) {
    if (limit == 0) return;
    words_ = std::make_unique<std::uint32_t[]>(std::size_t{most} + 1);
    index_ = std::make_unique<std::atomic<std::uint64_t>[]>(index_size);
    rare_ = std::make_unique<Rare>();
}

std::uint32_t TypeWords::rare_word(SlotId slot) const noexcept {
    const std::lock_guard lock(rare_->mutex);
    const auto found = rare_->words.find(slot);
    return found == rare_->words.end() ? 0 : found->second;
}

TypeWords::Code TypeWords::code_of(std::uint32_t word) noexcept {
    if (word == 0) return 0;
    const auto find = [&](std::size_t& at) -> Code {
        for (at = place_of(word);; at = (at + 1) % index_size) {
            const std::uint64_t entry = index_[at].load(std::memory_order_acquire);
            if (entry == 0) return 0;
            if (entry >> 16 == word) return static_cast<Code>(entry);
        }
    };
    std::size_t at = 0;
    if (const Code known = find(at); known != 0) return known;
    const std::lock_guard lock(rare_->mutex);
    if (const Code known = find(at); known != 0) return known;
    if (next_ > most_) return rare;
    const auto code = static_cast<Code>(next_++);
    words_[code] = word;
    index_[at].store(std::uint64_t{word} << 16 | code, std::memory_order_release);
    return code;
}

void TypeWords::set(SlotId slot, std::uint32_t word) noexcept {
    const Code code = code_of(word);
    if (code == rare) {
        const std::lock_guard lock(rare_->mutex);
        rare_->words[slot] = word;
    }
    codes_[slot] = code;
}

}  // namespace incident::go
