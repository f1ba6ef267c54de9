#include "go/heap/type_plans.h"

#include <fmt/format.h>

#include <string>

namespace incident::go {

namespace {

constexpr unsigned deepest = 32;              // structs in structs
constexpr std::uint64_t longest_inline = 64;  // steps that an array may unfold to
constexpr std::size_t most_steps = 1 << 24;   // of all types
constexpr std::size_t most_visits = 1 << 26;  // of parts: damaged types may consist of each other, twice

bool is_trie_node(std::string_view name) {
    return name.starts_with("internal/sync.node[") || name.starts_with("internal/concurrent.node[") ||
           name.starts_with("unique.node[");
}

/// go1.19 src/sync/atomic/type.go, go1.19 src/runtime/internal/atomic/types.go; the latter moved to internal/runtime.
bool is_atomic_pointer(std::string_view name) {
    return name.starts_with("sync/atomic.Pointer[") || name.starts_with("internal/runtime/atomic.Pointer[") ||
           name.starts_with("runtime/internal/atomic.Pointer[");
}

/// "[interface {},*abi.Type]" → "[go.shape.interface {},go.shape.*abi.Type]"
std::string shape_arguments(std::string_view arguments) {
    std::string out = "[go.shape.";
    int depth = 0;
    for (std::size_t i = 1; i < arguments.size(); ++i) {
        const char c = arguments[i];
        out += c;
        if (c == '[' || c == '{' || c == '(') ++depth;
        if (c == ']' || c == '}' || c == ')') --depth;
        if (c == ',' && depth == 0) out += "go.shape.";
    }
    return out;
}

}  // namespace

TypePlans::TypePlans(const TypeTable& types) : types_(types), plans_(types.size()) {
    for (TypeId id = 1; id < types.size(); ++id) {
        if (types[id].header == no_type) continue;
        (types[id].kind == Kind::chan ? channel_of_ : map_of_).emplace(types[id].header, id);
        if (types[id].kind == Kind::chan) channels_.try_emplace(types[id].elem, types[id].header);
    }
    pool_local_ = types.find("sync.poolLocal");
    funcval_ = types.find("runtime.funcval");
    const TypeId hchan = types.find("runtime.hchan");
    for (TypeId id = 1; id < types.size(); ++id) {
        const Type& type = types[id];
        TypePlan& plan = plans_[id];
        plan.size = type.size;
        plan.first_step = static_cast<std::uint32_t>(steps_.size());
        plan.first_loop = static_cast<std::uint32_t>(loops_.size());
        plan.shape = type.name.contains("go.shape.");
        plan.funcval = id == funcval_;
        plan.hchan = id == hchan;
        if (is_trie_node(type.name)) {
            const auto bracket = type.name.find('[');
            const std::string package(type.name.substr(0, type.name.rfind('.', bracket) + 1));
            const std::string arguments(type.name.substr(bracket));
            plan.entry = types.find(fmt::format("{}entry{}", package, arguments));
            plan.indirect = types.find(fmt::format("{}indirect{}", package, arguments));
            // Often only the compiler's shape of an instantiation has DWARF.
            const auto shaped = shape_arguments(arguments);
            if (plan.entry == no_type) plan.entry = types.find(fmt::format("{}entry{}", package, shaped));
            if (plan.indirect == no_type) plan.indirect = types.find(fmt::format("{}indirect{}", package, shaped));
            plan.node = plan.entry != no_type && plan.indirect != no_type;
        }
        if (type.pointer_bytes == 0) continue;
        walk(id, 0, 0);
        plan.steps = static_cast<std::uint32_t>(steps_.size()) - plan.first_step;
        plan.loops = static_cast<std::uint32_t>(loops_.size()) - plan.first_loop;
    }
}

TypeId TypePlans::named_argument(std::string_view name) const {
    const auto open = name.find('[');
    if (open == name.npos || !name.ends_with(']')) return no_type;
    return types_.find(name.substr(open + 1, name.size() - open - 2));
}

bool TypePlans::walk_special(TypeId id, std::uint64_t base) {
    const Type& type = types_[id];
    const auto place = [&](std::string_view name) { return types_.field(id, name); };
    const auto add = [&](std::string_view name, PlanStep step) {
        const TypeField* field = place(name);
        if (field == nullptr) return;
        step.offset = base + field->offset;
        steps_.push_back(step);
    };
    using Op = PlanStep::Op;
    if (auto map = map_of_.find(id); map != map_of_.end()) {
        const TypeId group = types_[map->second].group;
        if (const TypeField* directory = place("dirPtr")) {
            const TypeField* length = place("dirLen");
            if (length == nullptr) return true;
            add("dirPtr", {.target = group,
                           .second = types_[directory->type].elem,
                           .op = Op::swiss_group,
                           .count_at = static_cast<std::int8_t>(length->offset - directory->offset)});
        } else {
            add("buckets", {.target = group, .op = Op::buckets});
            add("oldbuckets", {.target = group, .op = Op::buckets});
            if (const TypeField* extra = place("extra"))
                add("extra", {.target = types_[extra->type].elem, .op = Op::pointer});
        }
        return true;
    }
    if (auto chan = channel_of_.find(id); chan != channel_of_.end()) {
        const TypeField *buffer = place("buf"), *size = place("dataqsiz");
        if (buffer != nullptr && size != nullptr)
            add("buf", {.target = types_[chan->second].elem,
                        .op = Op::counted,
                        .count_at = static_cast<std::int8_t>(static_cast<int>(size->offset) -
                                                             static_cast<int>(buffer->offset))});
        for (const TypeField& field : types_.fields(id))
            if (&field != buffer) walk(field.type, base + field.offset, 1);
        return true;
    }
    if (type.name.starts_with("map.bucket[")) {  // of an rtype: its overflow is an unsafe.Pointer since 1.18
        for (const TypeField& field : types_.fields(id))
            if (field.name == "overflow")
                steps_.push_back({.offset = base + field.offset, .target = id});
            else
                walk(field.type, base + field.offset, 1);
        return true;
    }
    if (type.name.starts_with("groupReference<")) {
        if (const TypeField* data = place("data"))
            add("data", {.target = types_[data->type].elem, .op = Op::counted, .count_at = 8, .count_add = 1});
        return true;
    }
    if (type.name == "sync.Pool") {
        add("local", {.target = pool_local_, .op = Op::counted, .count_at = 8});
        add("victim", {.target = pool_local_, .op = Op::counted, .count_at = 8});
        if (const TypeField* field = place("New")) walk(field->type, base + field->offset, 1);
        return true;
    }
    if (type.name == "sync.eface" || type.name == "runtime.eface") {
        steps_.push_back({.offset = base, .op = Op::eface});
        return true;
    }
    if (type.name == "runtime.iface") {
        steps_.push_back({.offset = base, .op = Op::iface});
        return true;
    }
    if (type.name == "reflect.Value") {
        steps_.push_back({.offset = base, .op = Op::reflected});
        return true;
    }
    if (type.name == "runtime.hiter") return true;  // of any map: its *hmap and *bmap are less than others know of them
    if (const TypeField* it = place("it"); it != nullptr && type.name == "reflect.MapIter") {
        // ≤1.17: it unsafe.Pointer, made by runtime.mapiterinit. go1.16 src/reflect/value.go, src/runtime/map.go
        steps_.push_back({.offset = base + it->offset, .target = types_.find("runtime.hiter")});
        for (const TypeField& field : types_.fields(id))
            if (&field != it) walk(field.type, base + field.offset, 1);
        return true;
    }
    if (type.name == "sync.entry" && type.size == 8) {  // ≤1.19: p unsafe.Pointer // *interface{}
        steps_.push_back({.offset = base, .target = types_.find("interface {}")});
        return true;
    }
    if (is_atomic_pointer(type.name) && type.size == 8) {
        TypeId target = named_argument(type.name);
        if (target == no_type)
            for (const TypeField& field : types_.fields(id))  // _ [0]*T
                if (types_[field.type].kind == Kind::array) target = types_[types_[field.type].elem].elem;
        if (target != no_type) steps_.push_back({.offset = base, .target = target});
        return true;
    }
    return false;
}

void TypePlans::walk(TypeId id, std::uint64_t base, unsigned depth) {
    const Type& type = types_[id];
    if (depth > deepest || type.pointer_bytes == 0) return;
    if (steps_.size() > most_steps || ++visits_ > most_visits) return;
    using Op = PlanStep::Op;
    switch (type.kind) {
        case Kind::pointer:
            if (type.elem != no_type)
                steps_.push_back(
                    {.offset = base, .target = type.elem, .op = type.elem == funcval_ ? Op::func : Op::pointer});
            break;
        case Kind::map:
        case Kind::chan:
            if (type.header != no_type) steps_.push_back({.offset = base, .target = type.header});
            break;
        case Kind::slice:
            if (type.elem != no_type) steps_.push_back({.offset = base, .target = type.elem, .op = Op::slice});
            break;
        case Kind::string: steps_.push_back({.offset = base, .target = types_.bytes(), .op = Op::string}); break;
        case Kind::interface:
            steps_.push_back({.offset = base, .op = type.empty_interface ? Op::eface : Op::iface});
            break;
        case Kind::func: steps_.push_back({.offset = base, .op = Op::func}); break;
        case Kind::struct_:
            if (walk_special(id, base)) break;
            for (const TypeField& field : types_.fields(id)) {
                if (field.type == id || field.offset + types_[field.type].size > type.size) continue;
                walk(field.type, base + field.offset, depth + 1);
            }
            break;
        case Kind::array: {
            const std::uint64_t size = types_[type.elem].size;
            if (type.count == 0 || size == 0) break;
            const std::size_t before = steps_.size(), loops_before = loops_.size();
            walk(type.elem, base, depth + 1);
            const std::size_t each = steps_.size() - before;
            if (each == 0 && loops_.size() == loops_before) break;
            if (loops_.size() != loops_before || each * type.count > longest_inline) {
                steps_.resize(before);
                loops_.resize(loops_before);
                loops_.push_back({base, type.count, type.elem});
                break;
            }
            for (std::uint64_t i = 1; i < type.count; ++i)
                for (std::size_t s = 0; s < each; ++s) {
                    PlanStep step = steps_[before + s];
                    step.offset += i * size;
                    steps_.push_back(step);
                }
            break;
        }
        default: break;
    }
}

const PlanStep* TypePlans::step_at(TypeId id, std::uint64_t offset, std::uint64_t& at) const {
    for (unsigned depth = 0; depth < deepest && id < plans_.size(); ++depth) {
        const TypePlan& plan = plans_[id];
        for (const PlanStep& step : steps(plan)) {
            // The pointer word: the second one of interfaces.
            const bool second =
                step.op == PlanStep::Op::eface || step.op == PlanStep::Op::iface || step.op == PlanStep::Op::reflected;
            if (offset == step.offset + (second ? 8 : 0)) {
                at += step.offset;
                return &step;
            }
        }
        const PlanLoop* inside = nullptr;
        for (const PlanLoop& loop : loops(plan)) {
            const std::uint64_t size = plans_[loop.elem].size;
            if (size != 0 && offset >= loop.offset && (offset - loop.offset) / size < loop.count) inside = &loop;
        }
        if (inside == nullptr) return nullptr;
        const std::uint64_t size = plans_[inside->elem].size;
        const std::uint64_t before = inside->offset + (offset - inside->offset) / size * size;
        at += before;
        offset -= before;
        id = inside->elem;
    }
    return nullptr;
}

}  // namespace incident::go
