#include "go/heap/type_spread.h"

#include <algorithm>
#include <array>
#include <thread>

#include "image/go_types.h"

namespace incident::go {

namespace {

constexpr std::uint64_t most_elements = 1ull << 36;  // of one array claim
constexpr std::size_t most_parts = 1 << 20;          // visited places inside objects, per shard
constexpr std::uint32_t piece = 4096;                // elements of a long array that one item visits
constexpr std::size_t shared_chunk = 512;            // items that change workers at once
constexpr std::uint64_t largest_on_stack = 1 << 16;  // bytes of a value there
constexpr std::size_t ahead = 8;                     // objects on their way into the cache

std::uint64_t word_at(const std::byte* at) {
    std::uint64_t word;
    std::memcpy(&word, at, 8);
    return word;
}

}  // namespace

struct TypeSpread::Worker {
    explicit Worker(const Memory& memory) : cursor(memory) {}
    std::vector<Item> local;
    MemoryCursor cursor;
    std::vector<std::pair<SlotId, std::uint64_t>> closures;
    std::vector<Part> parts;
    struct Cached {
        std::uint64_t itab = 0;
        TypeId type = no_type;
    };
    std::array<Cached, 1024> itabs;
};

TypeSpread::TypeSpread(HeapTypes& out)
    : out_(out),
      slots_(out.graph_.slots()),
      plans_(*out.plans_),
      types_(*out.types_),
      first_closure_(static_cast<std::uint32_t>(out.types_->size())),
      hull_(slots_.hull()),
      own_(std::make_unique<Worker>(slots_.memory())) {
    for (const ModuleData& module : out.graph_.input().runtime.modules()) {
        for (const AddressRange& range : {module.noptrdata, module.data, module.bss, module.noptrbss})
            if (!range.empty()) statics_.push_back(range);
        if (module.image != nullptr) statics_.push_back(module.image->range());
        descriptors_.push_back(module.types);
    }
}

TypeSpread::~TypeSpread() = default;

void TypeSpread::push(Worker& worker, const Item& item) { worker.local.push_back(item); }

std::uint64_t TypeSpread::extent(std::uint32_t word, std::uint64_t available) const {
    if (TypeWord::array(word)) return available;
    const std::uint32_t type = TypeWord::type(word);
    return type >= first_closure_ ? out_.closures_[type - first_closure_].size : plans_[type].size;
}

bool TypeSpread::improve(SlotId slot, std::uint32_t word, std::uint64_t available) {
    std::atomic_ref<std::uint32_t> place(out_.words_[slot]);
    std::uint32_t old = place.load(std::memory_order_relaxed);
    for (;;) {
        if (old == word) return false;
        const auto old_basis = TypeWord::basis(old), basis = TypeWord::basis(word);
        if (basis < old_basis) return false;
        if (basis == old_basis) {
            if (basis == TypeBasis::noted) return false;
            const std::uint64_t covers = extent(word, available), covered = extent(old, available);
            if (covers < covered) return false;
            if (covers == covered) {
                const std::uint32_t type = TypeWord::type(word), old_type = TypeWord::type(old);
                const bool shape = type < first_closure_ && plans_[type].shape;
                const bool old_shape = old_type < first_closure_ && plans_[old_type].shape;
                if (shape && !old_shape) return false;
                if (shape == old_shape && word >= old) return false;
            }
        }
        if (place.compare_exchange_weak(old, word, std::memory_order_relaxed)) return true;
    }
}

void TypeSpread::claim_func(Worker& worker, std::uint64_t address) {
    const SlotId slot = slots_.find(Address{address});
    if (slot == no_slot || !slots_.allocated(slot) || slots_.base(slot).value != address) return;
    const std::byte* data = slots_.data(slot);
    if (data == nullptr) return;
    const std::uint64_t entry = word_at(data);
    auto known = out_.closure_at_.find(entry);
    if (known == out_.closure_at_.end()) {
        worker.closures.emplace_back(slot, entry);
        return;
    }
    if (improve(slot, TypeWord::make(first_closure_ + known->second, false, TypeBasis::closure), slots_.size(slot)) &&
        !slots_.noscan(slot))
        push(worker, {slot, 0, 0});
}

void TypeSpread::claim_static(Worker& worker, std::uint64_t address, TypeId id, std::uint64_t count) {
    const Address at{address};
    if (plans_[id].empty() || address < 4096) return;
    bool inside = false;
    for (const AddressRange& range : statics_) inside = inside || range.contains(at);
    for (const AddressRange& range : descriptors_) inside = inside && !range.contains(at);
    if (!inside || (count == 1 && types_.global_at(at) != nullptr)) return;
    Visited& shard = visited_[address / 16 % shards];
    {
        const std::lock_guard lock(shard.mutex);
        if (shard.at.size() > most_parts) return;
        auto [place, fresh] = shard.at.try_emplace(address, id);
        if (!fresh) {
            if (plans_[id].size <= plans_[place->second].size) return;
            place->second = id;
        }
    }
    push(worker, {address, id, static_cast<std::uint32_t>(std::min<std::uint64_t>(count, 1u << 24))});
}

void TypeSpread::claim_inside(Worker& worker, std::uint64_t address, TypeId id, std::uint64_t count) {
    if (plans_[id].empty()) return;
    Visited& shard = inside_[address / 8 % shards];
    {
        const std::lock_guard lock(shard.mutex);
        if (shard.at.size() > most_parts) return;
        auto [place, fresh] = shard.at.try_emplace(address, id);
        if (!fresh) {
            if (plans_[id].size <= plans_[place->second].size) return;
            place->second = id;
        }
    }
    push(worker, {address, id, static_cast<std::uint32_t>(std::min<std::uint64_t>(count, 1u << 24))});
}

void TypeSpread::claim(Worker& worker, std::uint64_t address, TypeId id, std::uint64_t count, TypeBasis basis) {
    if (id == no_type || count == 0 || count > most_elements) return;
    if (!hull_.contains(Address{address})) return claim_static(worker, address, id, count);
    const auto found = slots_.find_kind(Address{address});
    if (found.slot == no_slot) {
        // A stack: a map header or a captured variable that did not escape. What points there does so from a live
        // place.
        const Span* span = plans_[id].empty() || plans_[id].size * count > largest_on_stack
                               ? nullptr
                               : slots_.spans().find(Address{address});
        if (span != nullptr && span->state == SpanState::manual) claim_inside(worker, address, id, count);
        return;
    }
    if (!slots_.allocated(found.slot)) return;
    std::atomic_ref<std::uint32_t> place(out_.words_[found.slot]);
    const std::uint32_t before = place.load(std::memory_order_relaxed);
    if (TypeWord::basis(before) == TypeBasis::noted) return;
    if (basis == TypeBasis::edge && count == 1 && before == TypeWord::make(id, false, TypeBasis::edge)) return;
    const TypePlan* plan = &plans_[id];
    if (plan->node) {
        std::uint8_t is_entry = 0;
        worker.cursor.load(Address{address}, is_entry);
        id = is_entry != 0 ? plan->entry : plan->indirect;
        plan = &plans_[id];
    }
    if (plan->funcval) return claim_func(worker, address);
    if (plan->size == 0) return;
    std::uint64_t base = slots_.base(found.slot).value, available = slots_.size(found.slot);
    if (slots_.slot_span(found.slot).pointers == PointerInfo::header) {
        base += 8;
        available -= 8;
        if (address < base) return;
    }
    const std::uint64_t offset = address - base, total = plan->size * count;
    if (total > available || offset > available - total) return;
    const bool fills = available - offset - total < std::max(plan->size, available / 8 + 16);
    const auto settle = [&](bool array, TypeBasis how) {
        if (improve(found.slot, TypeWord::make(id, array, how), available) && !found.noscan && !plan->empty())
            push(worker, {found.slot, 0, 0});
    };
    if (offset == 0 && (count == 1 || fills)) return settle(count > 1, basis);
    if (found.noscan && available == 16 && offset != 0 && count == 1) return settle(false, TypeBasis::part);
    const bool even = offset % plan->size == 0;
    if (even && (count > 1 || basis == TypeBasis::array) && (fills || found.noscan))
        return settle(true, TypeBasis::array);
    if (TypeWord::basis(before) >= TypeBasis::edge) return;
    if (offset != 0 && before == 0 && worker.parts.size() < most_parts)
        worker.parts.push_back({found.slot, static_cast<std::uint32_t>(offset), id});
    claim_inside(worker, address, id, count);
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

void TypeSpread::process(Worker& worker, const Item& item) {
    if (item.count != 0) {
        const std::uint64_t size = plans_[item.type].size;
        for (std::uint32_t i = 0; i < item.count; ++i) {
            const std::byte* data = worker.cursor.data_at(Address{item.at + i * size}, size);
            if (data != nullptr) plan(worker, item.type, data, size);
        }
        return;
    }
    const auto slot = static_cast<SlotId>(item.at);
    const std::uint32_t word = std::atomic_ref(out_.words_[slot]).load(std::memory_order_relaxed);
    const std::byte* data = slots_.data(slot);
    if (data == nullptr) return;
    std::uint64_t available = slots_.size(slot);
    std::uint64_t offset = slots_.slot_span(slot).pointers == PointerInfo::header ? 8 : 0;
    data += offset;
    available -= offset;
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
    if (count > 2 * std::uint64_t{piece}) {
        const std::uint64_t base = slots_.base(slot).value + offset;
        for (std::uint64_t i = 0; i < count; i += piece)
            push(worker,
                 {base + i * size, type, static_cast<std::uint32_t>(std::min<std::uint64_t>(piece, count - i))});
        return;
    }
    for (std::uint64_t i = 0; i < count; ++i) plan(worker, type, data + i * size, available - i * size);
}

void TypeSpread::share(Worker& worker) {
    const std::lock_guard lock(mutex_);
    const std::size_t half = worker.local.size() / 2;  // the oldest: they lead furthest
    shared_.insert(shared_.end(), worker.local.begin(), worker.local.begin() + static_cast<std::ptrdiff_t>(half));
    worker.local.erase(worker.local.begin(), worker.local.begin() + static_cast<std::ptrdiff_t>(half));
    hungry_ = false;
    wake_.notify_all();
}

bool TypeSpread::take(Worker& worker) {
    std::unique_lock lock(mutex_);
    if (shared_.empty()) {
        ++waiting_;
        hungry_ = true;
        if (waiting_ == working_) {
            done_ = true;
            wake_.notify_all();
        }
        wake_.wait(lock, [&] { return done_ || !shared_.empty(); });
        if (shared_.empty()) return false;
        --waiting_;
    }
    const std::size_t count = std::min(shared_.size(), shared_chunk);
    worker.local.insert(worker.local.end(), shared_.end() - static_cast<std::ptrdiff_t>(count), shared_.end());
    shared_.resize(shared_.size() - count);
    return true;
}

void TypeSpread::drain(Worker& worker) {
    std::array<Item, ahead> ring;
    std::size_t in = 0, held = 0;
    while (!worker.local.empty() || held != 0) {
        if (held == ahead || worker.local.empty()) {
            const Item item = ring[(in + ahead - held) % ahead];
            --held;
            process(worker, item);
            if (worker.local.size() > 256 && hungry_.load(std::memory_order_relaxed)) share(worker);
            continue;
        }
        const Item item = worker.local.back();
        worker.local.pop_back();
        if (item.count == 0) slots_.prefetch(static_cast<SlotId>(item.at));
        ring[in++ % ahead] = item;
        ++held;
    }
}

void TypeSpread::work(Worker& worker) {
    while (take(worker)) drain(worker);
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

void TypeSpread::run(unsigned jobs) {
    jobs = std::max(jobs, 1u);
    for (int round = 0; round < 1000; ++round) {
        std::vector<std::unique_ptr<Worker>> workers;
        for (unsigned i = 1; i < jobs; ++i) workers.push_back(std::make_unique<Worker>(slots_.memory()));
        shared_.insert(shared_.end(), own_->local.begin(), own_->local.end());
        own_->local.clear();
        waiting_ = 0;
        working_ = jobs;
        done_ = false;
        hungry_ = false;
        {
            std::vector<std::jthread> threads;
            for (auto& worker : workers) threads.emplace_back([this, &worker] { work(*worker); });
            work(*own_);
        }
        workers.push_back(std::move(own_));
        own_ = std::make_unique<Worker>(slots_.memory());
        std::vector<std::pair<SlotId, std::uint64_t>> met;
        for (auto& worker : workers) {
            met.insert(met.end(), worker->closures.begin(), worker->closures.end());
            parts_.insert(parts_.end(), worker->parts.begin(), worker->parts.end());
        }
        if (met.empty()) return;
        std::ranges::sort(met);
        for (auto& [slot, entry] : met) {
            const std::uint32_t index = add_closure(Address{entry});
            if (index == ~0u) continue;
            if (improve(slot, TypeWord::make(first_closure_ + index, false, TypeBasis::closure), slots_.size(slot)) &&
                !slots_.noscan(slot))
                push(*own_, {slot, 0, 0});
        }
    }
}

void TypeSpread::visit(Address at, TypeId id, std::uint64_t count) {
    if (!plans_[id].empty()) push(*own_, {at.value, id, static_cast<std::uint32_t>(count)});
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
    for (Visited& shard : visited_)
        for (auto& [address, type] : shard.at) out_.statics_.emplace_back(Address{address}, type);
    std::ranges::sort(out_.statics_);
}

}  // namespace incident::go
