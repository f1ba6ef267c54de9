#include "heap_section.h"

#include <fmt/format.h>

#include <algorithm>
#include <unordered_map>

#include "base/text.h"
#include "heap_retainers.h"
#include "report/weakens.h"

namespace incident {

namespace {

using go::SlotId;

constexpr std::size_t most_fields = 200;
constexpr std::size_t most_elements = 16;

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
        const std::string unreached = reaches_all(graph_) ? "garbage" : "unreached";
        const auto& shares = types_.shares();
        out.totals = {{"allocated_objects", totals.allocated_objects},
                      {"allocated_bytes", totals.allocated_bytes},
                      {"live_objects", totals.live_objects},
                      {"live_bytes", totals.live_bytes},
                      {unreached + "_objects", totals.garbage_objects},
                      {unreached + "_bytes", totals.garbage_bytes},
                      {"typed_live_objects", shares.typed_objects},
                      {"typed_live_bytes", shares.typed_bytes},
                      {"untyped_noscan_bytes", shares.untyped_noscan},
                      {"untyped_scan_bytes", shares.untyped_scan},
                      {"arena_bytes", process_.spans->totals().arena_bytes},
                      {"in_use_bytes", process_.spans->totals().in_use_bytes},
                      {"stack_bytes", process_.spans->totals().stack_bytes}};
    }

    void retained(report::Heap& out) const { out.retainers = heap_retainers(process_, names_); }

    HeapPath path(Address at) const {
        HeapPath out;
        const auto slot = graph_.slot_of(at);
        if (!slot || !graph_.slots().allocated(*slot)) {
            out.problem = fmt::format("there is no allocated object at {}: {}", hex(at.value), locator_.describe(at));
            return out;
        }
        const auto found = go::shortest_path(graph_, *slot);
        if (!found) {
            out.problem = graph_.live(*slot)    ? "it counts as live, and no path was found"
                          : reaches_all(graph_) ? "nothing keeps it alive: the next collection would free it"
                                                : "nothing that could be read leads to it, and not all roots could";
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
                    : reaches_all(graph_)             ? "garbage"
                                                      : "not reached";
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

bool reaches_all(const go::HeapGraph& graph) {
    return std::ranges::none_of(graph.gaps(), [](const report::Gap& gap) {
        return std::string_view(gap.weakens).ends_with(report::weakens_reach);
    });
}

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
