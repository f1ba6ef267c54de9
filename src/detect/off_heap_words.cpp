// Following typed pointers that leave what the collector scans. Nearly none do: a look at the words of few types
// settles it.
#include "detect/off_heap_words.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>

#include "go/heap/heap_types.h"
#include "process/boxed.h"

namespace incident::detect {

namespace {

constexpr std::size_t most_words = 1024;  // of one type
constexpr std::size_t most_objects = 1 << 16;
constexpr std::uint64_t most_elements = 1 << 16;  // of one slice
constexpr unsigned deepest = 12;

struct Word {
    std::uint64_t offset = 0;
    go::AddressWord::Kind kind = go::AddressWord::Kind::pointer;
    go::TypeId elem = go::no_type;  ///< of what a pointer or slice leads to; no_type: not followed off the heap
    bool slice = false;
    std::string path;
};

class Words {
public:
    explicit Words(const go::HeapTypes& heap)
        : heap_(heap), types_(heap.types()), words_(types_.size()), known_(types_.size()) {}

    const std::vector<Word>& of(go::TypeId id) {
        if (!known_[id]) {
            known_[id] = true;
            collect(id, 0, {}, 0, words_[id]);
        }
        return words_[id];
    }
    /// Does one of the words lead off the heap, to what may hold addresses itself? Hardly any type's does, and whether
    /// a pointer to a type did anywhere is known since types were spread over the heap.
    bool leads_off(go::TypeId id) {
        return std::ranges::any_of(of(id), [&](const Word& word) { return leads_off(word); });
    }
    bool leads_off(const Word& word) {
        return word.elem != go::no_type && heap_.leads_off_heap(word.elem) && holds(word.elem);
    }
    /// Would the allocator have let the collector scan it?
    bool holds_pointers(go::TypeId id) {
        return std::ranges::any_of(of(id), [](const Word& w) { return w.kind != go::AddressWord::Kind::uintptr; });
    }
    bool holds(go::TypeId id) { return !runtime_type(types_[id].name) && types_[id].size >= 8 && !of(id).empty(); }

private:
    void collect(go::TypeId id, std::uint64_t base, const std::string& path, unsigned depth, std::vector<Word>& out) {
        using Kind = go::AddressWord::Kind;
        const go::Type& type = types_[id];
        if (depth > deepest || out.size() >= most_words) return;
        switch (type.kind) {
            case go::Kind::uintptr: out.push_back({base, Kind::uintptr, go::no_type, false, path}); break;
            case go::Kind::unsafe_pointer: out.push_back({base, Kind::unsafe_pointer, go::no_type, false, path}); break;
            case go::Kind::pointer: out.push_back({base, Kind::pointer, type.elem, false, path}); break;
            case go::Kind::slice: out.push_back({base, Kind::pointer, type.elem, true, path}); break;
            case go::Kind::string:
            case go::Kind::map:
            case go::Kind::chan: out.push_back({base, Kind::pointer, go::no_type, false, path}); break;
            case go::Kind::interface: out.push_back({base + 8, Kind::pointer, go::no_type, false, path}); break;
            case go::Kind::struct_:
                for (const go::TypeField& field : types_.fields(type))
                    collect(field.type, base + field.offset,
                            path.empty() ? std::string(field.name) : fmt::format("{}.{}", path, field.name), depth + 1,
                            out);
                break;
            case go::Kind::array:
                for (std::uint64_t i = 0; i < type.count && out.size() < most_words; ++i) {
                    const std::size_t before = out.size();
                    collect(type.elem, base + i * types_[type.elem].size, fmt::format("{}[{}]", path, i), depth + 1,
                            out);
                    if (out.size() == before) return;
                }
                break;
            default: break;
        }
    }

    const go::HeapTypes& heap_;
    const go::TypeTable& types_;
    std::vector<std::vector<Word>> words_;
    std::vector<bool> known_;
};

/// A value off the heap that something leads to.
struct Lead {
    Address object;
    go::TypeId type = go::no_type;
    std::uint64_t count = 1;
    std::string name;  ///< "main.ring"; empty: an object leads there
};

class Follower {
public:
    Follower(const Process& process, const Locator& locator, std::size_t limit, std::uint64_t& checked)
        : process_(process),
          locator_(locator),
          types_(process.heap_types->types()),
          words_(*process.heap_types),
          limit_(limit),
          checked_(checked) {}

    void from_program() {
        for (const go::GlobalOfType& global : types_.globals())
            if (!runtime_type(global.name)) leave(global.address, global.type, global.name, nullptr);
        for (const auto& [address, type] : process_.heap_types->statics())
            if (!runtime_type(types_[type].name)) leave(address, type, {}, nullptr);
        std::vector<char> wanted(types_.size());
        for (go::TypeId id = 1; id < types_.size(); ++id)
            wanted[id] = !runtime_type(types_[id].name) && words_.leads_off(id);
        if (std::ranges::find(wanted, 1) == wanted.end()) return;
        const go::HeapSlots& slots = process_.heap->slots();
        struct Hit {
            Address object;
            go::TypeId type;
        };
        std::vector<std::vector<Hit>> hits(std::max(process_.jobs, 1u));
        process_.heap_types->for_each_live(
            process_.jobs, [&](go::TypeId id) { return wanted[id] != 0; },
            [&](go::SlotId slot, const go::ObjectType& type, unsigned worker) {
                const std::byte* data = slots.data(slot);
                if (type.basis < go::TypeBasis::edge || data == nullptr) return;
                const std::uint64_t size = types_[type.type].size, bytes = slots.size(slot);
                for (std::uint64_t n = 0; n < type.count; ++n)
                    for (const Word& word : words_.of(type.type)) {
                        const std::uint64_t at = type.offset + n * size + word.offset;
                        if (word.elem == go::no_type || at + 8 > bytes) continue;
                        Address value;
                        std::memcpy(&value.value, data + at, 8);
                        if (value.is_null() || scanned(value)) continue;
                        if (hits[worker].size() < most_objects)
                            hits[worker].push_back({slots.base(slot) + type.offset + n * size, type.type});
                        break;
                    }
            });
        for (const auto& part : hits)
            for (const Hit& hit : part) leave(hit.object, hit.type, {}, nullptr);
    }

    std::vector<OffHeapWord> follow() {
        std::vector<OffHeapWord> found;
        for (std::size_t next = 0; next < leads_.size(); ++next) {
            const Lead lead = leads_[next];
            const std::uint64_t size = types_[lead.type].size;
            for (std::uint64_t n = 0; n < lead.count; ++n) {
                const Address object = lead.object + n * size;
                const std::string index = lead.count == 1 ? std::string{} : fmt::format("[{}]", n);
                leave(object, lead.type, lead.name.empty() ? std::string{} : lead.name + index, &lead);
                for (const Word& word : words_.of(lead.type)) {
                    const Address at = object + word.offset;
                    const auto value = process_.memory.load_address(at);
                    ++checked_;
                    if (!value || !process_.spans->in_arena(*value) || found.size() >= limit_) continue;
                    if (word.kind == go::AddressWord::Kind::uintptr && !value->is_aligned(8)) continue;
                    OffHeapWord row;
                    row.word = at;
                    row.value = *value;
                    row.base = object;
                    row.symbol = lead.name.empty() ? std::string{} : lead.name + index;
                    row.type = types_[lead.type].name;
                    row.field = word.path;
                    row.kind = word.kind;
                    row.among = word.kind == go::AddressWord::Kind::uintptr
                                    ? AddressRange{object, object + size}
                                    : AddressRange{at, at + 8};  // pointers are never one past the end
                    found.push_back(std::move(row));
                }
            }
        }
        std::ranges::sort(found, {}, &OffHeapWord::word);
        found.erase(std::ranges::unique(found, {}, &OffHeapWord::word).begin(), found.end());
        return found;
    }

private:
    /// Does the collector look there, or is nothing there?
    bool scanned(Address at) const {
        const go::HeapSlots& slots = process_.heap->slots();
        if (!slots.hull().contains(at)) return process_.go->is_variable(at);
        const auto found = slots.find_kind(at);
        return !found.noscan || found.slot == go::no_slot || !process_.heap->live(found.slot);
    }
    /// Memory that the program made, none of the collector's and the runtime's: one mapping, or one noscan object.
    bool unscanned(AddressRange range) const {
        if (process_.spans->in_arena(range.begin)) {
            const go::HeapSlots& slots = process_.heap->slots();
            return !scanned(range.begin) && slots.find(range.begin) == slots.find(range.end - 1);
        }
        const Segment* segment = process_.memory.find(range.begin);
        if (process_.go->is_variable(range.begin) || segment == nullptr || segment->origin != Origin::core ||
            (segment->permissions & 2) == 0 || range.end > segment->range.end)
            return false;
        auto program_made = [&](Address at) {
            const PlaceKind kind = locator_.place(at).kind;
            return kind == PlaceKind::anonymous || kind == PlaceKind::mapped_file;
        };
        return program_made(range.begin) && program_made(range.end - 1);
    }
    /// What leads off the heap from here.
    void leave(Address from, go::TypeId type, std::string_view name, const Lead* off_heap) {
        for (const Word& word : words_.of(type)) {
            if (word.elem == go::no_type || !words_.holds(word.elem)) continue;
            const auto value = process_.memory.load_address(from + word.offset);
            if (!value || value->value < 4096 || !value->is_aligned(8) || leads_.size() >= most_objects) continue;
            std::uint64_t count = 1;
            if (word.slice) {
                const auto length = process_.memory.load<std::uint64_t>(from + word.offset + 8);
                if (!length || *length == 0) continue;
                count = std::min(*length, most_elements);
            }
            if (off_heap != nullptr && *value == off_heap->object) continue;
            const std::uint64_t bytes = types_[word.elem].size * count;
            if (!unscanned({*value, *value + bytes})) continue;
            if (process_.spans->in_arena(*value) && !words_.holds_pointers(word.elem)) continue;
            if (!seen_.insert({value->value, word.elem}).second) continue;
            std::string named;
            if (!name.empty()) named = word.path.empty() ? std::string(name) : fmt::format("{}.{}", name, word.path);
            leads_.push_back({*value, word.elem, count, std::move(named)});
        }
    }

    const Process& process_;
    const Locator& locator_;
    const go::TypeTable& types_;
    Words words_;
    std::size_t limit_;
    std::uint64_t& checked_;
    std::vector<Lead> leads_;
    std::set<std::pair<std::uint64_t, go::TypeId>> seen_;
};

}  // namespace

std::vector<OffHeapWord> find_off_heap_words(const Process& process, const Locator& locator, std::size_t limit,
                                             std::uint64_t& checked) {
    if (!process.heap || !process.heap_types) return {};
    Follower follower(process, locator, limit, checked);
    follower.from_program();
    return follower.follow();
}

}  // namespace incident::detect
