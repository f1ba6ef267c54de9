// Layouts: go1.16 … go1.27 src/sync/pool.go, poolqueue.go: headTail is head<<32 | tail, both modulo 2^32; the head
// element of a chain is the newest, `prev` leads to older ones.
#include "go/heap/pools.h"

#include <algorithm>
#include <bit>

#include "base/bounded_walk.h"

namespace incident::go {

namespace {

constexpr std::uint64_t most_pools = 1 << 20, most_ps = 1 << 16, largest_ring = 1 << 30, most_links = 64,
                        most_slots = 1 << 24;

struct Reader {
    const Memory& memory;
    const RuntimeLayout& layout;
    const Spans* spans;

    template <class T>
    std::optional<T> get(Address base, Field<T> field) const {
        if (!field.present()) return std::nullopt;
        auto value = memory.load<T>(base + static_cast<std::uint64_t>(field.offset));
        return value ? std::optional<T>(*value) : std::nullopt;
    }

    bool plausible(Address pool) const {
        const auto& f = layout.sync_Pool;
        auto local = get(pool, f.local), victim = get(pool, f.victim);
        auto size = get(pool, f.localSize), victim_size = get(pool, f.victimSize);
        return local && victim && size && victim_size && *size <= most_ps && *victim_size <= most_ps &&
               (*size == 0 || !local->is_null()) && (*victim_size == 0 || !victim->is_null()) &&
               (local->is_null() || memory.data_at(*local, 1) != nullptr);
    }

    /// The pools that a []*Pool at `header` lists; nullopt: it is no such slice.
    std::optional<std::vector<Address>> list(Address header) const {
        auto data = memory.load_address(header);
        auto len = memory.load<std::uint64_t>(header + 8), cap = memory.load<std::uint64_t>(header + 16);
        if (!data || !len || !cap || *len > *cap || *cap > most_pools) return std::nullopt;
        std::vector<Address> pools;
        if (*len == 0) return pools;
        if (!data->is_aligned(8) || (spans != nullptr && !spans->in_arena(*data))) return std::nullopt;
        for (std::uint64_t i = 0; i < *len; ++i) {
            auto pool = memory.load_address(*data + i * 8);
            if (!pool || !pool->is_aligned(8) || !plausible(*pool)) return std::nullopt;
            pools.push_back(*pool);
        }
        return pools;
    }

    void locals(Pool& pool, Address local, std::uint64_t count, bool victim) const {
        const auto& f = layout.sync_poolLocal;
        if (memory.data_at(local, count * f.size) == nullptr) {  // a damaged count
            pool.complete = false;
            return;
        }
        for (std::uint64_t i = 0; i < count && pool.slots.size() < most_slots; ++i) {
            const Address at = local + i * f.size;
            auto add = [&](Address slot, bool is_private) {
                auto type = memory.load_address(slot), data = memory.load_address(slot + 8);
                if (!type || !data) {
                    pool.complete = false;
                    return;
                }
                if (type->is_null() || data->is_null()) return;
                pool.slots.push_back({slot, *type, *data, static_cast<std::uint32_t>(i), is_private, victim});
            };
            if (f.private_type.present()) add(at + static_cast<std::uint64_t>(f.private_type.offset), true);
            auto head = get(at, f.shared_head);
            if (!head) {
                pool.complete = false;
                continue;
            }
            auto end = walk_chain(*head, most_links, [&](Address element) -> std::optional<Address> {
                const auto& e = layout.sync_poolChainElt;
                auto head_tail = get(element, e.headTail), length = get(element, e.vals_len);
                auto values = get(element, e.vals_data), previous = get(element, e.prev);
                if (!head_tail || !length || !values || !previous || *length > largest_ring ||
                    !std::has_single_bit(*length) || pool.slots.size() >= most_slots) {
                    pool.complete = false;
                    return std::nullopt;
                }
                const auto newest = static_cast<std::uint32_t>(*head_tail >> 32),
                           oldest = static_cast<std::uint32_t>(*head_tail);
                const std::uint32_t filled = newest - oldest;
                if (filled > *length || memory.data_at(*values, *length * 16) == nullptr) {
                    pool.complete = false;
                } else {
                    for (std::uint32_t n = 0; n < filled; ++n)
                        add(*values + ((oldest + n) & (*length - 1)) * 16, false);
                }
                return previous;
            });
            if (end == WalkEnd::cycle || end == WalkEnd::limit) pool.complete = false;
        }
    }

    Pool read(Address at) const {
        Pool pool{at, {}, true};
        const auto& f = layout.sync_Pool;
        const Address local = get(at, f.local).value_or(Address{}), victim = get(at, f.victim).value_or(Address{});
        if (!local.is_null()) locals(pool, local, get(at, f.localSize).value_or(0), false);
        // While the collector moves one to the other, both name the same memory.
        if (!victim.is_null() && victim != local) locals(pool, victim, get(at, f.victimSize).value_or(0), true);
        return pool;
    }
};

}  // namespace

Pools read_pools(const Memory& memory, const Runtime& runtime, const Spans* spans, const Disassembler* disassembler) {
    Pools pools;
    const RuntimeLayout& layout = runtime.layout();
    if (!layout.sync_Pool.local.present() || layout.sync_poolLocal.size == 0 ||
        !layout.sync_poolChainElt.headTail.present())
        return pools;
    Reader reader{memory, layout, spans};
    std::vector<Address> lists;
    if (auto cleanup = runtime.find_func("sync.poolCleanup"); cleanup && disassembler != nullptr) {
        // It reads oldPools, then allPools, then stores both: their addresses are its rip-relative operands.
        for (auto& step : disassembler->decode_range(memory, {cleanup->entry, cleanup->end}, 400))
            for (auto& operand : step.memory)
                if (operand.absolute && operand.absolute->is_aligned(8)) lists.push_back(*operand.absolute);
        pools.basis = "code of sync.poolCleanup";
    }
    if (lists.empty())
        for (std::string_view name : {"sync.allPools", "sync.oldPools"})
            if (auto at = runtime.find_variable(name)) {
                lists.push_back(*at);
                pools.basis = "symbols";
            }
    std::ranges::sort(lists);
    lists.erase(std::ranges::unique(lists).begin(), lists.end());
    std::vector<Address> addresses;
    for (Address header : lists)
        if (auto list = reader.list(header)) {
            pools.found = true;
            addresses.insert(addresses.end(), list->begin(), list->end());
        }
    std::ranges::sort(addresses);
    addresses.erase(std::ranges::unique(addresses).begin(), addresses.end());
    for (Address at : addresses) pools.all.push_back(reader.read(at));
    return pools;
}

}  // namespace incident::go
