// Claims: what one typed word says of the object that it leads to, and which claim wins. See type_spread.h.
#include <algorithm>

#include "go/heap/channel_object.h"
#include "go/heap/type_spread_worker.h"

namespace incident::go {

namespace {

constexpr std::uint64_t most_elements = 1ull << 36;  // of one array claim
constexpr std::size_t most_parts = 1 << 20;          // pointers to the middle that are kept, per worker
constexpr std::uint64_t largest_on_stack = 1 << 16;  // bytes of a value there

std::uint64_t word_at(const std::byte* at) {
    std::uint64_t word;
    std::memcpy(&word, at, 8);
    return word;
}

/// So little is left behind an array in a slot of `available` bytes that it was allocated for this array.
bool fills(std::uint64_t left, std::uint64_t element, std::uint64_t available) {
    return left < std::max(element, available / 8 + 16);
}

}  // namespace

bool TypeSpread::Visited::fresh(std::uint64_t address, TypeId type, std::uint64_t count) {
    Shard& shard = shards_[address / 8 % std::size(shards_)];
    const std::lock_guard lock(shard.mutex);
    if (shard.most.size() >= limit) return false;
    auto [place, is_new] = shard.most.try_emplace({address, type}, count);
    if (!is_new && place->second >= count) return false;
    place->second = count;
    return true;
}

std::uint64_t TypeSpread::extent(std::uint32_t word, std::uint64_t available) const {
    if (TypeWord::array(word)) return available;
    const std::uint32_t type = TypeWord::type(word);
    return type >= first_closure_ ? out_.closures_[type - first_closure_].size : plans_[type].size;
}

bool TypeSpread::better(std::uint32_t word, std::uint32_t old, std::uint64_t available) const {
    const auto old_basis = TypeWord::basis(old), basis = TypeWord::basis(word);
    if (old == word || basis < old_basis) return false;
    if (basis != old_basis) return true;
    if (basis == TypeBasis::noted) return false;
    const std::uint64_t covers = extent(word, available), covered = extent(old, available);
    if (covers != covered) return covers > covered;
    const std::uint32_t type = TypeWord::type(word), old_type = TypeWord::type(old);
    const bool shape = type < first_closure_ && plans_[type].shape;
    const bool old_shape = old_type < first_closure_ && plans_[old_type].shape;
    return shape == old_shape ? word < old : old_shape;
}

/// Does a value of the second word's type lead wherever one of the first's leads?
bool TypeSpread::contains(Worker& worker, std::uint32_t inner, std::uint32_t outer) const {
    const std::uint32_t a = TypeWord::type(inner), b = TypeWord::type(outer);
    if (a == b) return TypeWord::array(outer) || !TypeWord::array(inner);
    if (TypeWord::array(inner) || a >= first_closure_ || b >= first_closure_) return false;
    if (plans_[a].empty()) return true;
    auto& known = worker.contained[(a * 31 + b) % worker.contained.size()];
    if (known.inner != a || known.outer != b) {
        const auto steps = plans_.steps(plans_[b]);
        known = {a, b, plans_[a].loops == 0 && std::ranges::all_of(plans_.steps(plans_[a]), [&](const PlanStep& step) {
                           return std::ranges::find(steps, step) != steps.end();
                       })};
    }
    return known.yes;
}

void TypeSpread::settle(Worker& worker, HeapSlots::Found found, std::uint32_t before, std::uint32_t word,
                        std::uint64_t address, std::uint64_t available) {
    if (!better(word, before, available)) {
        if (word != before && TypeWord::basis(word) >= TypeBasis::edge && !found.noscan)
            follow_loser(worker, word, before, address, available);
        return;
    }
    out_.words_.set(found.slot, word);
    if (found.noscan) return;
    if (TypeWord::basis(word) < TypeBasis::edge) {
        worker.guessed.push_back(found.slot);
        return;
    }
    worker.hand.add(found.slot);
    // The object may not have been looked into as what it was taken for until now.
    if (TypeWord::basis(before) >= TypeBasis::edge) follow_loser(worker, before, word, address, available);
}

/// A claim that lost, whichever came first: where it leads is followed too, unless the winner leads there as well.
void TypeSpread::follow_loser(Worker& worker, std::uint32_t word, std::uint32_t winner, std::uint64_t address,
                              std::uint64_t available) {
    const TypeId type = TypeWord::type(word);
    if (type >= first_closure_ || plans_[type].empty() || contains(worker, word, winner)) return;
    const std::uint64_t count = TypeWord::array(word) ? available / plans_[type].size : 1;
    if (lost_.fresh(address, type, count)) worker.items.push_back({address, type, clip(count)});
}

void TypeSpread::claim_func(Worker& worker, std::uint64_t address) {
    const auto found = slots_.find_kind(Address{address});
    if (found.slot == no_slot || !slots_.allocated(found.slot) || slots_.base(found.slot).value != address) return;
    if (worker.hand.holds(found.slot)) return judge_func(worker, found);
    tell(worker, {.address = address, .found = found, .what = Claim::What::func});
}

void TypeSpread::judge_func(Worker& worker, HeapSlots::Found found) {
    const std::byte* data = slots_.data(found.slot);
    if (data == nullptr) return;
    const std::uint64_t entry = word_at(data);
    auto known = out_.closure_at_.find(entry);
    if (known == out_.closure_at_.end()) {
        worker.closures.emplace_back(found.slot, entry);
        return;
    }
    settle(worker, found, out_.words_[found.slot],
           TypeWord::make(first_closure_ + known->second, false, TypeBasis::closure), slots_.base(found.slot).value,
           slots_.size(found.slot));
}

void TypeSpread::claim_static(Worker& worker, std::uint64_t address, TypeId id, std::uint64_t count) {
    const Address at{address};
    if (plans_[id].size < 8 || address < 4096) return;
    bool inside = false;
    for (const AddressRange& range : statics_) inside = inside || range.contains(at);
    if (!inside) worker.off_heap[id] = true;
    if (plans_[id].empty()) return;
    for (const AddressRange& range : descriptors_) inside = inside && !range.contains(at);
    if (!inside || (count == 1 && types_.global_at(at) != nullptr)) return;
    if (static_values_.fresh(address, id, count)) worker.items.push_back({address, id, clip(count)});
}

/// A stack: a map header or a captured variable that did not escape. What points there does so from a live place.
void TypeSpread::claim_on_stack(Worker& worker, std::uint64_t address, TypeId id, std::uint64_t count) {
    if (plans_[id].empty() || plans_[id].size * count > largest_on_stack) return;
    const Span* span = slots_.spans().find(Address{address});
    if (span != nullptr && span->state == SpanState::manual && on_stacks_.fresh(address, id, count))
        worker.items.push_back({address, id, clip(count)});
}

void TypeSpread::claim(Worker& worker, std::uint64_t address, TypeId id, std::uint64_t count, TypeBasis basis) {
    if (id == no_type || count == 0 || count > most_elements) return;
    if (!hull_.contains(Address{address})) return claim_static(worker, address, id, count);
    const HeapSlots::Place found = slots_.find_place(Address{address});
    if (found.slot == no_slot) return claim_on_stack(worker, address, id, count);
    if (!slots_.allocated(found.slot)) return;
    if (found.noscan && basis == TypeBasis::edge && !plans_[id].empty()) worker.off_heap[id] = true;
    const TypeWords::Code code = basis == TypeBasis::edge && found.shape != HeapSlots::no_shape &&
                                         found.offset == (slots_.shape_has_header(found.shape) ? 8 : 0)
                                     ? code_at_start(worker, found.shape, id, count)
                                     : 0;
    const Claim claim{.address = address, .count = count, .found = found, .type = id, .basis = basis, .code = code};
    if (!worker.hand.holds(found.slot)) return tell(worker, claim);
    if (found.slot - worker.near < 2 * nearby) return judge(worker, claim);
    out_.words_.prefetch(found.slot);
    // The word of the object is on its way into the cache; judged is the claim that has waited longest.
    Claim& place = worker.claims[worker.next_claim++ % worker.claims.size()];
    if (place.found.slot != no_slot) judge(worker, place);
    place = claim;
}

/// What judge_fully() would come to for an object of which nothing is known: the same for all slots of a shape. 0: it
/// must look at the object, or at the length.
TypeWords::Code TypeSpread::code_at_start(Worker& worker, std::uint16_t shape, TypeId id, std::uint64_t count) {
    auto& known = worker.starts[(id ^ shape * 37u) % worker.starts.size()];
    if (known.type != id || known.shape != shape) {
        known = {.type = id, .shape = shape};
        const TypePlan& plan = plans_[id];
        known.room = slots_.shape_size(shape) - (slots_.shape_has_header(shape) ? 8 : 0);
        if (!plan.node && !plan.hchan && !plan.funcval && plan.size != 0 && plan.size <= known.room) {
            const auto code = [&](bool array) {
                const auto given = out_.words_.code_of(TypeWord::make(id, array, TypeBasis::edge));
                return given == TypeWords::rare ? TypeWords::Code{0} : given;
            };
            known.size = static_cast<std::uint32_t>(plan.size);
            known.one = code(false);
            known.array = code(true);
        }
    }
    if (count == 1) return known.one;
    const std::uint64_t total = known.size * count;
    return total <= known.room && fills(known.room - total, known.size, known.room) ? known.array : TypeWords::Code{0};
}

/// Claims on objects of other lanes; what many objects say of one is told once.
void TypeSpread::tell(Worker& worker, const Claim& claim) {
    Claim& lately = worker.told[(claim.address / 8 ^ claim.type) % worker.told.size()];
    if (lately == claim) return;
    lately = claim;
    worker.hand.send(lanes_.of(claim.found.slot), claim);
}

/// True: there was something to judge.
bool TypeSpread::judge_all(Worker& worker) {
    bool any = false;
    for (std::size_t i = 0; i < worker.claims.size(); ++i) {
        Claim& ripe = worker.claims[worker.next_claim++ % worker.claims.size()];
        if (ripe.found.slot == no_slot) continue;
        judge(worker, ripe);
        ripe.found.slot = no_slot;
        any = true;
    }
    return any;
}

void TypeSpread::judge_fully(Worker& worker, const Claim& claim) {
    const auto& [address, count, found, claimed, basis, what, code] = claim;
    if (what == Claim::What::func) return judge_func(worker, found);
    const std::uint32_t seen = out_.words_[found.slot];
    if (TypeWord::basis(seen) == TypeBasis::noted) {
        if (basis >= TypeBasis::edge) look_into_noted(worker, found, seen);
        return;
    }
    if (basis == TypeBasis::edge && count == 1 && seen == TypeWord::make(claimed, false, TypeBasis::edge)) return;
    TypeId id = claimed;
    if (plans_[id].node) {
        std::uint8_t is_entry = 0;
        worker.cursor.load(Address{address}, is_entry);
        id = is_entry != 0 ? plans_[id].entry : plans_[id].indirect;
    }
    if (plans_[id].hchan) {
        const auto& layout = out_.graph_.input().runtime.layout();
        if (const TypeId own = plans_.channel_of(channel_element(slots_, layout, types_, found.slot))) id = own;
    }
    const TypePlan& plan = plans_[id];
    if (plan.funcval) return claim_func(worker, address);
    if (plan.size == 0) return;
    const SlotSpan& span = slots_.slot_span(found.slot);
    std::uint64_t base = slots_.base(found.slot).value, available = std::uint64_t{span.words} * 8;
    if (span.pointers == PointerInfo::header) {
        base += 8;
        available -= 8;
        if (address < base) return;
    }
    const std::uint64_t offset = address - base, total = plan.size * count;
    if (total > available || offset > available - total) return;
    const bool fills = go::fills(available - offset - total, plan.size, available);
    const auto settle = [&](bool array, TypeBasis how) {
        this->settle(worker, found, seen, TypeWord::make(id, array, how), base, available);
    };
    if (offset == 0 && (count == 1 || fills)) return settle(count > 1, basis);
    if (found.noscan && available == 16 && offset != 0 && count == 1) return settle(false, TypeBasis::part);
    const bool even = offset % plan.size == 0;
    if (even && (count > 1 || basis == TypeBasis::array) && (fills || found.noscan))
        return settle(true, TypeBasis::array);
    // A known object says itself where its parts lead; whether this one will be known shows when nothing is left to do.
    if (TypeWord::basis(seen) >= TypeBasis::edge) return;
    if (offset != 0 && seen == 0 && worker.parts.size() < most_parts)
        worker.parts.push_back({found.slot, static_cast<std::uint32_t>(offset), id});
    if (!plan.empty() && inside_.fresh(address, id, count)) worker.inside.push_back({address, id, clip(count)});
}

/// Once, when the first edge leads there.
void TypeSpread::look_into_noted(Worker& worker, HeapSlots::Found found, std::uint32_t word) {
    if (found.noscan || (word & TypeWord::looked_into) != 0) return;
    out_.words_.set(found.slot, word | TypeWord::looked_into);
    worker.hand.add(found.slot);
}

void TypeSpread::step(Worker& worker, const PlanStep& step, const std::byte* at, std::uint64_t available) {
    using Op = PlanStep::Op;
    const std::uint64_t word = word_at(at);
    switch (step.op) {
        case Op::pointer:
            if (word != 0) claim(worker, word, step.target, 1, TypeBasis::edge);
            return;
        case Op::buckets: {
            if (word == 0) return;
            const SlotId slot = slots_.find(Address{word});
            if (slot == no_slot) return;
            const std::uint64_t size =
                slots_.size(slot) - (slots_.slot_span(slot).pointers == PointerInfo::header ? 8 : 0);
            if (plans_[step.target].size != 0)
                claim(worker, word, step.target, size / plans_[step.target].size, TypeBasis::edge);
            return;
        }
        case Op::slice:
        case Op::string: {
            if (word == 0 || available < 16) return;
            std::uint64_t count = word_at(at + 8);
            if (step.op == Op::slice) {
                if (available < 24) return;
                const std::uint64_t capacity = word_at(at + 16);
                if (count > capacity) return;  // torn, or no slice at all
                count = capacity;
            }
            if (count == 1 && step.op == Op::slice) return claim(worker, word, step.target, 1, TypeBasis::edge);
            return claim(worker, word, step.target, count, count > 1 ? TypeBasis::edge : TypeBasis::array);
        }
        case Op::eface:
        case Op::iface: {
            if (word == 0 || available < 16) return;
            const std::uint64_t data = word_at(at + 8);
            if (data == 0) return;
            TypeId type;
            if (step.op == Op::eface) {
                type = types_.find(Address{word});
            } else {
                auto& cached = worker.itabs[word / 8 % worker.itabs.size()];
                if (cached.itab != word) cached = {word, types_.dynamic_type(Address{word}, false)};
                type = cached.type;
            }
            if (type == no_type) return;
            if (types_[type].direct_interface) return plan(worker, type, at + 8, 8);
            return claim(worker, data, type, 1, TypeBasis::edge);
        }
        case Op::func:
            if (word != 0) claim_func(worker, word);
            return;
        case Op::counted: {
            // The count may stand before the pointer: both lie in the value that the caller holds.
            const std::uint64_t count = word_at(at + step.count_at) + static_cast<std::uint64_t>(step.count_add);
            if (word != 0 && count <= most_elements) claim(worker, word, step.target, count, TypeBasis::edge);
            return;
        }
        case Op::swiss_group: {
            if (word == 0) return;
            const std::uint64_t tables = word_at(at + step.count_at);
            if (tables == 0) return claim(worker, word, step.target, 1, TypeBasis::edge);
            if (tables <= most_elements) claim(worker, word, step.second, tables, TypeBasis::edge);
            return;
        }
        case Op::reflected: {  // flagIndir, bit 7: data points to the value
            if (word == 0 || available < 24) return;
            const TypeId type = types_.find(Address{word});
            const std::uint64_t data = word_at(at + 8);
            if (type == no_type || data == 0) return;
            if ((word_at(at + 16) & 1 << 7) != 0) return claim(worker, data, type, 1, TypeBasis::edge);
            return plan(worker, type, at + 8, 8);
        }
    }
}

void TypeSpread::plan(Worker& worker, TypeId id, const std::byte* data, std::uint64_t available) {
    const TypePlan& plan = plans_[id];
    if (plan.size > available) return;
    for (const PlanStep& step : plans_.steps(plan))
        this->step(worker, step, data + step.offset, available - step.offset);
    for (const PlanLoop& loop : plans_.loops(plan)) {
        const std::uint64_t size = plans_[loop.elem].size;
        for (std::uint64_t i = 0; i < loop.count; ++i)
            this->plan(worker, loop.elem, data + loop.offset + i * size, available - loop.offset - i * size);
    }
}

}  // namespace incident::go
