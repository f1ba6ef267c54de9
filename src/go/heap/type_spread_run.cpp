// The workers: who processes what, when nothing is left, and what is decided only then. See type_spread.h.
#include <algorithm>

#include "go/heap/type_spread_worker.h"
#include "image/go_types.h"

namespace incident::go {

namespace {

constexpr std::uint32_t piece = 4096;  // elements of a long array that one item visits
constexpr int most_rounds = 1000;

}  // namespace

TypeSpread::TypeSpread(HeapTypes& out, unsigned jobs)
    : out_(out),
      slots_(out.graph_.slots()),
      plans_(*out.plans_),
      types_(*out.types_),
      first_closure_(static_cast<std::uint32_t>(out.types_->size())),
      hull_(slots_.hull()),
      lanes_(jobs, slots_.limit()),
      own_(std::make_unique<Worker>(slots_.memory(), lanes_, types_.size())) {
    out_.off_heap_.resize(types_.size());
    for (const ModuleData& module : out.graph_.input().runtime.modules()) {
        for (const AddressRange& range : {module.noptrdata, module.data, module.bss, module.noptrbss})
            if (!range.empty()) statics_.push_back(range);
        if (module.image != nullptr) statics_.push_back(module.image->range());
        descriptors_.push_back(module.types);
    }
}

TypeSpread::~TypeSpread() = default;

void TypeSpread::follow(Worker& worker, const Item& item) {
    const std::uint64_t size = plans_[item.type].size;
    for (std::uint32_t i = 0; i < item.count; ++i) {
        const std::byte* data = worker.cursor.data_at(Address{item.at + i * size}, size);
        if (data != nullptr) plan(worker, item.type, data, size);
    }
}

void TypeSpread::follow_all(Worker& worker) {
    while (!worker.items.empty()) {
        const Item item = worker.items.back();
        worker.items.pop_back();
        follow(worker, item);
    }
}

void TypeSpread::look_into(Worker& worker, SlotId slot, const SlotSpan& span) {
    const std::byte* data = slots_.data(slot, span);
    if (data == nullptr) return;
    const std::uint32_t word = out_.words_[slot];
    const std::uint64_t offset = span.pointers == PointerInfo::header ? 8 : 0;
    const std::uint64_t available = std::uint64_t{span.words} * 8 - offset;
    data += offset;
    const std::uint32_t type = TypeWord::type(word);
    if (type >= first_closure_) {
        for (const TypeField& capture : out_.closures_[type - first_closure_].captures)
            if (capture.offset < available)
                plan(worker, capture.type, data + capture.offset, available - capture.offset);
        return;
    }
    const std::uint64_t size = plans_[type].size;
    if (size == 0 || plans_[type].empty()) return;
    const std::uint64_t count = TypeWord::array(word) ? available / size : 1;
    if (count > 2 * std::uint64_t{piece}) {  // for all workers
        const std::uint64_t base = slots_.base(slot).value + offset;
        for (std::uint64_t i = 0; i < count; i += piece)
            worker.hand.send(static_cast<unsigned>(i / piece % lanes_.count()),
                             {.address = base + i * size,
                              .count = std::min<std::uint64_t>(piece, count - i),
                              .type = type,
                              .what = Claim::What::item});
        return;
    }
    for (std::uint64_t i = 0; i < count; ++i) plan(worker, type, data + i * size, available - i * size);
}

void TypeSpread::look_into(Worker& worker, SlotId first, std::uint64_t bits) {
    worker.near = first - nearby;
    slots_.for_each_of_block(first, bits, [&](SlotId slot, const SlotSpan& span) { look_into(worker, slot, span); });
    follow_all(worker);
}

void TypeSpread::receive(Worker& worker, std::span<const Claim> claims) {
    for (std::size_t i = 0; i < claims.size(); ++i) {
        if (i + ahead < claims.size() && claims[i + ahead].found.slot != no_slot)
            out_.words_.prefetch(claims[i + ahead].found.slot);
        const Claim& claim = claims[i];
        if (claim.what == Claim::What::look)
            worker.hand.add(claim.found.slot);
        else if (claim.what == Claim::What::item)
            worker.items.push_back({claim.address, claim.type, clip(claim.count)});
        else
            judge(worker, claim);
    }
    follow_all(worker);
}

void TypeSpread::work(Worker& worker) {
    worker.hand.walk([&](std::span<const Claim> claims) { receive(worker, claims); },
                     [&](SlotId first, std::uint64_t bits) { look_into(worker, first, bits); },
                     [&] {
                         const bool any = judge_all(worker);
                         follow_all(worker);
                         return any;
                     });
}

void TypeSpread::seed(SlotId slot) {
    lanes_.post(lanes_.of(slot), {.found = {slot, false}, .what = Claim::What::look});
}

void TypeSpread::seed_noted(SlotId slot) {
    const std::uint32_t word = out_.words_[slot];
    if ((word & TypeWord::looked_into) != 0) return;
    out_.words_.set(slot, word | TypeWord::looked_into);
    seed(slot);
}

void TypeSpread::post(const Item& item) {
    lanes_.post(next_lane_++ % lanes_.count(),
                {.address = item.at, .count = item.count, .type = item.type, .what = Claim::What::item});
}

std::uint32_t TypeSpread::add_closure(Address entry) {
    auto [place, fresh] = out_.closure_at_.try_emplace(entry.value, static_cast<std::uint32_t>(out_.closures_.size()));
    if (!fresh) return place->second;
    ClosureType closure;
    closure.entry = entry;
    const auto& input = out_.graph_.input();
    const auto func = input.runtime.find_func(entry);
    if (!func || func->entry != entry) {
        out_.closure_at_.erase(place);
        return ~0u;
    }
    closure.name = "func " + std::string(func->name);
    const auto modules = input.runtime.modules();
    for (std::size_t i = 0; i < modules.size(); ++i) {
        if (modules[i].image == nullptr || !modules[i].text.contains(entry)) continue;
        for (const GoCapture& capture : go_captures(*modules[i].image, entry)) {
            const TypeId type = types_.find_die(capture.type, i);
            if (type == no_type || capture.offset > 1 << 16) continue;
            closure.captures.push_back({capture.name, capture.offset, type, false});
            closure.size = std::max(closure.size, capture.offset + types_[type].size);
        }
    }
    // A method value: {fn, receiver}. go1.27 src/cmd/compile/internal/walk/closure.go, methodValueWrapper.
    if (closure.captures.empty() && func->name.ends_with("-fm")) {
        std::string receiver(func->name.substr(0, func->name.rfind('.')));
        const bool pointer = receiver.ends_with(')');
        if (const auto open = receiver.find("(*"); pointer && open != receiver.npos)
            receiver = "*" + receiver.substr(0, open) + receiver.substr(open + 2, receiver.size() - open - 3);
        if (const TypeId type = types_.find(receiver)) {
            closure.captures.push_back({"receiver", 8, type, false});
            closure.size = 8 + types_[type].size;
        }
    }
    out_.closures_.push_back(std::move(closure));
    return place->second;
}

/// In an order that does not depend on the workers. False: there were none, or better is known by now.
bool TypeSpread::take_guesses() {
    std::ranges::sort(guessed_);
    guessed_.erase(std::ranges::unique(guessed_).begin(), guessed_.end());
    for (const SlotId slot : std::exchange(guessed_, {}))
        if (TypeWord::basis(out_.words_[slot]) < TypeBasis::edge) seed(slot);
    std::ranges::sort(inside_unknown_, {}, [](const Item& item) { return std::tuple(item.at, item.type, item.count); });
    for (const Item& item : std::exchange(inside_unknown_, {}))
        if (TypeWord::basis(out_.words_[slots_.find(Address{item.at})]) < TypeBasis::edge) post(item);
    return !lanes_.empty();
}

void TypeSpread::run() {
    for (int round = 0; round < most_rounds; ++round) {
        for (const Item& item : std::exchange(own_->items, {})) post(item);
        own_->hand.flush();
        if (lanes_.empty()) return;
        std::vector<std::unique_ptr<Worker>> workers;
        workers.push_back(std::move(own_));
        while (workers.size() < lanes_.workers())
            workers.push_back(std::make_unique<Worker>(slots_.memory(), lanes_, types_.size()));
        lanes_.run([&](unsigned worker) { work(*workers[worker]); });
        own_ = std::make_unique<Worker>(slots_.memory(), lanes_, types_.size());
        std::vector<std::pair<SlotId, std::uint64_t>> met;
        for (auto& worker : workers) {
            met.insert(met.end(), worker->closures.begin(), worker->closures.end());
            parts_.insert(parts_.end(), worker->parts.begin(), worker->parts.end());
            for (std::size_t type = 0; type < worker->off_heap.size(); ++type)
                if (worker->off_heap[type]) out_.off_heap_[type] = true;
            guessed_.insert(guessed_.end(), worker->guessed.begin(), worker->guessed.end());
            inside_unknown_.insert(inside_unknown_.end(), worker->inside.begin(), worker->inside.end());
        }
        std::ranges::sort(met);
        for (auto& [slot, entry] : met)
            if (add_closure(Address{entry}) != ~0u) claim_func(*own_, slots_.base(slot).value);
    }
}

void TypeSpread::visit(Address at, TypeId id, std::uint64_t count) {
    if (!plans_[id].empty()) own_->items.push_back({at.value, id, clip(count)});
}

void TypeSpread::visit_step(const PlanStep& step, Address value) {
    using Op = PlanStep::Op;
    if (step.op == Op::counted || step.op == Op::swiss_group) return;
    if (step.op == Op::slice || step.op == Op::string) {
        // Of a slice or string in a frame often only the pointer is stored: then it is an array of unknown length.
        Address data;
        std::uint64_t length = 0, capacity = 0;
        const std::uint64_t each = std::max<std::uint64_t>(plans_[step.target].size, 1);
        if (!own_->cursor.load(value, data)) return;
        const SlotId slot = slots_.find(data);
        const bool whole =
            own_->cursor.load(value + 8, length) &&
            (step.op == Op::string ? (capacity = length, true) : own_->cursor.load(value + 16, capacity));
        if (slot != no_slot && (!whole || length > capacity || capacity == 0 || capacity > slots_.size(slot) / each)) {
            const std::uint64_t offset = static_cast<std::uint64_t>(data - slots_.base(slot));
            return claim(*own_, data.value, step.target, (slots_.size(slot) - offset) / each, TypeBasis::array);
        }
    }
    for (std::uint64_t size : {24u, 16u, 8u})
        if (const std::byte* data = own_->cursor.data_at(value, size)) return this->step(*own_, step, data, size);
}
void TypeSpread::claim(Address at, TypeId id, std::uint64_t count, TypeBasis basis) {
    claim(*own_, at.value, id, count, basis);
}
void TypeSpread::claim_closure(Address at) { claim_func(*own_, at.value); }

void TypeSpread::finish() {
    static_values_.for_each(
        [&](std::uint64_t address, TypeId type) { out_.statics_.emplace_back(Address{address}, type); });
    // One type for each place: the largest, of equal ones the first.
    std::ranges::sort(out_.statics_, {}, [&](const std::pair<Address, TypeId>& value) {
        return std::tuple(value.first, ~plans_[value.second].size, value.second);
    });
    out_.statics_.erase(std::ranges::unique(out_.statics_, {}, &std::pair<Address, TypeId>::first).begin(),
                        out_.statics_.end());
}

}  // namespace incident::go
