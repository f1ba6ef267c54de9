// Spreading types along edges: for each object the best claim so far; its lane's holder judges claims and looks into
// what got a type (lanes.h). Private to go/heap. See heap_types.h.
//
// Surprising: the outcome does not depend on who came first, so every number of workers gives the same. The best claim
// on an object wins by a fixed order; what the losers lead to is followed too, unless the winner leads there as well;
// and what counts only where nothing better is known (guesses from a slice of the middle, pointers to parts of unknown
// objects) waits until all workers have run dry.
#pragma once

#include <mutex>
#include <unordered_map>
#include <vector>

#include "go/heap/heap_types.h"
#include "go/heap/lanes.h"

namespace incident::go {

class TypeSpread {
public:
    TypeSpread(HeapTypes& out, unsigned jobs);
    ~TypeSpread();

    /// A value of type `id` (count of them) stands at `at`, outside the heap: follow what it leads to.
    void visit(Address at, TypeId id, std::uint64_t count = 1);
    /// One word of such a value, with the plan's step for it.
    void visit_step(const PlanStep& step, Address value);
    void claim(Address at, TypeId id, std::uint64_t count, TypeBasis basis);
    void claim_closure(Address at);
    /// An object whose type the allocator noted, unless what leads there was met already.
    void seed_noted(SlotId slot);
    /// Until nothing is left but guesses; closures met on the way become types between rounds.
    void run();
    /// What was put off until nothing better can come goes on, too.
    void run_with_guesses() {
        do run();
        while (take_guesses());
    }
    std::uint32_t add_closure(Address entry);
    void finish();
    /// Objects that only pointers to their middle are known of: the one struct type that has such a field there, and
    /// the object's pointer map, is taken for theirs. True: something new.
    bool explain_parts();
    /// One value of this type would fill the object, and hold its pointers where the collector knows of some.
    bool fits(SlotId slot, TypeId id) const;

private:
    /// `count` values of `type` at `at`, outside the heap or inside an object: follow what they lead to.
    struct Item {
        std::uint64_t at = 0;
        TypeId type = no_type;
        std::uint32_t count = 0;
    };
    /// "There are `count` values of `type` at `address`", which lies in the object `found`. Told to its lane.
    struct Claim {
        enum class What : std::uint8_t {
            values,
            func,  ///< a funcval
            look,  ///< no claim: the object has a type, look into it
            item,  ///< no claim: an Item, for whoever holds the lane
        };
        std::uint64_t address = 0, count = 0;
        HeapSlots::Found found;
        TypeId type = no_type;
        TypeBasis basis = TypeBasis::none;
        What what = What::values;
        TypeWords::Code code =
            0;  ///< of the word that this claim gives an object of which nothing is known; 0: judge it
        bool operator==(const Claim&) const = default;
    };
    using TypeLanes = Lanes<Claim>;
    struct Part {
        SlotId slot = no_slot;
        std::uint32_t offset = 0;
        TypeId type = no_type;
        auto operator<=>(const Part&) const = default;
    };
    /// Values that are followed once.
    class Visited {
    public:
        /// True when no value of this type was there before, or fewer of them. [any thread]
        bool fresh(std::uint64_t address, TypeId type, std::uint64_t count);
        template <class Fn>
        void for_each(Fn&& fn) const {
            for (const Shard& shard : shards_)
                for (auto& [value, count] : shard.most) fn(value.first, value.second);
        }

    private:
        using Value = std::pair<std::uint64_t, TypeId>;
        struct Hash {
            std::size_t operator()(const Value& value) const noexcept {
                return (value.first ^ std::uint64_t{value.second} << 40) * 0x9e3779b97f4a7c15ull >> 16;
            }
        };
        struct Shard {
            std::mutex mutex;
            std::unordered_map<Value, std::uint64_t, Hash> most;
        };
        static constexpr std::size_t limit = 1 << 20;  // per shard; what comes later is not followed
        Shard shards_[16];
    };
    static constexpr std::size_t ahead = 16;           // messages whose objects' words are on their way into the cache
    static constexpr std::size_t waiting_claims = 16;  // and words of objects
    static constexpr SlotId nearby = 1024;             // slots before and behind that are likely in the cache already
    struct Worker;

    void work(Worker& worker);
    void receive(Worker& worker, std::span<const Claim> claims);
    void look_into(Worker& worker, SlotId first, std::uint64_t bits);
    void look_into(Worker& worker, SlotId slot, const SlotSpan& span);
    void follow(Worker& worker, const Item& item);
    void follow_all(Worker& worker);
    void tell(Worker& worker, const Claim& claim);
    void post(const Item& item);
    void plan(Worker& worker, TypeId id, const std::byte* data, std::uint64_t available);
    void step(Worker& worker, const PlanStep& step, const std::byte* at, std::uint64_t available);
    void claim(Worker& worker, std::uint64_t address, TypeId id, std::uint64_t count, TypeBasis basis);
    TypeWords::Code code_at_start(Worker& worker, std::uint16_t shape, TypeId id, std::uint64_t count);
    void judge(Worker& worker, const Claim& claim);
    void judge_fully(Worker& worker, const Claim& claim);
    bool judge_all(Worker& worker);
    void claim_func(Worker& worker, std::uint64_t address);
    void judge_func(Worker& worker, HeapSlots::Found found);
    void claim_static(Worker& worker, std::uint64_t address, TypeId id, std::uint64_t count);
    void claim_on_stack(Worker& worker, std::uint64_t address, TypeId id, std::uint64_t count);
    void settle(Worker& worker, HeapSlots::Found found, std::uint32_t before, std::uint32_t word, std::uint64_t address,
                std::uint64_t available);
    void follow_loser(Worker& worker, std::uint32_t word, std::uint32_t winner, std::uint64_t address,
                      std::uint64_t available);
    bool better(std::uint32_t word, std::uint32_t old, std::uint64_t available) const;
    bool contains(Worker& worker, std::uint32_t inner, std::uint32_t outer) const;
    std::uint64_t extent(std::uint32_t word, std::uint64_t available) const;
    static std::uint32_t clip(std::uint64_t count) {
        return static_cast<std::uint32_t>(std::min<std::uint64_t>(count, 1u << 24));
    }
    void seed(SlotId slot);
    void look_into_noted(Worker& worker, HeapSlots::Found found, std::uint32_t word);
    bool take_guesses();

    HeapTypes& out_;
    const HeapSlots& slots_;
    const TypePlans& plans_;
    const TypeTable& types_;
    std::uint32_t first_closure_ = 0;
    std::vector<AddressRange> statics_;      ///< data, bss and read-only data of Go modules
    std::vector<AddressRange> descriptors_;  ///< rtypes: nothing to follow
    AddressRange hull_;

    TypeLanes lanes_;
    unsigned next_lane_ = 0;
    Visited static_values_, on_stacks_;
    Visited inside_;  ///< parts of objects
    Visited lost_;    ///< claims that lost
    std::unique_ptr<Worker> own_;
    std::vector<Part> parts_;
    std::vector<SlotId> guessed_;       ///< put off: objects whose guessed type is not followed yet
    std::vector<Item> inside_unknown_;  ///< and parts of objects of which nothing else is known
    std::unordered_multimap<std::uint64_t, TypeId> fields_at_;  ///< offset and type of a field → structs
};

}  // namespace incident::go
