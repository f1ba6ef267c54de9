#include "go/heap/type_roots.h"

#include <algorithm>
#include <unordered_set>

#include "base/bounded_walk.h"
#include "base/parallel.h"
#include "go/heap/channel_object.h"
#include "go/heap/go_map_typed.h"
#include "go/heap/specials.h"
#include "go/sync/waits.h"

namespace incident::go {

namespace {
constexpr std::uint64_t least_text = 1024, text_sample = 512;  // bytes

/// Does this memory begin with text? Then it is bytes, whoever keeps it. Only for large objects, which are few: there
/// the words of something else would not all be letters.
bool is_text(const std::byte* data) {
    for (std::uint64_t i = 0; i < text_sample; ++i) {
        const auto c = std::to_integer<unsigned char>(data[i]);
        if (c < 0x20 ? c != '\n' && c != '\t' && c != '\r' : c >= 0x7f) return false;
    }
    return true;
}

// go1.24–1.27 src/internal/runtime/maps/map.go: the directory of a map is a []*table, whatever the map's own type,
// which knows more.
constexpr std::string_view table_pointer = "*internal/runtime/maps.table";
constexpr std::size_t most_functions = 4000;  // whose places are all read
constexpr std::size_t most_shapes = 20000;    // distinct pcs whose variables are read: libdw takes ~20 µs for each
}  // namespace

void TypeRoots::note_headers() {
    const auto& slots = out_.graph_.slots();
    const auto spans = slots.slot_spans();
    const TypeTable& types = *out_.types_;
    const unsigned jobs = out_.graph_.input().jobs;
    std::vector<std::vector<SlotId>> found(std::max(jobs, 1u)), directories(found.size());
    const TypeId directory = types.find(table_pointer);
    parallel_chunks(jobs, spans.size(), 256, [&](std::size_t begin, std::size_t end, unsigned worker) {
        for (std::size_t i = begin; i < end; ++i) {
            const SlotSpan& span = spans[i];
            if (span.pointers != PointerInfo::header && span.pointers != PointerInfo::span_type) continue;
            for (std::uint32_t n = 0; n < span.count; ++n) {
                const SlotId slot = span.first + n;
                if (!slots.allocated(slot)) continue;
                const TypeId type = types.find(out_.graph_.pointers().type_of(slot));
                const std::uint64_t size = types[type].size;
                const std::uint64_t available =
                    std::uint64_t{span.words} * 8 - (span.pointers == PointerInfo::header ? 8 : 0);
                if (type == no_type || size == 0 || size > available) continue;
                if (type == directory) {
                    directories[worker].push_back(slot);
                    continue;
                }
                out_.words_.set(slot, TypeWord::make(type, available / size > 1, TypeBasis::noted));
                if (!(*out_.plans_)[type].empty()) found[worker].push_back(slot);
            }
        }
    });
    for (auto& part : found) noted_.insert(noted_.end(), part.begin(), part.end());
    std::ranges::sort(noted_);
    for (auto& part : directories) directories_.insert(directories_.end(), part.begin(), part.end());
    std::ranges::sort(directories_);
}

/// Those that no map of a known type led to.
void TypeRoots::seed_directories() {
    const auto& slots = out_.graph_.slots();
    const TypeId type = out_.types_->find(table_pointer);
    for (const SlotId slot : directories_) {
        if (out_.words_[slot] != 0) continue;
        out_.words_.set(slot, TypeWord::make(type, true, TypeBasis::noted));
        const std::uint64_t before = slots.slot_span(slot).pointers == PointerInfo::header ? 8 : 0;
        const auto first = slots.memory().load_address(slots.base(slot) + before);
        const SlotId table = first ? slots.find(*first) : no_slot;
        if (out_.graph_.live(slot) && table != no_slot && out_.words_[table] == 0) spread_.seed_noted(slot);
    }
    directories_ = {};
}

void TypeRoots::seed_noted() {
    seed_directories();
    for (const SlotId slot : noted_)
        if (out_.graph_.live(slot)) spread_.seed_noted(slot);
    noted_ = {};
}

void TypeRoots::add_globals() {
    for (const GlobalOfType& global : out_.types_->globals()) spread_.visit(global.address, global.type);
}

void TypeRoots::add_runtime() {
    const auto& input = out_.graph_.input();
    const TypeTable& types = *out_.types_;
    const TypeId g = types.find("runtime.g"), m = types.find("runtime.m"), defer = types.find("runtime._defer");
    if (input.goroutines == nullptr) return;
    for (const Goroutine& goroutine : input.goroutines->all) {
        spread_.claim(goroutine.g, g, 1, TypeBasis::edge);
        if (!goroutine.defers.is_null()) spread_.claim(goroutine.defers, defer, 1, TypeBasis::edge);
    }
    for (const Machine_m& machine : input.goroutines->machines) {
        spread_.claim(machine.m, m, 1, TypeBasis::edge);
        spread_.claim(machine.g0, g, 1, TypeBasis::edge);
        spread_.claim(machine.gsignal, g, 1, TypeBasis::edge);
    }
    if (types.has_dwarf()) return;
    if (auto allgs = input.runtime.globals().allgs)
        if (auto data = input.memory.load_address(*allgs))
            for (TypeId id = 1; id < types.size(); ++id)
                if (types[id].kind == Kind::pointer && types[id].elem == g && g != no_type) {
                    const auto capacity = input.memory.load<std::uint64_t>(*allgs + 16);
                    if (capacity) spread_.claim(*data, id, *capacity, TypeBasis::edge);
                    break;
                }
}

/// What nothing else may name: the sender's variable is a slot of its stack that no debug information covers, and an
/// object with a finalizer may be kept by what it keeps.
void TypeRoots::add_queued() {
    const auto& input = out_.graph_.input();
    const TypeTable& types = *out_.types_;
    const auto& layout = input.runtime.layout();
    if (input.goroutines != nullptr && layout.hchan.elemtype.present())
        for (const Goroutine& goroutine : input.goroutines->all) {
            if (goroutine.wait_reason != "chan send") continue;
            for (const Sudog& sudog : waiting_sudogs(input.memory, input.runtime, goroutine)) {
                const auto type = StructView(input.memory, sudog.channel).get(layout.hchan.elemtype);
                const TypeId id = type ? types.find(*type) : no_type;
                if (id != no_type && !sudog.element.is_null()) spread_.visit(sudog.element, id);
            }
        }
    if (!layout.specialfinalizer.ot.present()) return;
    const SpecialKinds kinds = special_kinds(input.runtime.version());
    for (const Span& span : input.spans.all()) {
        if (span.state != SpanState::in_use || span.specials.is_null()) continue;
        walk_chain(span.specials, special_limit, [&](Address at) -> std::optional<Address> {
            const StructView special(input.memory, at);
            const auto kind = special.get(layout.special.kind);
            const auto next = special.get(layout.special.next);
            if (!kind || !next) return std::nullopt;
            const auto offset = special_offset(special, input.runtime);
            // `ot` is the type of the pointer that SetFinalizer was called with.
            const auto pointer = special.get(layout.specialfinalizer.ot);
            if (*kind == kinds.finalizer && pointer && offset && *offset < span.range.size())
                if (const TypeId id = types.find(*pointer); types[id].kind == Kind::pointer)
                    spread_.claim(span.range.begin + *offset, types[id].elem, 1, TypeBasis::edge);
            return *next;
        });
    }
}

/// Of an interface that the compiler took apart, "r.itab" and "r.data": a *uint8, whatever it is. go1.16–1.27
/// src/cmd/compile/internal/ssagen/ssa.go, SplitInterface; with variables of their own since 1.27.
bool TypeRoots::is_part_of_interface(std::string_view variable, TypeId type) const {
    return variable.ends_with(".data") && (*out_.types_)[type].kind == Kind::pointer &&
           (*out_.types_)[type].elem == out_.types_->bytes();
}

HeapTypes::FrameShape TypeRoots::shape_by(Address pc, VariablesAt variables_at) const {
    HeapTypes::FrameShape shape;
    const auto modules = out_.graph_.input().runtime.modules();
    for (std::size_t i = 0; i < modules.size(); ++i) {
        if (modules[i].image == nullptr || !modules[i].text.contains(pc)) continue;
        for (const GoFrameVariable& variable : variables_at(*modules[i].image, pc))
            if (const TypeId type = out_.types_->find_die(variable.type, i);
                type != no_type && variable.size != 0 && !is_part_of_interface(variable.name, type))
                shape.rows.push_back({variable.name, variable.cfa_offset, variable.size, type});
    }
    return shape;
}

const HeapTypes::FrameShape& TypeRoots::shape_of(const PhysicalFrame& frame) {
    const Address pc = frame.pc - (frame.after_call ? 1 : 0);
    static const HeapTypes::FrameShape none;
    auto known = out_.shapes_.find(pc.value);
    if (known != out_.shapes_.end()) return known->second;
    if (out_.shapes_.size() >= most_shapes) return none;
    return out_.shapes_.emplace(pc.value, shape_by(pc, go_frame_variables)).first->second;
}

/// Of every frame of the program, also those in which nothing leads to the heap: their variables may be read later.
void TypeRoots::read_shapes() {
    const GoStacks* stacks = out_.graph_.input().stacks;
    std::unordered_set<const GoStack*> seen;  // of 10^5 goroutines a few hundred
    for (std::size_t g = 0; stacks != nullptr && g < stacks->size(); ++g)
        if (const GoStack& stack = stacks->shape(g); seen.insert(&stack).second)
            for (const PhysicalFrame& frame : stack.physical)
                if (frame.owner == StackOwner::goroutine && frame.after_call && frame.func() != nullptr &&
                    !frame.name().starts_with("runtime.") && !frame.name().starts_with("internal/"))
                    shape_of(frame);
}

void TypeRoots::add_frames() {
    const auto& input = out_.graph_.input();
    const auto& roots = out_.graph_.roots().all;
    const bool dwarf = out_.types_->has_dwarf();
    for (std::uint32_t i = 0; i < roots.size(); ++i) {
        const Root& root = roots[i];
        std::optional<PhysicalFrame> frame;
        if (input.stacks != nullptr &&
            (root.kind == RootKind::local || root.kind == RootKind::argument || root.kind == RootKind::stack_object))
            frame = input.stacks->frame(root.goroutine, root.frame);
        if (!frame) {
            if (!dwarf || root.kind != RootKind::data || out_.types_->global_at(root.where) == nullptr)
                unexplained_.push_back(i);
            continue;
        }
        if (dwarf) {
            shape_of(*frame);
            if (auto variable = out_.frame_variable(root.goroutine, root.frame, root.where)) {
                std::uint64_t inner = 0;
                const auto offset = static_cast<std::uint64_t>(root.where - variable->address);
                if (const PlanStep* step = out_.plans_->step_at(variable->type, offset, inner)) {
                    spread_.visit_step(*step, variable->address + inner);
                    continue;
                }
            }
        }
        // Held in a register that the frame spilled; aligned, and so larger than its type.
        if (const TypeId node = out_.types_->find("runtime.gcBgMarkWorkerNode");
            node != no_type && frame->name() == "runtime.gcBgMarkWorker" && out_.graph_.slots().noscan(root.target))
            spread_.claim(out_.graph_.slots().base(root.target), node, 1, TypeBasis::edge);
        unexplained_.push_back(i);
    }
    if (dwarf) read_shapes();
}

/// Of a package variable the masks tell for sure: a word that is no pointer, and one that is. A *rtype would be one.
bool TypeRoots::is_interfaces_data(const Root& root) const {
    if (root.conservative || (root.kind != RootKind::data && root.kind != RootKind::bss)) return false;
    const ModuleData& module = out_.graph_.input().runtime.modules()[root.module];
    const bool data = root.kind == RootKind::data;
    const AddressRange section = data ? module.data : module.bss;
    if (root.where < section.begin + 8) return false;
    const auto before = static_cast<std::uint64_t>(root.where - section.begin) / 8 - 1;
    const std::byte* bits =
        out_.graph_.input().memory.data_at((data ? module.gcdatamask : module.gcbssmask) + before / 8, 1);
    return bits != nullptr && (std::to_integer<unsigned>(*bits) >> (before % 8) & 1) == 0;
}

bool TypeRoots::look_at_word(std::uint64_t before, std::uint64_t value, TypeBasis basis) {
    const TypeTable& types = *out_.types_;
    if (before < 4096 || out_.graph_.slots().hull().contains(Address{before})) return false;
    TypeId type = types.find(Address{before});
    if (type == no_type && before % 8 == 0) type = types.dynamic_type(Address{before}, false);
    if (type == no_type) return false;
    const TypeId target = types[type].direct_interface ? types[type].elem : type;
    if (types[type].direct_interface && types[type].kind != Kind::pointer) {
        if (types[type].header == no_type) return false;
        spread_.claim(Address{value}, types[type].header, 1, basis);
        return true;
    }
    spread_.claim(Address{value}, target, 1, basis);
    return target != no_type;
}

/// A word of a frame that no variable covers at this pc, but one did at another, and no other ever does.
bool TypeRoots::look_at_slot(const Root& root) {
    const auto& input = out_.graph_.input();
    if (!out_.types_->has_dwarf() || input.stacks == nullptr || root.kind != RootKind::local) return false;
    const auto frame = input.stacks->frame(root.goroutine, root.frame);
    const Address base = out_.graph_.slots().base(root.target);
    if (!frame || frame->func() == nullptr || frame->cfa.is_null() || input.memory.load_address(root.where) != base)
        return false;
    const Address entry = frame->func()->entry;
    if (slots_of_.size() >= most_functions && !slots_of_.contains(entry.value)) return false;
    auto [slots, fresh] = slots_of_.try_emplace(entry.value);
    if (fresh) slots->second = shape_by(entry, go_slot_variables);
    const std::int64_t offset = root.where - frame->cfa;
    TypeId target = no_type;
    for (const HeapTypes::FrameShape::Row& row : slots->second.rows) {
        if (offset < row.offset || offset >= row.offset + static_cast<std::int64_t>(row.size)) continue;
        std::uint64_t inner = 0;
        const PlanStep* step = out_.plans_->step_at(row.type, static_cast<std::uint64_t>(offset - row.offset), inner);
        if (step == nullptr || step->op != PlanStep::Op::pointer || (target != no_type && step->target != target))
            return false;
        target = step->target;
    }
    if (target == no_type || !spread_.fits(root.target, target)) return false;
    spread_.claim(base, target, 1, TypeBasis::contents);
    return true;
}

/// The compiler gives the iterator of a range no variable. The array that it walks may be its own by now: the map has
/// grown since.
bool TypeRoots::look_at_iterator(const std::optional<MapIterator>& iterator) {
    if (!iterator || iterator->table_at.is_null()) return false;
    const TypeTable& types = *out_.types_;
    const TypePlan& header = (*out_.plans_)[types[types.find(iterator->type)].header];
    for (PlanStep step : out_.plans_->steps(header)) {
        if (step.op == PlanStep::Op::swiss_group)
            step = {.target = types[step.second].elem};
        else if (step.op != PlanStep::Op::buckets)
            continue;
        spread_.visit_step(step, iterator->table_at);
        return true;
    }
    return false;
}

/// In objects: a reflect.MapIter's, which was an object of its own up to Go 1.17.
bool TypeRoots::look_at_kept_iterators() {
    const auto& input = out_.graph_.input();
    const TypeTable& types = *out_.types_;
    std::unordered_map<TypeId, std::vector<std::uint64_t>> places;  // of types that objects have: no walk without any
    for (std::size_t code = 1; code < out_.words_.codes(); ++code) {
        const TypeId id = TypeWord::type(out_.words_.word_of(static_cast<TypeWords::Code>(code)));
        if (id >= types.size() || places.contains(id)) continue;
        if (auto offsets = iterator_offsets(types, id); !offsets.empty()) places.emplace(id, std::move(offsets));
    }
    if (places.empty()) return false;
    std::vector<Address> found;
    out_.for_each_live(
        1, [&](TypeId id) { return places.contains(id); },
        [&](SlotId slot, const ObjectType& type, unsigned) {
            for (const std::uint64_t offset : places.at(type.type))
                found.push_back(out_.graph_.slots().base(slot) + type.offset + offset);
        });
    bool progress = false;
    for (const Address at : found) progress |= look_at_iterator(read_map_iterator(input.memory, input.runtime, at));
    return progress;
}

bool TypeRoots::look_into_untyped() {
    const auto& graph = out_.graph_;
    const auto& slots = graph.slots();
    const auto& pointers = graph.pointers();
    const auto& memory = slots.memory();
    const auto untyped = [&](SlotId slot) { return TypeWord::basis(out_.words_[slot]) == TypeBasis::none; };
    bool progress = spread_.explain_parts();
    const auto closure_at = [&](SlotId slot) {
        if (slots.noscan(slot) && slots.size(slot) > 64) return;
        const std::byte* data = slots.data(slot);
        if (data == nullptr) return;
        Address entry;
        std::memcpy(&entry, data, 8);
        for (const ModuleData& module : graph.input().runtime.modules())
            if (module.text.contains(entry))
                if (auto func = graph.input().runtime.find_func(entry); func && func->entry == entry) {
                    spread_.claim_closure(slots.base(slot));
                    progress = true;
                    return;
                }
    };
    const auto channel_at = [&](SlotId slot) {
        const TypeId elem = channel_element(slots, graph.input().runtime.layout(), *out_.types_, slot);
        if (const TypeId header = out_.plans_->channel_of(elem)) {
            spread_.claim(slots.base(slot), header, 1, TypeBasis::contents);
            progress = true;
        }
    };
    if (!looked_) {
        looked_ = true;
        for (const std::uint32_t index : unexplained_) {
            const Root& root = graph.roots().all[index];
            if (!untyped(root.target)) continue;
            progress =
                look_at_iterator(read_map_iterator_of_table(memory, graph.input().runtime, root.where)) || progress;
            progress = look_at_slot(root) || progress;
            std::uint64_t before = 0, value = 0;
            MemoryCursor cursor(memory);
            if (cursor.load(root.where - 8, before) && cursor.load(root.where, value) && value != 0)
                progress =
                    look_at_word(before, value, is_interfaces_data(root) ? TypeBasis::edge : TypeBasis::contents) ||
                    progress;
        }
        progress = look_at_kept_iterators() || progress;
        graph.live_bits().for_each([&](SlotId slot) {
            if (untyped(slot)) untyped_.push_back(slot);
        });
    } else {
        std::erase_if(untyped_, [&](SlotId slot) { return !untyped(slot); });
    }
    const std::size_t before_count = untyped_.size();
    for (const SlotId slot : untyped_) {
        closure_at(slot);
        if (untyped(slot)) channel_at(slot);
        const std::byte* data = slots.data(slot);
        if (data != nullptr && slots.noscan(slot) && slots.size(slot) >= least_text && untyped(slot) && is_text(data)) {
            spread_.claim(slots.base(slot), out_.types_->bytes(), slots.size(slot), TypeBasis::contents);
            progress = true;
        }
        if (data == nullptr || slots.noscan(slot)) continue;
        pointers.for_each_pointer_word(slot, [&](std::uint64_t at, std::uint64_t value) {
            if (at < 8) return;
            const SlotId to = slots.find(Address{value});
            if (to == no_slot || !untyped(to)) return;
            std::uint64_t before;
            std::memcpy(&before, data + at - 8, 8);
            progress = look_at_word(before, value, TypeBasis::contents) || progress;
        });
    }
    return progress && before_count != 0;
}

}  // namespace incident::go
