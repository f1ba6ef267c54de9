#include "go/heap/heap_types.h"

#include <fmt/format.h>

#include <algorithm>
#include <tuple>

#include "base/parallel.h"
#include "go/heap/type_roots.h"

namespace incident::go {

namespace {
constexpr std::uint32_t untyped_key = 1u << 31, noscan_key = 1u << 30;
}

ObjectType HeapTypes::type_of(SlotId slot) const {
    ObjectType out;
    const std::uint32_t word = words_[slot];
    out.basis = TypeWord::basis(word);
    const auto& slots = graph_.slots();
    if (slots.slot_span(slot).pointers == PointerInfo::header) out.offset = 8;
    if (!out.known()) return out;
    const std::uint32_t type = TypeWord::type(word);
    if (type >= types_->size()) {
        out.closure = &closures_[type - types_->size()];
        return out;
    }
    out.type = type;
    const std::uint64_t size = (*plans_)[type].size;
    if (TypeWord::array(word) && size != 0) out.count = (slots.size(slot) - out.offset) / size;
    return out;
}

std::uint32_t HeapTypes::key_of(SlotId slot) const noexcept {
    const std::uint32_t word = words_[slot];
    if (TypeWord::basis(word) != TypeBasis::none) return word & (TypeWord::type_mask | TypeWord::array_bit);
    const auto& slots = graph_.slots();
    const auto words = static_cast<std::uint32_t>(std::min<std::uint64_t>(slots.size(slot) / 8, noscan_key - 1));
    return untyped_key | (slots.noscan(slot) ? noscan_key : 0) | words;
}

std::string HeapTypes::name_of_key(std::uint32_t key) const {
    if ((key & untyped_key) != 0)
        return fmt::format("?{}-{}", (key & noscan_key) != 0 ? "noscan" : "scan",
                           std::uint64_t{key & (noscan_key - 1)} * 8);
    const std::uint32_t type = key & TypeWord::type_mask;
    if (type >= types_->size()) return closures_[type - types_->size()].name;
    if ((key & TypeWord::array_bit) != 0) return "[]" + spoken_type((*types_)[type].name);
    // The map or channel itself bears the plain name; one word that points to it is a variable that escaped.
    const Kind kind = (*types_)[type].kind;
    const bool handle = kind == Kind::map || kind == Kind::chan;
    return spoken_type((*types_)[type].name) + (handle ? " (variable)" : "");
}

MadeType HeapTypes::made_of_key(std::uint32_t key) const {
    const std::uint32_t type = key & TypeWord::type_mask;
    if ((key & untyped_key) != 0 || type >= types_->size()) return MadeType::none;
    const std::string_view name = (*types_)[type].name;
    return made_type(name.starts_with('*') ? name.substr(1) : name);
}

std::string HeapTypes::name_of(SlotId slot) const { return name_of_key(key_of(slot)); }

template <class Wanted, class Body>
void HeapTypes::for_each_live_word(unsigned jobs, Wanted&& wanted, Body&& body) const {
    std::vector<char> yes(words_.codes());
    for (std::size_t code = 1; code < yes.size(); ++code)
        yes[code] = wanted(words_.word_of(static_cast<TypeWords::Code>(code)));
    const std::span<const std::uint64_t> live = graph_.live_bits().words();
    parallel_chunks(jobs, live.size(), 4096, [&](std::size_t begin, std::size_t end, unsigned worker) {
        for (std::size_t block = begin; block < end; ++block)
            for (std::uint64_t bits = live[block]; bits != 0; bits &= bits - 1) {
                const auto slot = static_cast<SlotId>(block * 64 + static_cast<unsigned>(std::countr_zero(bits)));
                const TypeWords::Code code = words_.code(slot);
                if (code == TypeWords::rare ? wanted(words_[slot]) : yes[code] != 0) body(slot, worker);
            }
    });
}

void HeapTypes::for_each_live(unsigned jobs, const std::function<bool(TypeId)>& wanted,
                              const std::function<void(SlotId, const ObjectType&, unsigned worker)>& body) const {
    for_each_live_word(
        jobs,
        [&](std::uint32_t word) {
            const std::uint32_t type = TypeWord::type(word);
            return TypeWord::basis(word) != TypeBasis::none && type < types_->size() && wanted(type);
        },
        [&](SlotId slot, unsigned worker) { body(slot, type_of(slot), worker); });
}

void HeapTypes::for_each_live_closure(
    unsigned jobs, const std::function<bool(const ClosureType&)>& wanted,
    const std::function<void(SlotId, const ClosureType&, unsigned worker)>& body) const {
    const auto closure_of = [&](std::uint32_t word) -> const ClosureType* {
        const std::size_t type = TypeWord::type(word);
        return TypeWord::basis(word) == TypeBasis::closure && type >= types_->size() ? &closures_[type - types_->size()]
                                                                                     : nullptr;
    };
    for_each_live_word(
        jobs,
        [&](std::uint32_t word) {
            const ClosureType* closure = closure_of(word);
            return closure != nullptr && wanted(*closure);
        },
        [&](SlotId slot, unsigned worker) { body(slot, *closure_of(words_[slot]), worker); });
}

namespace {

/// Sums of one worker: by code for what has one, by key for what is untyped or rare.
struct Sums {
    std::vector<TypeCount> by_code;
    std::unordered_map<std::uint32_t, TypeCount> by_key;
    std::uint64_t noted_bytes = 0;
};

}  // namespace

void HeapTypes::sum() {
    const auto& slots = graph_.slots();
    const auto spans = slots.slot_spans();
    const unsigned jobs = std::max(graph_.input().jobs, 1u);
    std::vector<Sums> workers(jobs);
    parallel_chunks(jobs, spans.size(), 512, [&](std::size_t begin, std::size_t end, unsigned worker) {
        Sums& sums = workers[worker];
        sums.by_code.resize(words_.codes());
        for (std::size_t i = begin; i < end; ++i) {
            const SlotSpan& span = spans[i];
            const std::uint64_t size = std::uint64_t{span.words} * 8;
            for (std::uint32_t n = 0; n < span.count; ++n) {
                const SlotId slot = span.first + n;
                if (!slots.allocated(slot)) continue;
                const TypeWords::Code code = words_.code(slot);
                const bool common = code != 0 && code != TypeWords::rare;
                TypeCount& row = common ? sums.by_code[code] : sums.by_key[key_of(slot)];
                ++row.objects;
                row.bytes += size;
                if (!graph_.live(slot)) continue;
                ++row.live_objects;
                row.live_bytes += size;
                if (!common && TypeWord::basis(words_[slot]) == TypeBasis::noted) sums.noted_bytes += size;
            }
        }
    });
    std::unordered_map<std::uint32_t, TypeCount> all;
    const auto add = [&](std::uint32_t key, const TypeCount& row) {
        if (row.objects == 0) return;
        TypeCount& total = all[key];
        total.key = key;
        total.objects += row.objects;
        total.bytes += row.bytes;
        total.live_objects += row.live_objects;
        total.live_bytes += row.live_bytes;
        shares_.live_objects += row.live_objects;
        shares_.live_bytes += row.live_bytes;
        if ((key & untyped_key) != 0) {
            ((key & noscan_key) != 0 ? shares_.untyped_noscan : shares_.untyped_scan) += row.live_bytes;
        } else {
            shares_.typed_objects += row.live_objects;
            shares_.typed_bytes += row.live_bytes;
        }
    };
    shares_ = {};
    for (const Sums& sums : workers) {
        for (std::size_t code = 1; code < sums.by_code.size(); ++code) {
            const std::uint32_t word = words_.word_of(static_cast<TypeWords::Code>(code));
            add(word & (TypeWord::type_mask | TypeWord::array_bit), sums.by_code[code]);
            if (TypeWord::basis(word) == TypeBasis::noted) shares_.noted_bytes += sums.by_code[code].live_bytes;
        }
        for (auto& [key, row] : sums.by_key) add(key, row);
        shares_.noted_bytes += sums.noted_bytes;
    }
    counts_.reserve(all.size());
    for (auto& [key, row] : all) counts_.push_back(row);
    std::ranges::sort(counts_, [](const TypeCount& a, const TypeCount& b) {
        return std::tuple(b.live_bytes, b.bytes, a.key) < std::tuple(a.live_bytes, a.bytes, b.key);
    });
}

std::optional<HeapTypes::Typed> HeapTypes::frame_variable(std::uint32_t goroutine, std::uint32_t frame,
                                                          Address where) const {
    const auto& input = graph_.input();
    const auto physical = input.stacks == nullptr ? std::nullopt : input.stacks->frame(goroutine, frame);
    if (!physical) return std::nullopt;
    auto shape = shapes_.find(physical->pc.value - (physical->after_call ? 1 : 0));
    if (shape == shapes_.end() || physical->cfa.is_null()) return std::nullopt;
    const std::int64_t offset = where - physical->cfa;
    const FrameShape::Row* best = nullptr;
    for (const FrameShape::Row& row : shape->second.rows)
        if (offset >= row.offset && offset < row.offset + static_cast<std::int64_t>(row.size) &&
            (best == nullptr || !(*plans_)[row.type].shape))
            best = &row;
    if (best == nullptr) return std::nullopt;
    Typed out;
    out.address = Address{physical->cfa.value + static_cast<std::uint64_t>(best->offset)};
    out.type = best->type;
    out.place = Typed::Place::frame;
    out.goroutine = goroutine;
    out.frame = frame;
    out.name = best->name;
    return out;
}

void HeapTypes::for_each_frame_variable(unsigned jobs,
                                        const std::function<void(const Typed&, unsigned worker)>& fn) const {
    const auto& input = graph_.input();
    const std::size_t stacks = input.stacks == nullptr ? 0 : input.stacks->size();
    const auto visit = [&](std::uint32_t g, unsigned worker) {
        const PhysicalFrames frames = input.stacks->physical(g);
        for (std::uint32_t f = 0; f < frames.size(); ++f) {
            const PhysicalFrame frame = frames[f];
            auto shape = shapes_.find(frame.pc.value - (frame.after_call ? 1 : 0));
            if (shape == shapes_.end() || frame.cfa.is_null()) continue;
            for (const FrameShape::Row& row : shape->second.rows) {
                if (row.size != (*types_)[row.type].size) continue;
                Typed value;
                value.address = Address{frame.cfa.value + static_cast<std::uint64_t>(row.offset)};
                value.type = row.type;
                value.place = Typed::Place::frame;
                value.goroutine = g;
                value.frame = f;
                value.name = row.name;
                fn(value, worker);
            }
        }
    };
    parallel_chunks(jobs, stacks, 512, [&](std::size_t begin, std::size_t end, unsigned worker) {
        for (std::size_t g = begin; g < end; ++g) visit(static_cast<std::uint32_t>(g), worker);
    });
}

void HeapTypes::for_each_typed_value(const std::function<void(const Typed&)>& fn) const {
    for (const GlobalOfType& global : types_->globals()) {
        Typed value;
        value.address = global.address;
        value.type = global.type;
        value.name = global.name;
        fn(value);
    }
    for (auto& [address, type] : statics_) {
        Typed value;
        value.address = address;
        value.type = type;
        value.place = Typed::Place::statics;
        fn(value);
    }
    for_each_frame_variable(1, [&](const Typed& variable, unsigned) { fn(variable); });
    const auto& slots = graph_.slots();
    slots.allocated_bits().for_each([&](SlotId slot) {
        const ObjectType type = type_of(slot);
        if (type.type == no_type) return;
        Typed value;
        value.address = slots.base(slot) + type.offset;
        value.type = type.type;
        value.count = type.count;
        value.place = Typed::Place::object;
        value.slot = slot;
        fn(value);
    });
}

struct HeapTypesBuilder::State {
    explicit State(std::shared_ptr<HeapTypes> types)
        : out(std::move(types)), spread(*out, out->graph().input().jobs), roots(*out, spread) {}
    std::shared_ptr<HeapTypes> out;
    TypeSpread spread;
    TypeRoots roots;
};

HeapTypesBuilder::HeapTypesBuilder(const HeapGraph& graph) {
    const HeapInput& input = graph.input();
    auto table = std::make_shared<const TypeTable>(TypeTable::read(input.memory, input.runtime));
    std::shared_ptr<HeapTypes> out(new HeapTypes(graph, std::move(table)));
    out->words_ = TypeWords(graph.slots().limit());
    state_ = std::make_unique<State>(std::move(out));
}

HeapTypesBuilder::~HeapTypesBuilder() = default;

void HeapTypesBuilder::spread() {
    TypeRoots& roots = state_->roots;
    roots.note_headers();
    roots.add_globals();
    roots.add_runtime();
    roots.add_queued();
    roots.add_frames();
    state_->spread.run();
}

std::shared_ptr<const HeapTypes> HeapTypesBuilder::finish() {
    auto& [out, spread, roots] = *state_;
    roots.seed_noted();
    spread.run();
    spread.run_with_guesses();
    for (int round = 0; round < 6 && roots.look_into_untyped(); ++round) spread.run_with_guesses();
    spread.finish();
    out->sum();
    return std::move(out);
}

}  // namespace incident::go
