#include "go/sync/footprint.h"

#include <algorithm>
#include <cstring>

namespace incident::go {

namespace {

constexpr std::size_t most_words = 256, most_fixed = 128, most_comparisons = 128;
constexpr std::uint64_t first_place = Symbolic::first_place;
constexpr std::int64_t largest_reach = 1 << 15;  // bytes from a root on

}  // namespace

Footprint::Footprint(const Memory& memory, std::span<const AddressRange> code, AddressRange stack, Address sp)
    : memory_(memory), code_(code), stack_(stack), roots_(2) {
    roots_[sp_root].value = roots_[sp_root].now = sp.value;
}

Symbolic Footprint::classify(std::uint64_t value, unsigned size, Word& word) {
    word.value = value;
    if (value < first_place) {
        word.kind = Kind::count;
        word.root = static_cast<std::uint32_t>(roots_.size());
        roots_.push_back({.value = value, .now = value, .count = true});
        return {0, value, false, word.root};
    }
    if (size < 8) return {0, value};
    const Address place{value};
    if (stack_.contains(place)) {
        word.kind = Kind::on_stack;
        word.value = value - roots_[sp_root].value;
        return {0, value, false, sp_root};
    }
    const bool in_code = std::ranges::any_of(code_, [&](const AddressRange& range) { return range.contains(place); });
    if (value >= -first_place || in_code) return {0, value};
    for (std::uint32_t root = sp_root + 1; root < roots_.size(); ++root)
        if (roots_[root].value == value && !roots_[root].count) {
            word.kind = Kind::same;
            word.root = root;
            return {0, value, false, root};
        }
    word.kind = Kind::root;
    word.root = static_cast<std::uint32_t>(roots_.size());
    roots_.push_back({value, value});
    return {0, value, false, word.root};
}

Symbolic Footprint::input(std::uint64_t value) {
    Word word;
    const Symbolic number = classify(value, 8, word);
    words_.push_back(word);
    return number;
}

Symbolic Footprint::as_place(Symbolic at) {
    if (at.root == no_root || !roots_[at.root].count) return at;
    roots_[at.root].equal = true;
    return {0, at.offset};
}

std::optional<Symbolic> Footprint::read(Symbolic at, unsigned size) {
    at = as_place(at);
    const auto offset = static_cast<std::int64_t>(at.offset - (at.root != no_root ? roots_[at.root].value : 0));
    for (const Word& word : words_)
        if (word.base == at.root && word.offset == offset && word.size == size) {
            if (word.kind == Kind::unreadable) return std::nullopt;
            if (word.kind == Kind::on_stack) return Symbolic{0, roots_[sp_root].value + word.value, false, sp_root};
            return Symbolic{0, word.value, false, word.root};
        }
    Word word;
    word.base = at.root;
    word.offset = offset;
    word.size = static_cast<std::uint8_t>(size);
    const std::byte* bytes = size <= 8 ? memory_.data_at(Address{at.offset}, size) : nullptr;
    std::optional<Symbolic> number;
    if (bytes == nullptr) {
        word.kind = Kind::unreadable;
    } else {
        std::memcpy(&word.value, bytes, size);
        number = classify(word.value, size, word);
    }
    if (words_.size() < most_words)
        words_.push_back(word);
    else
        spoiled_ = true;
    return number;
}

void Footprint::touch(Symbolic at, unsigned size) {
    if (!at.known()) return;
    at = as_place(at);
    if (at.root == no_root) {
        const AddressRange range{Address{at.offset}, Address{at.offset + size}};
        if (std::ranges::find(fixed_, range) != fixed_.end()) return;
        if (fixed_.size() < most_fixed)
            fixed_.push_back(range);
        else
            spoiled_ = true;
        return;
    }
    Root& root = roots_[at.root];
    const auto offset = static_cast<std::int64_t>(at.offset - root.value);
    root.low = std::min(root.low, offset);
    root.high = std::max(root.high, offset + static_cast<std::int64_t>(size));
}

void Footprint::counted(const Symbolic& value) {
    if (!value.known() || value.root == no_root || !roots_[value.root].count) return;
    Root& root = roots_[value.root];
    if (value.offset >= first_place) {
        root.equal = true;
        return;
    }
    const auto sum = static_cast<std::int64_t>(value.offset - root.value);
    root.low = std::min(root.low, sum);
    root.high = std::max(root.high, sum);
}

void Footprint::needs(const Symbolic& value) {
    if (!value.known() || value.root == no_root) return;
    if (value.root == sp_root)
        spoiled_ = true;
    else
        roots_[value.root].equal = true;
}

void Footprint::compared(const Symbolic& a, const Symbolic& b) {
    if (!a.known() || !b.known() || a.root == b.root) return;
    auto same = [&](const Comparison& c) { return c.a == a && c.b == b && c.a.root == a.root && c.b.root == b.root; };
    if (std::ranges::any_of(comparisons_, same)) return;
    if (comparisons_.size() < most_comparisons)
        comparisons_.push_back({a, b});
    else
        spoiled_ = true;
}

bool Footprint::finish() {
    if (spoiled_) return false;
    std::vector<std::uint32_t> order;
    for (std::uint32_t i = sp_root; i < roots_.size(); ++i) {
        Root& root = roots_[i];
        if (!root.used()) continue;
        if (root.low < -largest_reach || root.high > largest_reach) return false;
        const AddressRange range{Address{root.value + static_cast<std::uint64_t>(root.low)},
                                 Address{root.value + static_cast<std::uint64_t>(root.high)}};
        if (range.begin >= range.end) return false;
        root.equal |= std::ranges::any_of(fixed_, [&](const AddressRange& other) { return range.overlaps(other); });
        if (i != sp_root) order.push_back(i);
    }
    if (roots_[sp_root].equal) return false;
    std::ranges::sort(order, {},
                      [&](std::uint32_t i) { return roots_[i].value + static_cast<std::uint64_t>(roots_[i].low); });
    std::uint32_t leader = no_root;
    for (const std::uint32_t i : order) {
        Root& root = roots_[i];
        const std::uint64_t begin = root.value + static_cast<std::uint64_t>(root.low);
        Root* first = leader != no_root ? &roots_[leader] : nullptr;
        if (first == nullptr || begin >= first->value + static_cast<std::uint64_t>(first->high)) {
            leader = i;
            continue;
        }
        root.leader = leader;
        first->high = std::max(first->high, static_cast<std::int64_t>(root.value - first->value) + root.high);
    }
    return apart();
}

bool Footprint::apart() {
    ranges_.clear();
    const Root& sp = roots_[sp_root];
    for (std::uint32_t i = sp_root; i < roots_.size(); ++i) {
        const Root& root = roots_[i];
        if (root.leader != no_root && root.now - roots_[root.leader].now != root.value - roots_[root.leader].value)
            return false;
        if (!root.used() || root.leader != no_root) continue;
        const AddressRange range{Address{root.now + static_cast<std::uint64_t>(root.low)},
                                 Address{root.now + static_cast<std::uint64_t>(root.high)}};
        if (range.begin >= range.end) return false;
        if (i == sp_root) {
            if (range.begin < stack_.begin || range.end > stack_.end) return false;
            continue;
        }
        if (range.begin.value < first_place || range.overlaps(stack_)) return false;
        auto meets = [&](const AddressRange& other) { return range.overlaps(other); };
        if (std::ranges::any_of(code_, meets) || (!root.equal && std::ranges::any_of(fixed_, meets))) return false;
        ranges_.emplace_back(range, i);
    }
    if (Address{sp.now} < stack_.begin ||
        std::ranges::any_of(fixed_, [&](auto& range) { return range.overlaps(stack_); }))
        return false;
    std::ranges::sort(ranges_, {}, [](const auto& entry) { return entry.first.begin; });
    for (std::size_t i = 1; i < ranges_.size(); ++i)
        if (ranges_[i - 1].first.overlaps(ranges_[i].first)) return false;
    return true;
}

std::uint64_t Footprint::now(const Symbolic& number) const {
    if (number.root == no_root) return number.offset;
    const Root& root = roots_[number.root];
    return root.now + (number.offset - root.value);
}

bool Footprint::fits(const Word& word, std::uint64_t value) {
    switch (word.kind) {
        case Kind::equal: return value == word.value;
        case Kind::on_stack: return value - roots_[sp_root].now == word.value;
        case Kind::count: {
            Root& root = roots_[word.root];
            const auto stays = [&](std::int64_t sum) { return value + static_cast<std::uint64_t>(sum) < first_place; };
            root.now = value;
            if (root.equal) return value == root.value;
            return value < first_place && (root.low > root.high || (stays(root.low) && stays(root.high)));
        }
        case Kind::same: return value == roots_[word.root].now;
        case Kind::root: {
            const Address place{value};
            Root& root = roots_[word.root];
            if (root.equal ? value != root.value
                           : value < first_place || value >= -first_place || stack_.contains(place))
                return false;
            if (std::ranges::any_of(code_, [&](const AddressRange& range) { return range.contains(place); }))
                return false;
            root.now = value;
            return true;
        }
        case Kind::unreadable: break;
    }
    return false;
}

bool Footprint::fits(AddressRange stack, Address sp, std::span<const std::uint64_t> inputs) {
    stack_ = stack;
    roots_[sp_root].now = sp.value;
    std::size_t input = 0;
    for (const Word& word : words_) {
        if (word.size == 0) {
            if (input >= inputs.size() || !fits(word, inputs[input++])) return false;
            continue;
        }
        const std::uint64_t at =
            (word.base != no_root ? roots_[word.base].now : 0) + static_cast<std::uint64_t>(word.offset);
        const std::byte* bytes = memory_.data_at(Address{at}, word.size);
        if ((bytes == nullptr) != (word.kind == Kind::unreadable)) return false;
        if (bytes == nullptr) continue;
        std::uint64_t value = 0;
        std::memcpy(&value, bytes, word.size);
        if (!fits(word, value)) return false;
    }
    auto as_then = [&](const Comparison& c) { return (now(c.a) == now(c.b)) == (c.a.offset == c.b.offset); };
    return input == inputs.size() && apart() && std::ranges::all_of(comparisons_, as_then);
}

Address Footprint::placed(const Symbolic& was) const { return Address{now(was)}; }

}  // namespace incident::go
