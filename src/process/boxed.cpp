// The pass over interface values. Parallel by span; the only state that workers share is one byte per possible type
// descriptor, filled in by whoever comes first.
#include "process/boxed.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <memory>
#include <unordered_map>

#include "base/parallel.h"
#include "go/heap/heap_graph.h"

namespace incident {

namespace {

constexpr std::size_t most_objects = 1u << 20;
constexpr std::uint64_t largest_wanted = 1u << 20;     // bytes of an object that covers a wanted word
constexpr std::uint64_t largest_section = 1ull << 30;  // of .data or .bss that we read

/// What a type descriptor is worth.
enum Worth : std::uint8_t { unknown, nothing, interesting };

struct TypeRange {
    AddressRange range;
    std::unique_ptr<std::atomic<std::uint8_t>[]> worth;  // per 8 bytes
    std::unique_ptr<std::atomic<std::uint8_t>[]> off_heap_worth;
};

struct Row {
    Address object, type, named_by;
    bool off_heap;
};

class Pass {
public:
    Pass(const go::Runtime& runtime, const go::Spans& spans, std::span<const Address> wanted)
        : runtime_(runtime), spans_(spans), wanted_(wanted) {
        low_ = ~0ull;
        for (const go::ModuleData& module : runtime.modules()) {
            const std::uint64_t size = module.types.size();
            if (size == 0 || size > (1ull << 30)) continue;
            ranges_.push_back({module.types, std::make_unique<std::atomic<std::uint8_t>[]>(size / 8 + 1),
                               std::make_unique<std::atomic<std::uint8_t>[]>(size / 8 + 1)});
            low_ = std::min(low_, module.types.begin.value);
            high_ = std::max(high_, module.types.end.value);
            for (AddressRange data : module.variables())
                if (!data.empty() && data.size() <= largest_section) sections_.push_back(data);
        }
    }
    bool any() const { return high_ > low_; }
    const std::vector<AddressRange>& sections() const { return sections_; }

    void scan(Address begin, const std::byte* bytes, std::uint64_t words, std::vector<Row>& rows) {
        const std::uint64_t width = high_ - low_;
        std::uint64_t next;
        std::memcpy(&next, bytes, 8);
        for (std::uint64_t i = 0; i + 1 < words; ++i) {
            const std::uint64_t word = next;
            std::memcpy(&next, bytes + (i + 1) * 8, 8);
            if (word - low_ >= width) [[likely]]
                continue;
            consider(Address{word}, Address{next}, begin + i * 8, rows);
        }
    }

private:
    TypeRange* range_of(Address type) {
        for (TypeRange& row : ranges_)
            if (row.range.contains(type)) return &row;
        return nullptr;
    }
    bool in_sections(Address a) const {
        return std::ranges::any_of(sections_, [&](const AddressRange& section) { return section.contains(a); });
    }
    void consider(Address type, Address object, Address at, std::vector<Row>& rows) {
        if (!type.is_aligned(8) || object.value < 4096 || !object.is_aligned(8)) return;
        TypeRange* range = range_of(type);
        if (range == nullptr) return;
        if (covers_wanted(type, object)) {
            rows.push_back({object, type, at, !spans_.in_arena(object) && !in_sections(object)});
            return;
        }
        const bool heap = spans_.in_arena(object);
        const bool off_heap = !heap && !in_sections(object);
        auto& worth = (off_heap ? range->off_heap_worth : range->worth)[(type.value - range->range.begin.value) / 8];
        std::uint8_t known = worth.load(std::memory_order_relaxed);
        if (known == nothing) return;
        if (known == unknown) {
            known = judge(type, off_heap) ? interesting : nothing;
            worth.store(known, std::memory_order_relaxed);
            if (known == nothing) return;
        }
        if (rows.size() < most_objects) rows.push_back({object, type, at, off_heap});
    }
    bool covers_wanted(Address type, Address object) const {
        auto next = std::ranges::lower_bound(wanted_, object);
        if (next == wanted_.end() || *next - object >= static_cast<std::int64_t>(largest_wanted)) return false;
        auto boxed = boxed_type(runtime_, type);
        return boxed && *next < object + boxed->size;
    }
    bool judge(Address type, bool off_heap) const {
        auto boxed = boxed_type(runtime_, type);
        if (!boxed || runtime_type(boxed->name)) return false;
        auto words = go::address_words(runtime_, *boxed, 256);
        // A bare uintptr in an interface is a value on its way to be printed, nobody's field.
        return std::ranges::any_of(words, [&](auto& word) {
            return !word.path.empty() && (off_heap || word.kind != go::AddressWord::Kind::pointer);
        });
    }

public:
    /// Type of what the interface's data word points to.
    static std::optional<go::RType> boxed_type(const go::Runtime& runtime, Address type) {
        auto outer = go::read_rtype(runtime, type);
        if (!outer || !outer->direct()) return outer;
        return outer->pointer() ? go::read_rtype(runtime, outer->elem) : std::nullopt;
    }

private:
    const go::Runtime& runtime_;
    const go::Spans& spans_;
    std::span<const Address> wanted_;
    std::vector<TypeRange> ranges_;
    std::vector<AddressRange> sections_;
    std::uint64_t low_ = 0, high_ = 0;
};

/// Can an object of this type lie there?
bool fits(const Memory& memory, const go::Spans& spans, const go::Runtime& runtime, const go::RType& type,
          const Row& row) {
    if (type.size == 0) return false;
    if (auto object = spans.find_object(row.object)) {
        if (object->state != go::SlotState::allocated) return false;
        const bool header = object->span->pointers == go::PointerInfo::header;
        const std::uint64_t offset = static_cast<std::uint64_t>(row.object - object->base);
        // The start of an object, or a field inside one: an interface may point into an array or a struct.
        if (offset + type.size > object->size || (header && offset < 8)) return false;
        return type.ptr_bytes == 0 || !object->span->noscan();
    }
    if (spans.in_arena(row.object)) return false;
    for (const go::ModuleData& module : runtime.modules())
        for (AddressRange section : module.variables())
            if (section.contains(row.object)) {
                const bool pointers = section == module.data || section == module.bss;
                return row.object + type.size <= section.end && (pointers || type.ptr_bytes == 0);
            }
    // Elsewhere: it must be writable memory that the core holds, and no file's.
    const Segment* segment = memory.find(row.object);
    return segment != nullptr && segment->origin == Origin::core && (segment->permissions & 2) != 0 &&
           row.object + type.size <= segment->range.end;
}

/// The collector's mask of an interface's two words: the type is no pointer, the data is. (go1.16–1.27
/// src/cmd/compile, TINTER: types and itabs are no objects.) What stands behind a value's last word has none at all.
bool may_be_interface(const go::HeapGraph& heap, Address at) {
    const auto slot = heap.slot_of(at);
    if (!slot) return true;
    const std::uint64_t offset = static_cast<std::uint64_t>(at - heap.slots().base(*slot));
    bool type = false, data = false;
    const bool known = heap.pointers().for_each_pointer_word(
        *slot, offset / 8, offset / 8 + 2,
        [&](std::uint64_t word, std::uint64_t) { (word == offset ? type : data) = true; });
    return !known || (data && !type);
}

}  // namespace

bool runtime_type(std::string_view name) {
    while (name.starts_with('*') || name.starts_with("[]")) name.remove_prefix(name.front() == '*' ? 1 : 2);
    constexpr std::array<std::string_view, 3> own = {"runtime.", "runtime/internal/", "internal/"};
    return std::ranges::any_of(own, [&](std::string_view prefix) { return name.starts_with(prefix); });
}

Boxed find_boxed(const Memory& memory, const go::Runtime& runtime, const go::Spans& spans, const go::HeapGraph* heap,
                 unsigned jobs, std::span<const Address> wanted) {
    Boxed boxed;
    Pass pass(runtime, spans, wanted);
    if (!pass.any()) return boxed;
    jobs = std::max(jobs, 1u);
    std::vector<std::vector<Row>> rows(jobs);
    const auto all = spans.all();
    parallel_chunks(jobs, all.size(), 64, [&](std::size_t begin, std::size_t end, unsigned worker) {
        MemoryCursor cursor(memory);
        for (std::size_t s = begin; s < end; ++s) {
            const go::Span& span = all[s];
            if (span.state != go::SpanState::in_use || span.noscan() || span.elem_size == 0) continue;
            const std::uint64_t size = std::min(span.range.size(), span.elem_size * std::uint64_t{span.elem_count});
            if (const std::byte* bytes = cursor.data_at(span.range.begin, size); bytes != nullptr && size >= 16)
                pass.scan(span.range.begin, bytes, size / 8, rows[worker]);
        }
    });
    for (AddressRange section : pass.sections()) {
        const Address begin = section.begin.align_down(8);
        const std::uint64_t size = section.size();
        if (const std::byte* bytes = memory.data_at(begin, size); bytes != nullptr && size >= 16)
            pass.scan(begin, bytes, size / 8, rows[0]);
    }
    std::vector<Row> merged;
    for (auto& part : rows) {
        if (part.size() >= most_objects) boxed.complete = false;
        merged.insert(merged.end(), part.begin(), part.end());
    }
    // Words of free slots are what was there before.
    std::erase_if(merged, [&](const Row& row) {
        auto holder = spans.find_object(row.named_by);
        return (holder && holder->state != go::SlotState::allocated) ||
               (heap != nullptr && !may_be_interface(*heap, row.named_by));
    });
    std::ranges::sort(merged, [](const Row& a, const Row& b) {
        return std::tie(a.object, a.type, a.named_by) < std::tie(b.object, b.type, b.named_by);
    });
    std::unordered_map<Address, std::uint32_t> seen;
    for (const Row& row : merged) {
        if (!boxed.objects.empty() && boxed.objects.back().object == row.object) continue;
        auto [at, fresh] = seen.try_emplace(row.type, static_cast<std::uint32_t>(boxed.types.size()));
        if (fresh) {
            auto type = Pass::boxed_type(runtime, row.type);
            if (!type) {
                seen.erase(at);
                continue;
            }
            auto words = go::address_words(runtime, *type);
            boxed.types.push_back({std::move(*type), std::move(words)});
        }
        if (!fits(memory, spans, runtime, boxed.types[at->second].rtype, row)) continue;
        boxed.objects.push_back({row.object, at->second, row.named_by, row.off_heap});
    }
    return boxed;
}

}  // namespace incident
