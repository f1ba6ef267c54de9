// HeapTypes: the type of every object of the Go heap, as far as anything in the target tells. The allocator's own notes
// come first (malloc headers and span types, 1.22+); then types spread from typed roots (package variables, frames'
// variables, runtime structs) along typed edges: pointers, slices, strings, interfaces, maps, channels, closures; then
// the contents of what is still untyped are looked at: a type word before a pointer is an interface, a function's entry
// begins a closure.
//
// Surprising: a pointer's type is a claim, not a proof: a pointer to a struct's first field claims the field's type.
// The claim that covers more of the object wins; an object that nothing explains is called by its size class:
// "?noscan-64".
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "go/binary/made_types.h"
#include "go/heap/heap_graph.h"
#include "go/heap/type_plans.h"
#include "go/heap/type_words.h"

namespace incident::go {

/// A closure's object: its function, and its captured variables where the compiler tells (1.22+, with DWARF).
struct ClosureType {
    Address entry;
    std::string name;  ///< "func main.serve.func1"
    std::vector<TypeField> captures;
    std::uint64_t size = 8;  ///< bytes that are known
};

struct ObjectType {
    TypeId type = no_type;  ///< no_type: unknown, or a closure
    const ClosureType* closure = nullptr;
    TypeBasis basis = TypeBasis::none;
    std::uint64_t offset = 0;  ///< where the value begins: 8 behind a malloc header
    std::uint64_t count = 1;   ///< values of this type in a row, as many as the object has room for
    bool known() const { return basis != TypeBasis::none; }
};

struct TypeShares {
    std::uint64_t live_objects = 0, live_bytes = 0;
    std::uint64_t typed_objects = 0, typed_bytes = 0;    ///< of the live ones
    std::uint64_t noted_bytes = 0;                       ///< of these, by the allocator's own word
    std::uint64_t untyped_noscan = 0, untyped_scan = 0;  ///< bytes
};

/// One line of the histogram.
struct TypeCount {
    std::uint32_t key = 0;                           ///< see HeapTypes::key_of
    std::uint64_t objects = 0, bytes = 0;            ///< allocated
    std::uint64_t live_objects = 0, live_bytes = 0;  ///< of these
};

class HeapTypes {
public:
    const TypeTable& types() const { return *types_; }
    const TypePlans& plans() const { return *plans_; }
    const HeapGraph& graph() const { return graph_; }
    ObjectType type_of(SlotId slot) const;  ///< [any thread]
    /// "main.node", "[]int", "func main.serve.func1", "?scan-64". Elements of arrays are not counted: "[]main.node".
    std::string name_of(SlotId slot) const;
    std::string name_of(const ObjectType& type, SlotId slot) const;
    /// A key for grouping: equal for objects with equal names. Untyped ones have the top bit.
    std::uint32_t key_of(SlotId slot) const noexcept;
    std::string name_of_key(std::uint32_t key) const;
    /// What of a map or channel it is, or none. A pointer to it, and an array of them, count as the same.
    MadeType made_of_key(std::uint32_t key) const;

    /// Calls body(slot, its type, worker < jobs) for every live object of a type of the table that `wanted` says yes
    /// to. Two bytes of each object tell most of them apart; nothing else of the others is read.
    void for_each_live(unsigned jobs, const std::function<bool(TypeId)>& wanted,
                       const std::function<void(SlotId, const ObjectType&, unsigned worker)>& body) const;

    const TypeShares& shares() const { return shares_; }
    std::span<const TypeCount> counts() const { return counts_; }  ///< most live bytes first
    /// What a package variable, a frame's variable or an object is: calls fn(address, type, count). Each object once.
    struct Typed {
        Address address;
        TypeId type = no_type;
        std::uint64_t count = 1;
        enum class Place : std::uint8_t { global, frame, statics, object } place = Place::global;
        SlotId slot = no_slot;               ///< objects
        std::uint32_t goroutine = no_owner;  ///< frames
        std::uint32_t frame = no_owner;      ///< index into GoStack::physical
        std::string_view name;               ///< globals and frames
    };
    void for_each_typed_value(const std::function<void(const Typed&)>& fn) const;
    /// The part of it on stacks. Whether a variable's words are live at that point is not asked.
    /// Calls fn(variable, worker < jobs): each goroutine's in order, one worker to a goroutine.
    void for_each_frame_variable(unsigned jobs, const std::function<void(const Typed&, unsigned worker)>& fn) const;
    /// The variable of a frame that holds the word `where`, as DWARF knows it; nullopt: none.
    std::optional<Typed> frame_variable(std::uint32_t goroutine, std::uint32_t frame, Address where) const;
    std::span<const std::pair<Address, TypeId>> statics() const { return statics_; }  ///< sorted
    /// Did a typed pointer or slice lead to such values where the collector does not look: outside the heap and the
    /// modules' data, or in a noscan object, if they hold pointers? Whose pointer it was is not kept.
    bool leads_off_heap(TypeId type) const { return type < off_heap_.size() && off_heap_[type]; }
    /// As for_each_live, for closures.
    void for_each_live_closure(unsigned jobs, const std::function<bool(const ClosureType&)>& wanted,
                               const std::function<void(SlotId, const ClosureType&, unsigned worker)>& body) const;
    std::span<const ClosureType> closures() const { return closures_; }

private:
    friend class TypeSpread;
    friend class TypeRoots;
    friend class HeapTypesBuilder;
    HeapTypes(const HeapGraph& graph, std::shared_ptr<const TypeTable> types)
        : graph_(graph), types_(std::move(types)), plans_(std::make_unique<TypePlans>(*types_)) {}
    void sum();
    template <class Wanted, class Body>
    void for_each_live_word(unsigned jobs, Wanted&& wanted, Body&& body) const;

    struct FrameShape {
        struct Row {
            std::string_view name;
            std::int64_t offset = 0;  ///< from the CFA
            std::uint64_t size = 0;
            TypeId type = no_type;
        };
        std::vector<Row> rows;
    };

    const HeapGraph& graph_;
    std::shared_ptr<const TypeTable> types_;
    std::unique_ptr<const TypePlans> plans_;
    TypeWords words_;  ///< closures have the numbers behind the table's types
    std::vector<ClosureType> closures_;
    std::unordered_map<std::uint64_t, std::uint32_t> closure_at_;  ///< entry → index
    std::vector<std::pair<Address, TypeId>> statics_;
    std::vector<bool> off_heap_;  ///< by type
    std::unordered_map<std::uint64_t, FrameShape> shapes_;  ///< by pc
    TypeShares shares_;
    std::vector<TypeCount> counts_;
};

/// Builds HeapTypes in two steps, of which the first needs no marks. Uses libdw: one thread at a time.
class HeapTypesBuilder {
public:
    explicit HeapTypesBuilder(const HeapGraph& graph);
    ~HeapTypesBuilder();
    /// From the roots along typed edges. The graph may be in the midst of being marked.
    void spread();
    /// What that left: live objects that no typed edge leads to, and guesses. The graph is marked.
    std::shared_ptr<const HeapTypes> finish();

private:
    struct State;
    std::unique_ptr<State> state_;
};

}  // namespace incident::go
