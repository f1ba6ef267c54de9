#include "heap_section.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <unordered_map>
#include <unordered_set>

#include "base/text.h"
#include "go/heap/dominators.h"
#include "go/heap/heap_names.h"

namespace incident {

namespace {

using go::SlotId;

constexpr std::size_t most_retainers = 60;
constexpr std::size_t fewest_alike = 3;  // rows that become one
constexpr std::size_t most_fields = 200;
constexpr std::size_t most_elements = 16;
constexpr std::uint64_t share_of_a_retainer = 1000;  // below a thousandth of the heap nobody is worth a line

std::string_view words_of(go::TypeBasis basis) {
    switch (basis) {
        case go::TypeBasis::none: break;
        case go::TypeBasis::contents: return "its contents, and what points to its middle";
        case go::TypeBasis::array: return "a slice of its middle";
        case go::TypeBasis::part: return "one of the values that share this block";
        case go::TypeBasis::edge: return "a typed pointer to it";
        case go::TypeBasis::closure: return "it begins with a function's entry";
        case go::TypeBasis::noted: return "the allocator's own note";
    }
    return "";
}

/// Inside a map, whose header stands for all of it.
bool is_map_part(go::MadeType made) { return made == go::MadeType::map_table || made == go::MadeType::map_cells; }

/// What alone keeps memory alive: without it, all that it counts would be garbage.
struct HeapRetainer {
    std::string name, what, held_by;     ///< what: variable, goroutine, root, object, type
    Address address;                     ///< of the variable's word or the object; null: a goroutine, a type
    std::uint64_t count = 0, bytes = 0;  ///< retained, its own included
    std::uint64_t own = 0;               ///< bytes of the object itself, or of all objects of the type

    report::HeapType row() const {
        std::string text = what == "type" ? "every " + name : name;
        if (what == "variable" || what == "root") text += fmt::format(" ({} {})", what, hex(address.value));
        if (what == "object") text += fmt::format(" {}, held by {}", hex(address.value), held_by);
        return {std::move(text), count, bytes, own};
    }
};

/// Why an object is alive: one shortest way to it.
struct HeapPath {
    struct Step {
        Address word;            ///< where the pointer stands
        std::string place;       ///< what it adds to the path: ".next", "[3]"
        Address object;          ///< what it leads to
        std::string type;        ///< of that object
        std::uint64_t size = 0;  ///< bytes
    };
    std::string text, root, problem;
    std::vector<Step> steps;
};

struct HeapObject {
    struct Field {
        std::uint64_t offset = 0;  ///< bytes from the object's base
        std::string name, type, value, points_to;
    };
    Address asked, address;  ///< the address in question; the object's base, null: no object there
    std::uint64_t size = 0;  ///< of its slot
    std::string type, state, basis, problem;
    std::uint64_t count = 1;  ///< values of that type in a row
    std::vector<Field> fields;
    std::uint64_t hidden = 0;  ///< fields and elements that are not listed
};

class HeapReport {
    struct Row {  ///< of what retains
        go::Dominators::Node node, parent;
        std::uint64_t bytes;
    };

public:
    HeapReport(const Process& process, const Locator& locator)
        : process_(process),
          locator_(locator),
          graph_(*process.heap),
          types_(*process.heap_types),
          names_(types_, &*process.images) {}

    void histogram(report::Heap& out) const {
        // What bears one name is one row: a function literal that was compiled into several callers is several
        // closures.
        std::unordered_map<std::string, std::size_t> rows;
        for (const bool untyped : {false, true})
            for (const go::TypeCount& row : types_.counts()) {
                if ((row.key >> 31 != 0) != untyped || row.objects == 0) continue;
                std::string name = types_.name_of_key(row.key);
                const auto [at, fresh] = rows.try_emplace(name, out.types.size());
                if (fresh) out.types.push_back({std::move(name), 0, 0, 0});
                report::HeapType& total = out.types[at->second];
                total.count += row.objects;
                total.bytes += row.bytes;
                total.live += row.live_bytes;
            }
        std::ranges::stable_sort(out.types, [](auto& a, auto& b) { return a.live > b.live; });
        const auto& totals = graph_.totals();
        const auto& shares = types_.shares();
        out.totals = {{"allocated_objects", totals.allocated_objects},
                      {"allocated_bytes", totals.allocated_bytes},
                      {"live_objects", totals.live_objects},
                      {"live_bytes", totals.live_bytes},
                      {"garbage_objects", totals.garbage_objects},
                      {"garbage_bytes", totals.garbage_bytes},
                      {"typed_live_objects", shares.typed_objects},
                      {"typed_live_bytes", shares.typed_bytes},
                      {"untyped_noscan_bytes", shares.untyped_noscan},
                      {"untyped_scan_bytes", shares.untyped_scan},
                      {"arena_bytes", process_.spans->totals().arena_bytes},
                      {"in_use_bytes", process_.spans->totals().in_use_bytes},
                      {"stack_bytes", process_.spans->totals().stack_bytes}};
    }

    void retained(report::Heap& out) const {
        const auto dominators = go::Dominators::compute(graph_);
        const auto whole = dominators.retained(go::Dominators::everything).bytes;
        std::vector<Row> rows;
        // Nodes come after what dominates them, so a type's outermost objects are seen first.
        std::vector<std::uint32_t> key(dominators.size());
        for (go::Dominators::Node node = 1; node < dominators.size(); ++node) {
            const auto retained = dominators.retained(node);
            if (dominators.is_object(node)) key[node] = types_.key_of(dominators.slot(node)) + 1;
            if (retained.bytes * share_of_a_retainer < whole || retained.bytes == 0) continue;
            const auto parent = dominators.immediate(node);
            // The second node of a list says nothing that the first did not; nor do the insides of maps.
            if (key[node] != 0 && (key[parent] == key[node] || is_map_part(types_.made_of_key(key[node] - 1))))
                continue;
            rows.push_back({node, parent, retained.bytes});
        }
        // Those that say the same are one row: 300 goroutines that a send blocks, each with its buffer.
        std::unordered_map<std::string, std::vector<Row>> alike;
        for (const Row& row : rows) alike[likeness(dominators, row.node, row.parent, row.bytes)].push_back(row);
        std::vector<std::vector<Row>> groups;
        for (auto& [likeness, members] : alike) {
            std::ranges::stable_sort(members, std::ranges::greater{}, &Row::bytes);
            if (members.size() >= fewest_alike && !likeness.empty())
                groups.push_back(std::move(members));
            else
                for (const Row& row : members) groups.push_back({row});
        }
        const auto sum = [](const std::vector<Row>& members) {
            std::uint64_t bytes = 0;
            for (const Row& row : members) bytes += row.bytes;
            return std::pair(~bytes, members.front().node);
        };
        std::ranges::sort(groups, {}, sum);
        if (groups.size() > most_retainers) groups.resize(most_retainers);
        const auto finalized = kept_by_finalizers(dominators, groups);
        std::unordered_map<go::Dominators::Node, std::size_t> row_of;
        for (const std::vector<Row>& members : groups) {
            HeapRetainer retainer;
            const Row& first = members.front();
            for (const Row& row : members) {
                retainer.count += dominators.retained(row.node).objects;
                retainer.bytes += row.bytes;
                if (dominators.is_object(row.node)) retainer.own += graph_.slots().size(dominators.slot(row.node));
            }
            const std::string many = members.size() > 1 ? fmt::format("{} × ", members.size()) : std::string();
            if (dominators.is_object(first.node)) {
                const SlotId slot = dominators.slot(first.node);
                retainer.what = "object";
                retainer.name = many + types_.name_of(slot);
                retainer.address = graph_.slots().base(slot);
                const auto finalizer = finalized.find(slot);
                retainer.held_by =
                    finalizer != finalized.end()                 ? "the finalizer of " + finalizer->second
                    : first.parent == go::Dominators::everything ? "several roots"
                    : dominators.is_object(first.parent)
                        ? types_.name_of(dominators.slot(first.parent))
                        : name_of_group(dominators.group(first.parent), members.size() > 1 ? "goroutines" : "");
            } else {
                const auto& group = dominators.group(first.node);
                const go::Root& root = graph_.roots().all[group.root];
                retainer.name = name_of_group(
                    group, members.size() > 1 ? fmt::format("{} goroutines", members.size()) : std::string());
                retainer.what = group.goroutine != go::no_owner                                     ? "goroutine"
                                : root.kind == go::RootKind::data || root.kind == go::RootKind::bss ? "variable"
                                                                                                    : "root";
                if (group.goroutine == go::no_owner) retainer.address = root.where;
            }
            const std::size_t index = out.retainers.size();
            out.retainers.push_back(retainer.row());
            for (const Row& row : members) row_of.emplace(row.node, index);
            if (const auto above = row_of.find(first.parent); above != row_of.end()) {
                report::HeapType& holder = out.retainers[above->second];
                if (holder.bytes - holder.live == retainer.bytes) holder.only = index;
            }
        }
        add_types(dominators, key, out);
    }

    HeapPath path(Address at) const {
        HeapPath out;
        const auto slot = graph_.slot_of(at);
        if (!slot || !graph_.slots().allocated(*slot)) {
            out.problem = fmt::format("there is no allocated object at {}: {}", hex(at.value), locator_.describe(at));
            return out;
        }
        const auto found = go::shortest_path(graph_, *slot);
        if (!found) {
            out.problem = graph_.live(*slot) ? "it counts as live, and no path was found"
                                             : "nothing keeps it alive: the next collection would free it";
            return out;
        }
        go::NamedPath named = names_.path(*found);
        out.text = std::move(named.text);
        out.root = std::move(named.root);
        for (go::NamedStep& step : named.steps)
            out.steps.push_back(
                {step.word, std::move(step.place), step.object, std::move(step.type), graph_.slots().size(step.slot)});
        return out;
    }

    HeapObject object(Address at) const {
        HeapObject out;
        out.asked = at;
        const auto& slots = graph_.slots();
        const auto slot = graph_.slot_of(at);
        if (!slot) {
            out.problem = locator_.describe(at);
            if (out.problem.empty()) out.problem = "no object of the Go heap";
            return out;
        }
        out.address = slots.base(*slot);
        out.size = slots.size(*slot);
        const auto state = slots.state(*slot);
        out.state = state == go::SlotState::free      ? "free"
                    : state == go::SlotState::unknown ? "unknown"
                    : graph_.live(*slot)              ? "live"
                                                      : "garbage";
        out.type = types_.name_of(*slot);
        const go::ObjectType type = types_.type_of(*slot);
        out.basis = words_of(type.basis);
        out.count = type.count;
        if (state != go::SlotState::allocated) {
            out.type.clear();
            out.basis.clear();
            out.count = 1;
        }
        const Address value = out.address + type.offset;
        if (type.closure != nullptr) {
            add_field(out, 0, "fn", "func", std::string(type.closure->name.substr(5)), Address{});
            for (const auto& capture : type.closure->captures)
                add_value(out, capture.offset, std::string(capture.name), capture.type, out.address + capture.offset);
        } else if (type.type != go::no_type) {
            const auto size = types_.types()[type.type].size;
            for (std::uint64_t i = 0; i < type.count; ++i) {
                if (i == most_elements && type.count > most_elements) {
                    out.hidden += type.count - i;
                    break;
                }
                add_fields(out, type.offset + i * size, type.count > 1 ? fmt::format("[{}]", i) : std::string(),
                           type.type, value + i * size, 0);
            }
        } else {
            for (std::uint64_t i = 0; i * 8 + 8 <= out.size; ++i) {
                if (i == most_elements) {
                    out.hidden += out.size / 8 - i;
                    break;
                }
                auto word = process_.memory.load<std::uint64_t>(out.address + i * 8);
                if (word) add_field(out, i * 8, "", "word", hex(*word), Address{*word});
            }
        }
        return out;
    }

private:
    void add_types(const go::Dominators& dominators, const std::vector<std::uint32_t>& key, report::Heap& out) const {
        // An object inside another of its type counts with that one: a bit per node says "below one of my type" only
        // for the chain at hand, found by walking up; chains are short where it matters and the walk is bounded.
        std::unordered_map<std::uint32_t, HeapRetainer> by_type;
        for (go::Dominators::Node node = 1; node < dominators.size(); ++node) {
            if (key[node] == 0) continue;
            HeapRetainer& row = by_type[key[node]];
            row.own += graph_.slots().size(dominators.slot(node));
            bool inside = false;
            auto above = dominators.immediate(node);
            for (int i = 0; i < 64 && above != go::Dominators::everything && !inside; ++i) {
                inside = key[above] == key[node];
                above = dominators.immediate(above);
            }
            if (inside) continue;
            const auto retained = dominators.retained(node);
            row.count += retained.objects;
            row.bytes += retained.bytes;
        }
        std::vector<report::HeapType> rows;
        for (auto& [k, row] : by_type) {
            row.name = types_.name_of_key(k - 1);
            if (is_map_part(types_.made_of_key(k - 1))) continue;
            row.what = "type";
            rows.push_back(row.row());
        }
        std::ranges::sort(rows, [](auto& a, auto& b) {
            return std::tuple(b.bytes, std::string_view(a.name)) < std::tuple(a.bytes, std::string_view(b.name));
        });
        if (rows.size() > most_retainers) rows.resize(most_retainers);
        out.retainers.insert(out.retainers.end(), rows.begin(), rows.end());
    }

    /// Equal for rows that say the same of equal amounts, within a factor of two; empty: such a row stands alone.
    std::string likeness(const go::Dominators& dominators, go::Dominators::Node node, go::Dominators::Node parent,
                         std::uint64_t bytes) const {
        const auto kind = [&](go::Dominators::Node of) {
            if (of == go::Dominators::everything) return std::string("roots");
            if (dominators.is_object(of)) return fmt::format("object {}", types_.key_of(dominators.slot(of)));
            const auto& group = dominators.group(of);
            return group.goroutine == go::no_owner ? std::string() : name_of_group(group, "goroutines");
        };
        const std::string own = kind(node), above = kind(parent);
        return own.empty() || above.empty() ? std::string()
                                            : fmt::format("{}|{}|{}", own, above, std::bit_width(bytes));
    }

    /// Of the first objects of these rows, those that an object's finalizer keeps: by that object's type.
    std::unordered_map<SlotId, std::string> kept_by_finalizers(const go::Dominators& dominators,
                                                               std::span<const std::vector<Row>> groups) const {
        std::unordered_map<SlotId, std::string> out;
        std::unordered_set<SlotId> asked;
        for (const std::vector<Row>& members : groups)
            if (dominators.is_object(members.front().node) && members.front().parent == go::Dominators::everything)
                asked.insert(dominators.slot(members.front().node));
        if (asked.empty()) return out;
        for (const go::Root& root : graph_.roots().all)
            if (root.kind == go::RootKind::finalizer && asked.contains(root.target))
                if (const auto of = graph_.slot_of(root.where)) out.try_emplace(root.target, types_.name_of(*of));
        return out;
    }

    /// `who`: called so instead of by its id, a goroutine among others like it.
    std::string name_of_group(const go::Dominators::Group& group, std::string_view who = {}) const {
        if (group.goroutine != go::no_owner && process_.goroutines) {
            const auto& goroutine = process_.goroutines->all[group.goroutine];
            std::string name = who.empty() ? fmt::format("goroutine {}", goroutine.goid) : std::string(who);
            const auto origin = go::origin_of(*process_.go, *process_.goroutines, goroutine);
            if (!origin.start.empty()) name += fmt::format(", {}", origin.start);
            return name;
        }
        go::RootPath alone;
        alone.root = group.root;
        return names_.path(alone).text;
    }

    void add_field(HeapObject& out, std::uint64_t offset, std::string name, std::string type, std::string value,
                   Address target) const {
        if (out.fields.size() >= most_fields) {
            ++out.hidden;
            return;
        }
        std::string points_to;
        if (!target.is_null()) {
            if (const auto slot = graph_.slot_of(target))
                points_to = fmt::format("{} {}, {} B", graph_.slots().allocated(*slot) ? "heap:" : "heap, freed:",
                                        types_.name_of(*slot), graph_.slots().size(*slot));
            else
                points_to = locator_.points_to(target.value);
        }
        out.fields.push_back({offset, std::move(name), std::move(type), std::move(value), std::move(points_to)});
    }

    void add_value(HeapObject& out, std::uint64_t offset, std::string name, go::TypeId id, Address at) const {
        const go::Type& type = types_.types()[id];
        Address target{};
        using go::Kind;
        if (type.kind == Kind::pointer || type.kind == Kind::map || type.kind == Kind::chan ||
            type.kind == Kind::unsafe_pointer || type.kind == Kind::slice || type.kind == Kind::uintptr)
            target = process_.memory.load_address(at).value_or(Address{});
        if (type.kind == Kind::interface) target = process_.memory.load_address(at + 8).value_or(Address{});
        add_field(out, offset, std::move(name), std::string(type.name), names_.value(id, at), target);
    }

    void add_fields(HeapObject& out, std::uint64_t offset, const std::string& prefix, go::TypeId id, Address at,
                    unsigned depth) const {
        const go::Type& type = types_.types()[id];
        if (type.kind != go::Kind::struct_ || type.field_count == 0 || depth > 2)
            return add_value(out, offset, prefix, id, at);
        for (const go::TypeField& field : types_.types().fields(id)) {
            const std::string name =
                prefix.empty() ? std::string(field.name) : fmt::format("{}.{}", prefix, field.name);
            add_fields(out, offset + field.offset, name, field.type, at + field.offset, depth + 1);
        }
    }

    const Process& process_;
    const Locator& locator_;
    const go::HeapGraph& graph_;
    const go::HeapTypes& types_;
    go::HeapNames names_;
};

void add_path(const HeapPath& path, report::Location& out) {
    if (!path.problem.empty()) {
        out.details.emplace_back("kept by", path.problem);
        return;
    }
    out.details.emplace_back("kept by", path.text);
    out.details.emplace_back("root", path.root);
    for (const auto& step : path.steps)
        out.details.emplace_back(
            step.place.empty() ? "·" : step.place,
            fmt::format("{} ──▶ {}  {}, {} B", hex(step.word.value), hex(step.object.value), step.type, step.size));
}

void add_object(const HeapObject& object, report::Location& out) {
    if (object.address.is_null()) {
        out.details.emplace_back("object", object.problem);
        return;
    }
    out.details.emplace_back("object", fmt::format("{} at {}, {} B", object.type.empty() ? "memory" : object.type,
                                                   hex(object.address.value), object.size));
    out.details.emplace_back("state", object.state);
    if (!object.basis.empty()) out.details.emplace_back("type by", object.basis);
    if (object.count > 1) out.details.emplace_back("room for", fmt::format("{} values", object.count));
    for (const auto& field : object.fields) {
        std::string value = fmt::format("{}{}{}", field.type, field.type.empty() ? "" : "  ", field.value);
        if (!field.points_to.empty()) value += " ──▶ " + field.points_to;
        out.details.emplace_back(fmt::format("+{:#x} {}", field.offset, field.name), std::move(value));
    }
    if (object.hidden != 0) out.details.emplace_back("…", fmt::format("{} more", object.hidden));
}

}  // namespace

std::optional<report::Heap> heap_section(const Process& process, const Locator& locator, const AnalyzeOptions& options,
                                         report::Report& report) {
    if (!process.heap || !process.heap_types || !process.spans) return std::nullopt;
    report::Heap out;
    const HeapReport heap(process, locator);
    heap.histogram(out);
    if (options.retained) heap.retained(out);
    if (options.roots || options.object) {
        const Address at = options.roots.value_or(options.object.value_or(Address{}));
        report.location = locator.location(at);
        report.location->details.clear();
        if (options.roots) add_path(heap.path(at), *report.location);
        if (options.object) add_object(heap.object(*options.object), *report.location);
    }
    if (!options.pprof_path.empty())
        if (auto written = write_pprof(*process.heap_types, options.pprof_path); !written)
            report.gaps.push_back({"the profile that was asked for", written.error().what, ""});
    return out;
}

}  // namespace incident
