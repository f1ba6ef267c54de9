// Profiler labels of a goroutine. g.labels is a *labelMap: up to Go 1.23 a map[string]string (a classic hmap),
// since 1.24 a struct around []label{key, value string} (runtime/pprof/label.go; 1.26+ internal/runtime/pprof/label).
#include <algorithm>
#include <string_view>

#include "go/stacks/goroutines.h"

namespace incident::go {

namespace {

constexpr std::uint64_t max_labels = 1000;
constexpr std::uint64_t max_text = 1u << 16;

using Labels = std::vector<std::pair<std::string, std::string>>;

std::optional<std::string> read_string(const Memory& memory, Address header) {
    auto data = memory.load_address(header);
    auto length = memory.load<std::uint64_t>(header + 8);
    if (!data || !length || *length > max_text) return std::nullopt;
    if (*length == 0) return std::string();
    auto bytes = memory.view(*data, *length);
    if (!bytes) return std::nullopt;
    return std::string(reinterpret_cast<const char*>(bytes->data()), bytes->size());
}

void add(const Memory& memory, Address key, Address value, Labels& labels) {
    auto k = read_string(memory, key);
    auto v = read_string(memory, value);
    if (k && v) labels.emplace_back(std::move(*k), std::move(*v));
}

/// go1.23 src/runtime/map.go, bmap of map[string]string: tophash[8], 8 keys and 8 values of 16 bytes, overflow.
void read_buckets(const Memory& memory, Address buckets, std::uint64_t count, Labels& labels) {
    constexpr std::uint64_t slots = 8, string_size = 16, keys = 8, values = keys + slots * string_size;
    constexpr std::uint64_t overflow = values + slots * string_size, bucket_size = overflow + 8;
    constexpr std::uint8_t min_top_hash = 5;
    for (std::uint64_t i = 0; i < count; ++i) {
        Address bucket = buckets + i * bucket_size;
        for (int chain = 0; chain < 64 && !bucket.is_null(); ++chain) {
            for (std::uint64_t slot = 0; slot < slots && labels.size() < max_labels; ++slot) {
                auto top = memory.load<std::uint8_t>(bucket + slot);
                if (top && *top >= min_top_hash)
                    add(memory, bucket + keys + slot * string_size, bucket + values + slot * string_size, labels);
            }
            bucket = memory.load_address(bucket + overflow).value_or(Address{});
        }
    }
}

void read_map(const Memory& memory, const RuntimeLayout& layout, Address hmap, Labels& labels) {
    StructView view(memory, hmap);
    auto count = view.get(layout.hmap.count);
    auto b = view.get(layout.hmap.B);
    auto buckets = view.get(layout.hmap.buckets);
    if (!count || !b || !buckets || *count <= 0 || static_cast<std::uint64_t>(*count) > max_labels || *b > 10) return;
    read_buckets(memory, *buckets, std::uint64_t{1} << *b, labels);
    if (auto old = view.get(layout.hmap.oldbuckets); old && !old->is_null()) {
        read_buckets(memory, *old, *b == 0 ? 1 : std::uint64_t{1} << (*b - 1), labels);
    }
}

}  // namespace

Labels read_labels(const Memory& memory, const Runtime& runtime, const Goroutine& g) {
    Labels labels;
    if (g.labels.is_null()) return labels;
    if (!runtime.version().at_least(24)) {
        if (auto hmap = memory.load_address(g.labels)) read_map(memory, runtime.layout(), *hmap, labels);
    } else {
        auto data = memory.load_address(g.labels);
        auto length = memory.load<std::uint64_t>(g.labels + 8);
        if (!data || !length || *length > max_labels) return labels;
        for (std::uint64_t i = 0; i < *length; ++i) add(memory, *data + i * 32, *data + i * 32 + 16, labels);
    }
    std::sort(labels.begin(), labels.end());
    return labels;
}

}  // namespace incident::go
