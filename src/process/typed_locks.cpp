#include "process/typed_locks.h"

#include <algorithm>

#include "base/parallel.h"
#include "go/heap/heap_types.h"
#include "process/process.h"

namespace incident {

namespace {

constexpr std::size_t most_kept = 1 << 14;    // per worker
constexpr std::size_t most_of_a_type = 256;   // locks in one value
constexpr unsigned deepest = 12;              // structs in structs
constexpr std::size_t most_visits = 1 << 16;  // of parts of one type: damaged types may consist of each other, twice

struct Place {
    std::uint64_t offset = 0;
    go::WaitObject type = go::WaitObject::mutex;
};

void collect(const go::TypeTable& types, go::TypeId id, std::uint64_t base, unsigned depth, std::size_t& visits,
             std::vector<Place>& out) {
    const go::Type& type = types[id];
    if (depth > deepest || out.size() >= most_of_a_type || ++visits > most_visits) return;
    if (type.kind == go::Kind::array && types[type.elem].size != 0) {
        const std::size_t before = out.size();
        for (std::uint64_t i = 0; i < type.count && out.size() < most_of_a_type; ++i) {
            collect(types, type.elem, base + i * types[type.elem].size, depth + 1, visits, out);
            if (out.size() == before) return;
        }
    }
    if (type.kind != go::Kind::struct_) return;
    if (type.name == "sync.Mutex" || type.name == "sync.RWMutex") {
        out.push_back({base, type.name == "sync.Mutex" ? go::WaitObject::mutex : go::WaitObject::rwmutex});
        return;
    }
    for (const go::TypeField& field : types.fields(type))
        collect(types, field.type, base + field.offset, depth + 1, visits, out);
}

struct Pointer {
    std::uint64_t offset = 0;
    go::TypeId to = go::no_type;
};

/// Pointers in a value of `id` to types that have locks.
void collect_pointers(const go::TypeTable& types, const std::vector<std::vector<Place>>& places, go::TypeId id,
                      std::uint64_t base, unsigned depth, std::size_t& visits, std::vector<Pointer>& out) {
    const go::Type& type = types[id];
    if (depth > deepest || out.size() >= most_of_a_type || ++visits > most_visits) return;
    if (type.kind == go::Kind::pointer && !places[type.elem].empty()) out.push_back({base, type.elem});
    if (type.kind == go::Kind::array)
        for (std::uint64_t i = 0; i < type.count && out.size() < most_of_a_type && visits <= most_visits; ++i)
            collect_pointers(types, places, type.elem, base + i * types[type.elem].size, depth + 1, visits, out);
    if (type.kind != go::Kind::struct_) return;
    for (const go::TypeField& field : types.fields(type))
        collect_pointers(types, places, field.type, base + field.offset, depth + 1, visits, out);
}

class Search {
public:
    explicit Search(const Process& process) : process_(process) {}

    /// What the linker laid out and only a variable's pointer leads to: `var books = &ledger{}`.
    void look_behind(Address value, go::TypeId id, const std::vector<std::vector<Place>>& places) {
        std::vector<Pointer> pointers;
        std::size_t visits = 0;
        collect_pointers(process_.heap_types->types(), places, id, 0, 0, visits, pointers);
        for (const Pointer& pointer : pointers)
            if (auto to = process_.memory.load_address(value + pointer.offset); to && process_.go->is_variable(*to))
                look(*to, places[pointer.to]);
    }

    void look(Address value, const std::vector<Place>& places) {
        for (const Place& place : places) {
            ++out.checked;
            auto state = go::read_lock(process_.memory, process_.go->layout(), place.type, value + place.offset);
            if (!state || !(state->locked || state->readers > 0)) continue;
            if (out.locked.size() < most_kept)
                out.locked.push_back(*state);
            else
                ++out.more;
        }
    }
    TypedLocks out;

private:
    const Process& process_;
};

}  // namespace

TypedLocks find_typed_locks(const Process& process) {
    TypedLocks all;
    if (!process.heap_types || !process.heap || !process.go) return all;
    const go::HeapTypes& heap_types = *process.heap_types;
    const go::TypeTable& types = heap_types.types();
    std::vector<std::vector<Place>> places(types.size());
    for (go::TypeId id = 1; id < types.size(); ++id)
        if (std::size_t visits = 0; types[id].size >= 8) collect(types, id, 0, 0, visits, places[id]);

    std::vector<Search> workers(std::max(process.jobs, 1u), Search(process));
    for (const go::GlobalOfType& global : types.globals()) {
        workers[0].look(global.address, places[global.type]);
        workers[0].look_behind(global.address, global.type, places);
    }
    for (const auto& [address, type] : heap_types.statics()) {
        workers[0].look(address, places[type]);
        workers[0].look_behind(address, type, places);
    }
    const go::HeapSlots& slots = process.heap->slots();
    heap_types.for_each_live(
        process.jobs, [&](go::TypeId id) { return !places[id].empty(); },
        [&](go::SlotId slot, const go::ObjectType& type, unsigned worker) {
            if (type.basis < go::TypeBasis::edge) return;
            for (std::uint64_t n = 0; n < type.count; ++n)
                workers[worker].look(slots.base(slot) + type.offset + n * types[type.type].size, places[type.type]);
        });
    for (Search& worker : workers) {
        all.checked += worker.out.checked;
        all.more += worker.out.more;
        std::ranges::move(worker.out.locked, std::back_inserter(all.locked));
    }
    std::ranges::sort(all.locked, {}, &go::LockState::address);
    auto same = std::ranges::unique(all.locked, {}, &go::LockState::address);
    all.locked.erase(same.begin(), same.end());
    if (process.locks)
        std::erase_if(all.locked,
                      [&](const go::LockState& lock) { return process.locks->find(lock.address) != nullptr; });
    return all;
}

}  // namespace incident
