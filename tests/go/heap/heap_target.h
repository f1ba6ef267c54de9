// HeapTarget: a small Go heap written down span by span, for tests of everything that reads spans. One arena at
// 0xc000000000; mspans, bitmaps and mheap_ lie outside, as in a real process. Layouts of go1.19 and go1.27.
#pragma once

#include <string>
#include <vector>

#include "go/heap/spans.h"
#include "support/memory_builder.h"

namespace incident::go {

inline constexpr std::uint64_t test_arena = 0xc000000000;

inline RuntimeLayout heap_layout(int minor) {
    RuntimeLayout layout;
    auto& s = layout.mspan;
    bool narrow = minor >= 22;  // freeindex and nelems are uint16
    s.startAddr.offset = 24;
    s.npages.offset = 32;
    s.freeindex.offset = 48;
    s.nelems.offset = narrow ? 50 : 56;
    s.allocBits.offset = narrow ? 64 : 72;
    s.gcmarkBits.offset = narrow ? 72 : 80;
    s.sweepgen.offset = 88;
    s.allocCount.offset = 96;
    s.spanclass.offset = 98;
    s.state.offset = 99;
    s.elemsize.offset = 104;
    s.limit.offset = 112;
    s.specials.offset = 128;
    if (narrow) s.largeType.offset = 152;
    layout.mheap.sweepgen.offset = 0;
    layout.mheap.allspans.offset = 8;
    layout.mheap.allArenas.offset = 32;
    return layout;
}

struct TestSpan {
    std::uint64_t begin = test_arena;
    std::uint64_t pages = 1;
    std::uint8_t state = 1;
    unsigned size_class = 5;  // 48 bytes
    bool noscan = false;
    std::uint64_t elem_size = 48;
    std::uint16_t elem_count = 170;
    std::uint16_t free_index = 0;
    std::uint16_t alloc_count = 0;
    std::uint32_t sweepgen = 10;
    std::vector<unsigned> allocated = {};  // bits of allocBits
    std::vector<unsigned> marked = {};
    std::uint64_t limit = 0;  // 0: where its last slot ends
};

class HeapTarget {
public:
    explicit HeapTarget(int minor) : layout(heap_layout(minor)) {
        version.minor = minor;
        version.text = "go1." + std::to_string(minor);
    }

    HeapTarget& add(const TestSpan& span) {
        spans_.push_back(span);
        return *this;
    }
    MemoryBuilder& memory() { return builder_; }

    /// mheap_ at 0x600000, allspans at 0x700000, mspans from 0x7f0000000000 on, bitmaps from 0x7f1000000000 on.
    TargetMemory build() {
        builder_.at(0x600000)
            .mark("mheap")
            .u32(10)
            .u32(0)
            .pointer("allspans")
            .u64(spans_.size())
            .u64(spans_.size() + 8);
        builder_.pointer("allArenas").u64(1).u64(4);
        builder_.at(0x6ff000).mark("allArenas").u64((test_arena + 0x800000000000) >> 26).zeros(24);
        builder_.at(0x700000).mark("allspans");
        for (std::size_t i = 0; i < spans_.size(); ++i) builder_.pointer(name(i));
        for (std::size_t i = 0; i < spans_.size(); ++i) write(i, spans_[i]);
        return builder_.build();
    }
    Result<Spans> read(const TargetMemory& target) { return Spans::read(target, layout, version, target["mheap"], 1); }
    static std::string name(std::size_t i) { return "mspan" + std::to_string(i); }

    RuntimeLayout layout;
    Version version;

private:
    void write(std::size_t i, const TestSpan& s) {
        std::uint64_t at = 0x7f0000000000 + i * 256, bits = 0x7f1000000000 + i * 512;
        builder_.at(bits).zeros(512);
        for (unsigned bit : s.allocated) set(bits, bit, s.allocated);
        for (unsigned bit : s.marked) set(bits + 256, bit, s.marked);
        builder_.at(at).mark(name(i)).zeros(160);
        auto put = [&](auto field, auto value) {
            builder_.at(at + static_cast<std::uint64_t>(field.offset))
                .object(static_cast<typename decltype(field)::type>(value));
        };
        const auto& f = layout.mspan;
        put(f.startAddr, s.begin);
        put(f.npages, s.pages);
        put(f.freeindex, s.free_index);
        put(f.nelems, s.elem_count);
        put(f.allocBits, bits);
        put(f.gcmarkBits, bits + 256);
        put(f.sweepgen, s.sweepgen);
        put(f.allocCount, s.alloc_count);
        put(f.spanclass, s.size_class * 2 + (s.noscan ? 1 : 0));
        put(f.state, s.state);
        put(f.elemsize, s.elem_size);
        put(f.limit, s.limit != 0 ? s.limit : s.begin + s.elem_size * s.elem_count);
    }
    void set(std::uint64_t bits, unsigned bit, const std::vector<unsigned>& all) {
        unsigned byte = bit / 8, value = 0;
        for (unsigned other : all)
            if (other / 8 == byte) value |= 1u << (other % 8);
        builder_.at(bits + byte).u8(static_cast<std::uint8_t>(value));
    }

    MemoryBuilder builder_;
    std::vector<TestSpan> spans_;
};

}  // namespace incident::go
