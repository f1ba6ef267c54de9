#include "detect/go_headers_check.h"

#include <algorithm>
#include <bit>
#include <cstring>

#include "base/parallel.h"
#include "go/heap/go_map_cells.h"
#include "go/heap/heap_graph.h"
#include "go/stacks/stackmaps.h"

namespace incident::detect {

namespace {

using go::PlanStep;

constexpr std::size_t most_kept = 4096;  // per worker
constexpr std::uint64_t first_page = 4096;
constexpr std::uint64_t largest_array = 1ull << 31;  // elements of a typed array that are looked at

/// Types whose words are the runtime's own business: it keeps headers over memory that it manages by hand.
bool of_the_runtime(std::string_view name) { return name.starts_with("runtime.") || name.starts_with("internal/"); }

/// Memory that persistentalloc took: the runtime's own tables, never a program's data. By its list, whose head only a
/// symbol names; empty: not known.
class RuntimeChunks {
public:
    explicit RuntimeChunks(const Process& process) {
        const auto head = process.go->find_variable("runtime.persistentChunks");
        auto at = head ? process.memory.load_address(*head).value_or(Address{}) : Address{};
        while (!at.is_null() && at.is_aligned(4096) && chunks_.size() < most) {
            chunks_.push_back(at);
            at = process.memory.load_address(at).value_or(Address{});  // each begins with the next one's address
        }
        std::ranges::sort(chunks_);
    }
    bool contains(Address a) const {
        auto after = std::ranges::upper_bound(chunks_, a);
        return after != chunks_.begin() && a < *std::prev(after) + size;
    }

private:
    // go1.10–1.27 src/runtime/malloc.go, persistentalloc1: persistentChunkSize
    static constexpr std::uint64_t size = 256u << 10;
    static constexpr std::size_t most = 1u << 16;
    std::vector<Address> chunks_;
};

/// One worker's, on cache lines of its own.
class alignas(128) Scanner {
public:
    Scanner(const Process& process, const Locator& locator, const RuntimeChunks& chunks, const go::MapCells& cells)
        : chunks_(chunks),
          cells_(cells),
          process_(process),
          locator_(locator),
          types_(process.heap_types->types()),
          plans_(process.heap_types->plans()),
          slots_(process.heap->slots()),
          cursor_(process.memory),
          judged_(types_.size()) {
        for (go::TypeId id = 1; id < types_.size(); ++id) {
            const go::TypePlan& plan = plans_[id];
            judged_[id] = !plan.empty() && !plan.shape && plan.size != 0 && !of_the_runtime(types_[id].name) &&
                          (cells_.is_unit(id) || plan.loops != 0 || std::ranges::any_of(plans_.steps(plan), is_header));
        }
    }

    HeaderScan out;

    bool judges(go::TypeId type) const { return judged_[type]; }
    /// `context` says whose value it is; where in it is filled in.
    void value(Address at, go::TypeId type, std::uint64_t count, BadHeader& context) {
        if (!judges(type)) return;
        const go::TypePlan& plan = plans_[type];
        context.object_type = type;
        context.in_cell = cells_.is_unit(type);
        if (context.in_cell) {
            for (std::uint64_t i = 0; i < count && i < largest_array; ++i) {
                context.object = at + i * plan.size;
                if (!unit(context)) return;
            }
            return;
        }
        for (std::uint64_t i = 0; i < count && i < largest_array; ++i) {
            context.object = at + i * plan.size;
            if (!one(context.object, type, 0, context, 0)) return;
        }
    }

private:
    struct Header {
        std::uint64_t words[3] = {};
        AddressRange room;  ///< the object that its data lies in, when that is too small
    };
    /// A bucket or group of a map: only cells in use. False: the memory could not be read.
    bool unit(BadHeader& context) {
        std::uint64_t control = 0;
        if (!cursor_.load(context.object, control)) return false;
        const std::uint8_t full = cells_.full(context.object_type, control);
        if (full == 0) return true;
        for (const go::MapCells::Part& part : cells_.parts(context.object_type)) {
            if (plans_[part.type].empty()) continue;
            for (unsigned i = 0; i < 8; ++i) {
                const std::uint64_t offset = part.offset + i * part.stride;
                if ((full >> i & 1) != 0 && !one(context.object + offset, part.type, offset, context, 0)) return false;
            }
        }
        return true;
    }

    /// False: the memory could not be read.
    bool one(Address at, go::TypeId type, std::uint64_t offset, const BadHeader& context, unsigned depth) {
        const go::TypePlan& plan = plans_[type];
        for (const PlanStep& step : plans_.steps(plan))
            if (is_header(step) && !check(step, at + step.offset, offset + step.offset, context)) return false;
        if (depth < 4)
            for (const go::PlanLoop& loop : plans_.loops(plan)) {
                const std::uint64_t size = plans_[loop.elem].size;
                if (size == 0 || plans_[loop.elem].empty() || cells_.is_unit(loop.elem)) continue;
                for (std::uint64_t i = 0; i < loop.count && i < largest_array; ++i)
                    if (!one(at + loop.offset + i * size, loop.elem, offset + loop.offset + i * size, context,
                             depth + 1))
                        return false;
            }
        return true;
    }

    static bool is_header(const PlanStep& step) {
        using enum PlanStep::Op;
        return step.op == slice || step.op == string || step.op == eface || step.op == iface;
    }

    /// `offset`: of `at` in the object that `context` names.
    bool check(const PlanStep& step, Address at, std::uint64_t offset, const BadHeader& context) {
        Header header;
        const std::size_t bytes = step.op == PlanStep::Op::slice ? 24 : 16;
        const std::byte* data = cursor_.data_at(at, bytes);
        if (data == nullptr) return false;
        std::memcpy(header.words, data, bytes);
        ++out.checked;
        std::optional<HeaderFault> fault;
        if (step.op == PlanStep::Op::slice)
            fault = slice(header, types_[step.target].size);
        else if (step.op == PlanStep::Op::string)
            fault = extent(header, header.words[1], header.words[1], 1, static_cast<std::int64_t>(header.words[1]) < 0);
        else
            fault = interface(header.words[0], header.words[1], step.op == PlanStep::Op::eface);
        if (!fault) [[likely]]
            return true;
        if (out.bad.size() >= most_kept) {
            ++out.more;
            return true;
        }
        BadHeader& bad = out.bad.emplace_back(context);
        bad.at = at;
        bad.offset = offset;
        bad.op = step.op;
        bad.elem = step.target;
        std::ranges::copy(header.words, bad.words);
        bad.room = header.room;
        bad.fault = *fault;
        return true;
    }

    std::optional<HeaderFault> slice(Header& header, std::uint64_t elem) {
        const std::uint64_t len = header.words[1], cap = header.words[2];
        if (static_cast<std::int64_t>(len) < 0 || static_cast<std::int64_t>(cap) < 0) return HeaderFault::negative;
        if (len > cap) return HeaderFault::len_over_cap;
        return extent(header, len, cap, elem, false);
    }

    /// Where `data` lies, and whether `len` and `cap` elements fit there.
    std::optional<HeaderFault> extent(Header& header, std::uint64_t len, std::uint64_t cap, std::uint64_t elem,
                                      bool negative) {
        if (negative) return HeaderFault::negative;
        const Address data{header.words[0]};
        if (cap == 0 || elem == 0) return std::nullopt;
        if (const go::HeapSlots::Place place = slots_.find_place(data); place.slot != go::no_slot) [[likely]] {
            const go::SlotId slot = place.slot;
            // Most are such: one look at the page's shape tells, without the span.
            if (place.shape != go::HeapSlots::no_shape && cap <= (slots_.shape_size(place.shape) - place.offset) / elem)
                [[likely]]
                return std::nullopt;
            if (!slots_.allocated(slot)) return std::nullopt;  // freed: that is another finding
            const Address end = slots_.base(slot) + slots_.size(slot);
            const auto room = static_cast<std::uint64_t>(end - data);
            if (cap <= room / elem) [[likely]]
                return std::nullopt;
            header.room = {slots_.base(slot), end};
            return len > room / elem ? HeaderFault::len_outside : HeaderFault::cap_outside;
        }
        if (len == 0) return std::nullopt;  // memory of C, where capacities are what one said
        if (data.value < first_page) return HeaderFault::no_data;
        if (data.value >> 47 != 0) return HeaderFault::not_address;
        const Segment* segment = find(data);
        if (segment != nullptr && len < (1ull << 40) / std::min<std::uint64_t>(elem, 1 << 20)) {
            const Address last = data + (len * elem - 1);
            if (segment->range.contains(last) || process_.memory.find(last) != nullptr)
                return chunks_.contains(data) ? std::optional(HeaderFault::runtimes_own) : std::nullopt;
            return locator_.place(last).kind == PlaceKind::unmapped ? std::optional(HeaderFault::unmapped)
                                                                    : std::nullopt;
        }
        return locator_.place(data).kind == PlaceKind::unmapped ? std::optional(HeaderFault::unmapped) : std::nullopt;
    }

    /// Most strings that are not on the heap lie in one segment: the program's read-only data.
    const Segment* find(Address a) {
        if (last_segment_ == nullptr || !last_segment_->range.contains(a)) last_segment_ = process_.memory.find(a);
        return last_segment_;
    }

    std::optional<HeaderFault> interface(std::uint64_t word, std::uint64_t data, bool empty) {
        if (word == 0 || ~word == 0) return std::nullopt;  // ~0: an atomic.Value being stored, up to Go 1.18
        const bool has_data = data >= first_page;
        if (has_data && word == last_good_[empty]) [[likely]]
            return std::nullopt;
        // Most of them are few types: ask the table before the memory.
        if (const go::TypeId known = types_.dynamic_type(Address{word}, empty); known != go::no_type) {
            last_good_[empty] = word;
            const go::Type& type = types_[known];
            // What is no pointer itself is kept behind one, which the compiler never leaves nil.
            const bool boxed = !type.direct_interface && type.size != 0 && !type.rtype.is_null();
            return has_data || !boxed ? std::nullopt : std::optional(HeaderFault::no_value);
        }
        if (empty) {
            if (is_type_descriptor(process_, locator_, Address{word}).value_or(true)) return std::nullopt;
            return HeaderFault::bad_type;
        }
        // A type where an itab belongs is an `any` that was taken for a Stringer: our idea of the place is wrong, not
        // the program (node_exporter, stripped: *fmt.pp in a sync.Pool).
        if (types_.dynamic_type(Address{word}, true) != go::no_type) return std::nullopt;
        if (word >> 47 != 0 || word < first_page || word % 8 != 0) return HeaderFault::bad_itab;
        const auto& f = process_.go->layout().itab;
        auto inter =
            process_.memory.load_address(Address{word} + static_cast<std::uint64_t>(std::max(f.inter.offset, 0)));
        auto type =
            process_.memory.load_address(Address{word} + static_cast<std::uint64_t>(std::max(f.type.offset, 0)));
        if (!inter || !type)
            return locator_.place(Address{word}).kind == PlaceKind::unmapped ? std::optional(HeaderFault::bad_itab)
                                                                             : std::nullopt;
        const bool good = is_type_descriptor(process_, locator_, *inter).value_or(true) &&
                          is_type_descriptor(process_, locator_, *type).value_or(true);
        if (good) return std::nullopt;
        return HeaderFault::bad_itab;
    }

    const RuntimeChunks& chunks_;
    const go::MapCells& cells_;
    const Process& process_;
    const Locator& locator_;
    const go::TypeTable& types_;
    const go::TypePlans& plans_;
    const go::HeapSlots& slots_;
    MemoryCursor cursor_;
    std::vector<char> judged_;  // types of values that are looked at
    std::uint64_t last_good_[2] = {};
    const Segment* last_segment_ = nullptr;
};

}  // namespace

std::optional<bool> is_type_descriptor(const Process& process, const Locator& locator, Address type) {
    const auto& f = process.go->layout().type;
    if (type.value < first_page || type.value >> 47 != 0 || !type.is_aligned(8)) return false;
    MemoryCursor cursor(process.memory);
    std::uint64_t size = 0, pointers = 0;
    std::uint8_t kind = 0, align = 0;
    auto get = [&](auto field, auto& value) {
        return field.present() && cursor.load(type + static_cast<std::uint64_t>(field.offset), value);
    };
    if (!get(f.size_, size) || !get(f.ptrdata, pointers) || !get(f.kind, kind) || !get(f.align, align)) {
        if (locator.place(type).kind == PlaceKind::unmapped) return false;
        return std::nullopt;
    }
    kind &= 0x1f;
    return kind >= 1 && kind <= 26 && std::has_single_bit(align) && align <= 64 && pointers <= size &&
           pointers % 8 == 0 && size < (1ull << 47);
}

namespace {

/// Variables of frames that wait for a call: what DWARF places in memory there, and the collector's map of the frame
/// calls live. Other words of a frame are left over from what was there before.
void scan_frames(const Process& process, std::vector<Scanner>& scanners) {
    std::vector<std::size_t> first;
    for (const Scanner& scanner : scanners) first.push_back(scanner.out.bad.size());
    const auto jobs = static_cast<unsigned>(scanners.size());
    process.heap_types->for_each_frame_variable(jobs, [&](const go::HeapTypes::Typed& variable, unsigned worker) {
        const go::PhysicalFrame frame = process.stacks.physical(variable.goroutine)[variable.frame];
        if (!frame.after_call || frame.trust == report::Trust::scan || of_the_runtime(frame.name())) return;
        BadHeader context;
        context.variable = variable.name;
        context.goroutine = variable.goroutine;
        context.frame = variable.frame;
        scanners[worker].value(variable.address, variable.type, 1, context);
    });
    auto dead = [&](const BadHeader& bad) {
        auto maps = go::frame_maps(process.memory, *process.go, process.stacks.physical(bad.goroutine)[bad.frame]);
        if (!maps || !maps->exact) return true;
        using Word = go::FrameMaps::Word;
        auto is = [&](std::uint64_t word, Word what) { return maps->classify(bad.at + word * 8) == what; };
        auto live = [&](std::uint64_t word) {
            return is(word, Word::live_pointer) ||
                   (is(word, Word::object_pointer) &&
                    std::ranges::any_of(process.heap->roots().of(bad.goroutine), [&](const go::Root& root) {
                        return root.where == bad.at + word * 8 &&
                               !root.conservative;  // something leads to the variable
                    }));
        };
        if (bad.op == PlanStep::Op::eface || bad.op == PlanStep::Op::iface) return !live(1);
        return !live(0) || !is(1, Word::not_pointer) || (bad.op == PlanStep::Op::slice && !is(2, Word::not_pointer));
    };
    for (std::size_t i = 0; i < scanners.size(); ++i) {
        auto& bad = scanners[i].out.bad;
        bad.erase(std::remove_if(bad.begin() + static_cast<std::ptrdiff_t>(first[i]), bad.end(), dead), bad.end());
    }
}

}  // namespace

HeaderScan scan_headers(const Process& process, const Locator& locator) {
    const unsigned jobs = std::max(process.jobs, 1u);
    const go::HeapTypes& heap_types = *process.heap_types;
    const go::HeapSlots& slots = process.heap->slots();
    const RuntimeChunks chunks(process);
    const go::MapCells cells(heap_types.types());
    std::vector<Scanner> scanners;
    scanners.reserve(jobs);
    for (unsigned i = 0; i < jobs; ++i) scanners.emplace_back(process, locator, chunks, cells);
    std::vector<BadHeader> contexts(jobs);
    heap_types.for_each_live(
        jobs, [&](go::TypeId id) { return scanners[0].judges(id); },
        [&](go::SlotId slot, const go::ObjectType& type, unsigned worker) {
            if (slots.noscan(slot)) return;  // headers hold pointers
            BadHeader& context = contexts[worker];
            context.slot = slot;
            context.basis = type.basis;
            context.count = type.count;
            scanners[worker].value(slots.base(slot) + type.offset, type.type, type.count, context);
        });
    for (const go::GlobalOfType& global : heap_types.types().globals()) {
        if (global.name.starts_with("runtime.") || global.name.starts_with("internal/")) continue;
        BadHeader context;
        context.variable = global.name;
        scanners[0].value(global.address, global.type, 1, context);
    }
    // A static value is known by a pointer to it alone: it must lie where values lie.
    for (auto& [address, type] : heap_types.statics())
        for (const go::ModuleData& module : process.go->modules())
            if (BadHeader context;
                address.is_aligned(8) && (module.data.contains(address) || module.bss.contains(address)))
                scanners[0].value(address, type, 1, context);
    scan_frames(process, scanners);
    HeaderScan all;
    for (Scanner& scanner : scanners) {
        all.checked += scanner.out.checked;
        all.more += scanner.out.more;
        std::ranges::move(scanner.out.bad, std::back_inserter(all.bad));
    }
    std::ranges::sort(all.bad, {}, [](const BadHeader& bad) { return std::pair(bad.at, bad.variable.empty()); });
    all.bad.erase(std::ranges::unique(all.bad, {}, &BadHeader::at).begin(), all.bad.end());
    return all;
}

}  // namespace incident::detect
