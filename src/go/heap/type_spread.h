// Spreading types along edges: workers with a stack of objects each, claims by compare-and-swap on one word per object.
// Private to go/heap. See heap_types.h.
#pragma once

#include <atomic>
#include <condition_variable>
#include <mutex>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "go/heap/heap_types.h"

namespace incident::go {

/// One word per object: type in the low 27 bits, bit 27 array, bits 28 to 30 TypeBasis.
struct TypeWord {
    static constexpr std::uint32_t type_mask = (1u << 27) - 1, array_bit = 1u << 27;
    static constexpr std::uint32_t make(std::uint32_t type, bool array, TypeBasis basis) {
        return type | (array ? array_bit : 0) | static_cast<std::uint32_t>(basis) << 28;
    }
    static constexpr std::uint32_t type(std::uint32_t word) { return word & type_mask; }
    static constexpr bool array(std::uint32_t word) { return (word & array_bit) != 0; }
    static constexpr TypeBasis basis(std::uint32_t word) { return static_cast<TypeBasis>(word >> 28 & 7); }
};

class TypeSpread {
public:
    explicit TypeSpread(HeapTypes& out);
    ~TypeSpread();

    /// A value of type `id` (count of them) stands at `at`, outside the heap: follow what it leads to.
    void visit(Address at, TypeId id, std::uint64_t count = 1);
    /// One word of such a value, with the plan's step for it.
    void visit_step(const PlanStep& step, Address value);
    void claim(Address at, TypeId id, std::uint64_t count, TypeBasis basis);
    void claim_closure(Address at);
    void seed(SlotId slot) { shared_.push_back({slot, 0, 0}); }
    /// Until nothing is left; closures met on the way become types between rounds.
    void run(unsigned jobs);
    std::uint32_t add_closure(Address entry);
    bool covered(Address at) const;  ///< a static value that was visited
    void finish();
    /// Objects that only pointers to their middle are known of: the one struct type that has such a field there, and
    /// the object's pointer map, is taken for theirs. True: something new.
    bool explain_parts();

private:
    struct Item {
        std::uint64_t at = 0;  ///< SlotId when `count` is 0, else an address
        TypeId type = no_type;
        std::uint32_t count = 0;
    };
    struct Worker;
    void drain(Worker& worker);
    void work(Worker& worker);
    void process(Worker& worker, const Item& item);
    void plan(Worker& worker, TypeId id, const std::byte* data, std::uint64_t available);
    void step(Worker& worker, const PlanStep& step, const std::byte* at, std::uint64_t available);
    void claim(Worker& worker, std::uint64_t address, TypeId id, std::uint64_t count, TypeBasis basis);
    void claim_func(Worker& worker, std::uint64_t address);
    void claim_static(Worker& worker, std::uint64_t address, TypeId id, std::uint64_t count);
    void claim_inside(Worker& worker, std::uint64_t address, TypeId id, std::uint64_t count);
    bool improve(SlotId slot, std::uint32_t word, std::uint64_t available);
    std::uint64_t extent(std::uint32_t word, std::uint64_t available) const;
    static void push(Worker& worker, const Item& item);
    void share(Worker& worker);
    bool take(Worker& worker);

    HeapTypes& out_;
    const HeapSlots& slots_;
    const TypePlans& plans_;
    const TypeTable& types_;
    std::uint32_t first_closure_ = 0;
    std::vector<AddressRange> statics_;      ///< data, bss and read-only data of Go modules
    std::vector<AddressRange> descriptors_;  ///< rtypes: nothing to follow
    AddressRange hull_;

    std::mutex mutex_;
    std::condition_variable wake_;
    std::vector<Item> shared_;
    std::atomic<bool> hungry_ = false;
    unsigned waiting_ = 0, working_ = 0;
    bool done_ = false;
    struct Visited {
        std::mutex mutex;
        std::unordered_map<std::uint64_t, TypeId> at;
    };
    static constexpr std::size_t shards = 16;
    Visited visited_[shards];                                     ///< static values
    Visited inside_[shards];                                      ///< parts of objects
    std::vector<std::pair<SlotId, std::uint64_t>> new_closures_;  ///< object and entry
    std::unique_ptr<Worker> own_;
    struct Part {
        SlotId slot = no_slot;
        std::uint32_t offset = 0;
        TypeId type = no_type;
    };
    std::vector<Part> parts_;
    std::unordered_multimap<std::uint64_t, TypeId> fields_at_;  ///< offset and type of a field → structs
};

}  // namespace incident::go
