// TypePlans: where a value of a type leads on to other values, flattened to steps, so that spreading types over 10^7
// objects looks at no type twice. Also the types that only convention knows: what an atomic.Pointer[T], a sync.Pool, a
// map's directory or a channel's buffer points to.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "go/binary/type_table.h"

namespace incident::go {

struct PlanStep {
    enum class Op : std::uint8_t {
        pointer,      ///< to one `target`
        buckets,      ///< to as many `target` as the object holds
        slice,        ///< {data, len, cap} of `target`
        string,       ///< {data, len}
        eface,        ///< {type, data}
        iface,        ///< {itab, data}
        func,         ///< to a funcval
        counted,      ///< to as many `target` as the word at offset + `count_at` says, plus `count_add`
        swiss_group,  ///< Swiss map without a directory: to one group; else an array of `second`
        reflected,    ///< reflect.Value: {type, data, flags}
    };
    std::uint64_t offset = 0;  ///< bytes from the start of the value
    TypeId target = no_type;
    TypeId second = no_type;
    Op op = Op::pointer;
    std::int8_t count_at = 0;  ///< bytes from `offset`
    std::int8_t count_add = 0;
    bool weak = false;  ///< `target` was made by the compiler for several types (go.shape)
    bool operator==(const PlanStep&) const = default;
};

struct PlanLoop {  ///< a long array inside the value
    std::uint64_t offset = 0, count = 0;
    TypeId elem = no_type;
};

struct TypePlan {
    std::uint64_t size = 0;
    std::uint32_t first_step = 0, steps = 0, first_loop = 0, loops = 0;
    bool node = false;  ///< a hash trie's node: `entry` or `indirect`, as its first byte says
    bool funcval = false;
    bool hchan = false;  ///< of any channel: the object says of which
    bool shape = false;
    TypeId entry = no_type, indirect = no_type;
    bool empty() const { return steps == 0 && loops == 0; }
};

class TypePlans {
public:
    explicit TypePlans(const TypeTable& types);
    const TypePlan& operator[](TypeId id) const { return plans_[id]; }
    std::span<const PlanStep> steps(const TypePlan& plan) const {
        return std::span(steps_).subspan(plan.first_step, plan.steps);
    }
    std::span<const PlanLoop> loops(const TypePlan& plan) const {
        return std::span(loops_).subspan(plan.first_loop, plan.loops);
    }
    const TypeTable& types() const { return types_; }
    /// The header of a channel of these elements; no_type: no such channel type is known.
    TypeId channel_of(TypeId elem) const {
        const auto known = channels_.find(elem);
        return known == channels_.end() ? no_type : known->second;
    }
    /// The step whose words hold `offset` of a value of this type, arrays looked into; its place is added to `at`.
    const PlanStep* step_at(TypeId id, std::uint64_t offset, std::uint64_t& at) const;

private:
    void walk(TypeId id, std::uint64_t base, unsigned depth);
    bool walk_special(TypeId id, std::uint64_t base);
    TypeId named_argument(std::string_view name) const;

    const TypeTable& types_;
    std::vector<TypePlan> plans_;
    std::vector<PlanStep> steps_;
    std::size_t visits_ = 0;
    std::vector<PlanLoop> loops_;
    std::unordered_map<TypeId, TypeId> channel_of_;  // header → chan
    std::unordered_map<TypeId, TypeId> channels_;    // element → header
    std::unordered_map<TypeId, TypeId> map_of_;      // header → map
    TypeId pool_local_ = no_type, funcval_ = no_type;
};

}  // namespace incident::go
