// TypeMasks. Layout facts: go1.22–1.23 src/runtime/mbitmap.go (runGCProg), go1.24 src/runtime/type.go
// (getGCMaskOnDemand, buildGCMask), src/internal/abi/type.go.
#include "go/heap/type_masks.h"

#include <algorithm>

namespace incident::go {

namespace {

constexpr std::uint8_t kind_gc_program = 0x40;      // ≤1.23, in the kind byte
constexpr std::uint8_t flag_mask_on_demand = 0x10;  // 1.24+, TFlagGCMaskOnDemand
constexpr std::uint8_t kind_bits = 0x1f;
constexpr std::uint8_t kind_array = 17, kind_struct = 25;
constexpr std::uint64_t type_size_limit = 1ull << 40;  // bytes
constexpr std::uint64_t mask_limit = 1ull << 27;       // pointer words of one type: 1 GB of pointers
constexpr std::uint64_t all_masks_limit = 1ull << 25;  // 64-bit words of all masks together: 256 MB
constexpr std::uint64_t build_steps = 1ull << 25;      // types visited to build all masks, and 64 words of a part
constexpr std::size_t entry_limit = 48 * 1024;

void set(std::vector<std::uint64_t>& bits, std::uint64_t at) {
    if (at / 64 < bits.size()) bits[at / 64] |= std::uint64_t{1} << (at % 64);
}
bool get(const std::vector<std::uint64_t>& bits, std::uint64_t at) {
    return at / 64 < bits.size() && (bits[at / 64] >> (at % 64) & 1) != 0;
}

const TypeMask unknown_mask;

}  // namespace

TypeMasks::TypeMasks(const Memory& memory, const RuntimeLayout& layout, const Version& version,
                     std::span<const ModuleData> modules)
    : memory_(memory),
      layout_(layout),
      version_(version),
      modules_(modules),
      table_(std::make_unique<std::atomic<const Entry*>[]>(table_size)) {}

const TypeMask* TypeMasks::find(Address type) const {
    std::size_t at = (type.value * 0x9e3779b97f4a7c15ull) >> 48;
    for (std::size_t probes = 0; probes < table_size; ++probes, at = (at + 1) % table_size) {
        const Entry* entry = table_[at].load(std::memory_order_acquire);
        if (entry == nullptr) break;
        if (entry->type == type) return &entry->mask;
    }
    TypeMask mask = read(type);
    std::lock_guard lock(mutex_);
    if (entries_.size() >= entry_limit) return &unknown_mask;
    at = (type.value * 0x9e3779b97f4a7c15ull) >> 48;
    for (; const Entry* entry = table_[at].load(std::memory_order_relaxed); at = (at + 1) % table_size)
        if (entry->type == type) return &entry->mask;
    entries_.push_back({type, std::move(mask)});
    table_[at].store(&entries_.back(), std::memory_order_release);
    return &entries_.back().mask;
}

TypeMask TypeMasks::read(Address type) const {
    TypeMask mask;
    const auto& f = layout_.type;
    StructView view(memory_, type);
    auto size = view.get(f.size_), pointer_bytes = view.get(f.ptrdata);
    auto flags = view.get(f.tflag), kind = view.get(f.kind);
    auto data = view.get(f.gcdata);
    if (!type.is_aligned(8) || !size || !pointer_bytes || !flags || !kind || !data) return mask;
    if (*size > type_size_limit || *pointer_bytes > *size || *pointer_bytes % 8 != 0) return mask;
    mask.words = (*size + 7) / 8;
    mask.pointers = *pointer_bytes / 8;
    if (mask.pointers == 0) {
        mask.known = true;
        return mask;
    }
    if (mask.pointers > mask_limit || *size % 8 != 0) return mask;
    std::uint64_t size_of_mask = (mask.pointers + 63) / 64;
    if (spent_.fetch_add(size_of_mask, std::memory_order_relaxed) + size_of_mask > all_masks_limit) return mask;
    mask.bits.resize(size_of_mask);
    if (version_.at_least(24) && (*flags & flag_mask_on_demand) != 0) {
        auto built = memory_.load_address(*data);
        bool usable = built && !built->is_null();
        for (const ModuleData& module : modules_)  // the sentinel "being built" is a variable of the runtime
            if (usable && (module.noptrbss.contains(*built) || module.bss.contains(*built))) usable = false;
        auto bytes = std::as_writable_bytes(std::span(mask.bits)).first((mask.pointers + 7) / 8);
        if (usable && memory_.load(*built, bytes)) {
            mask.known = true;
        } else {
            std::ranges::fill(mask.bits, 0);
            mask.known = build(type, 0, mask.bits, 0);
        }
    } else if (!version_.at_least(24) && (*kind & kind_gc_program) != 0) {
        mask.known = run_program(*data + 4, mask.pointers, mask.bits);  // a uint32 length stands before it
    } else {
        auto bytes = std::as_writable_bytes(std::span(mask.bits)).first((mask.pointers + 7) / 8);
        mask.known = memory_.load(*data, bytes).has_value();
    }
    if (!mask.known) return mask;
    if (mask.pointers % 64 != 0) mask.bits.back() &= (std::uint64_t{1} << (mask.pointers % 64)) - 1;
    if (mask.words <= 32) {
        std::uint64_t pattern = mask.bits[0];
        std::uint32_t filled = static_cast<std::uint32_t>(mask.words);
        for (; filled + mask.words <= 64; filled += static_cast<std::uint32_t>(mask.words))
            pattern |= mask.bits[0] << filled;
        mask.bits[0] = pattern;
        mask.pattern_words = filled;
    }
    return mask;
}

/// The Lempel-Ziv-like programs of large array types: literal runs, and "repeat the last n bits c times".
bool TypeMasks::run_program(Address program, std::uint64_t words, std::vector<std::uint64_t>& bits) const {
    MemoryCursor cursor(memory_);
    std::uint64_t at = 0;
    std::uint8_t byte = 0;
    auto next = [&] { return cursor.load(program, byte) && (program += 1, true); };
    auto varint = [&](std::uint64_t& value) {
        value = 0;
        for (unsigned shift = 0; shift < 63; shift += 7) {
            if (!next()) return false;
            value |= std::uint64_t{byte & 0x7fu} << shift;
            if (byte < 0x80) return true;
        }
        return false;
    };
    while (at < words) {
        if (!next()) return false;
        std::uint64_t n = byte & 0x7f;
        if (byte < 0x80) {
            if (n == 0) break;
            for (std::uint64_t i = 0; i < n; ++i) {
                if (i % 8 == 0 && !next()) return false;
                if ((byte >> (i % 8) & 1) != 0) set(bits, at + i);
            }
            at += n;
            continue;
        }
        std::uint64_t times = 0;
        if (n == 0 && !varint(n)) return false;
        if (!varint(times) || n == 0 || n > at || times > mask_limit) return false;
        std::uint64_t stop = std::min(words, at + std::min(n * times, words));
        for (; at < stop; ++at)
            if (get(bits, at - n)) set(bits, at);
    }
    return true;
}

/// What the runtime would build on first use: arrays and structs from their parts. `at` counts words.
bool TypeMasks::build(Address type, std::uint64_t at, std::vector<std::uint64_t>& bits, int depth) const {
    constexpr int depth_limit = 64;
    if (depth > depth_limit || built_.fetch_add(1, std::memory_order_relaxed) > build_steps) return false;
    StructView view(memory_, type);
    auto pointer_bytes = view.get(layout_.type.ptrdata), size = view.get(layout_.type.size_);
    auto flags = view.get(layout_.type.tflag), kind = view.get(layout_.type.kind);
    if (!pointer_bytes || !size || !flags || !kind) return false;
    if (*pointer_bytes == 0) return true;
    if ((*flags & flag_mask_on_demand) == 0) {
        auto data = view.get(layout_.type.gcdata);
        const std::uint64_t words = *pointer_bytes / 8, room = bits.size() * 64;
        // Many parts that each claim the whole would be quadratic.
        if (!data || *pointer_bytes > *size || at > room || words > room - at) return false;
        if (built_.fetch_add(words / 64, std::memory_order_relaxed) > build_steps) return false;
        MemoryCursor cursor(memory_);
        std::uint8_t byte = 0;
        for (std::uint64_t i = 0; i < words; ++i) {
            if (i % 8 == 0 && !cursor.load(*data + i / 8, byte)) return false;
            if ((byte >> (i % 8) & 1) != 0) set(bits, at + i);
        }
        return true;
    }
    if ((*kind & kind_bits) == kind_array) {
        auto elem = view.get(layout_.arraytype.elem);
        auto length = view.get(layout_.arraytype.len);
        if (!elem || !length) return false;
        auto step = StructView(memory_, *elem).get(layout_.type.size_);
        if (!step || *step < 8 || *length > mask_limit) return false;
        for (std::uint64_t i = 0; i < *length && at / 64 < bits.size(); ++i, at += *step / 8)
            if (!build(*elem, at, bits, depth + 1)) return false;
        return true;
    }
    if ((*kind & kind_bits) != kind_struct) return false;
    auto fields = view.get(layout_.structtype.fields_data);
    auto count = view.get(layout_.structtype.fields_len);
    if (!fields || !count || *count > 1 << 16 || layout_.structfield.size == 0) return false;
    for (std::uint64_t i = 0; i < *count; ++i) {
        StructView field(memory_, *fields + i * layout_.structfield.size);
        auto part = field.get(layout_.structfield.typ);
        auto offset = field.get(layout_.structfield.offset);
        if (!part || !offset || *offset > type_size_limit) return false;
        if (!build(*part, at + *offset / 8, bits, depth + 1)) return false;
    }
    return true;
}

}  // namespace incident::go
