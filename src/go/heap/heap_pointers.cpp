// HeapPointers: the parts that are not in the hot loop. Layout facts: go1.16–1.21 src/runtime/mheap.go,
// heapArena; go1.22 src/runtime/mbitmap_noallocheaders.go.
#include "go/heap/heap_pointers.h"

#include "go/heap/span_reader.h"
#include "go/heap/spans_state.h"

namespace incident::go {

HeapPointers::HeapPointers(const Memory& memory, const RuntimeLayout& layout, const Version& version,
                           std::span<const ModuleData> modules, Address mheap, const HeapSlots& slots)
    : slots_(slots), masks_(std::make_unique<TypeMasks>(memory, layout, version, modules)) {
    one_bit_ = layout.heapArena.noMorePtrs.present();
    if (keeps_arena_bitmaps(layout, version)) read_arenas(memory, layout, mheap);
}

Address HeapPointers::type_of(SlotId slot, const std::byte* data) const noexcept {
    const SlotSpan& s = slots_.slot_span(slot);
    if (s.pointers == PointerInfo::span_type) return slots_.span(slot).large_type;
    if (s.pointers != PointerInfo::header) return {};
    Address type;
    if (data == nullptr) data = slots_.memory().data_at(slots_.base(slot), 8);
    if (data != nullptr) std::memcpy(&type.value, data, 8);
    return type;
}

void HeapPointers::read_arenas(const Memory& memory, const RuntimeLayout& layout, Address mheap) {
    const auto& f = layout.heapArena;
    auto hull = slots_.hull();
    if (hull.empty() || !layout.mheap.arenas.present() || !f.bitmap.present()) return;
    auto table = memory.load_address(mheap + static_cast<std::uint64_t>(layout.mheap.arenas.offset));
    if (!table) return;
    first_arena_ = hull.begin.value / arena_bytes;
    arenas_.resize(hull.size() / arena_bytes);
    std::uint64_t bitmap_bytes = arena_words / (one_bit_ ? 8 : 4);
    for (std::uint64_t offset : {amd64_arena_offset, std::uint64_t{0}}) {
        bool any = false;
        for (AddressRange range : slots_.spans().arenas())
            for (Address a = range.begin; a < range.end; a += arena_bytes) {
                std::uint64_t at = a.value / arena_bytes - first_arena_, index = (a.value - offset) / arena_bytes;
                if (at >= arenas_.size() || index >= arena_limit) continue;
                auto arena = memory.load_address(*table + index * 8);
                if (!arena || arena->is_null()) continue;
                any = true;
                arenas_[at].bitmap = memory.data_at(*arena + static_cast<std::uint64_t>(f.bitmap.offset), bitmap_bytes);
                if (one_bit_)
                    arenas_[at].no_more =
                        memory.data_at(*arena + static_cast<std::uint64_t>(f.noMorePtrs.offset), bitmap_bytes / 64);
            }
        if (any) return;
    }
}

}  // namespace incident::go
