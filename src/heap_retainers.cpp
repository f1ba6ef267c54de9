// Retainers: see heap_retainers.h. Rows are nodes of the dominator tree; those that say the same of equal amounts
// become one row ("300 × main.job").
#include "heap_retainers.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <unordered_map>
#include <unordered_set>

#include "base/text.h"
#include "go/heap/dominators.h"

namespace incident {

namespace {

using go::Dominators;
using go::SlotId;

constexpr std::size_t most_retainers = 60;
constexpr std::size_t fewest_alike = 3;              // rows that become one
constexpr std::uint64_t share_of_a_retainer = 1000;  // below a thousandth of the heap nobody is worth a line
constexpr int most_above = 64;  // nodes above one that are asked whether it lies inside another of its type

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

class Retainers {
public:
    Retainers(const Process& process, const go::HeapNames& names)
        : process_(process),
          graph_(*process.heap),
          types_(*process.heap_types),
          names_(names),
          dominators_(Dominators::compute(graph_)),
          key_(dominators_.size()) {
        for (Dominators::Node node = 1; node < dominators_.size(); ++node)
            if (dominators_.is_object(node)) key_[node] = types_.key_of(dominators_.slot(node)) + 1;
    }

    std::vector<report::HeapType> rows() const {
        std::vector<Group> groups = groups_of_alike(nodes());
        const auto sum = [](const Group& members) {
            std::uint64_t bytes = 0;
            for (const Row& row : members) bytes += row.bytes;
            return std::pair(~bytes, members.front().node);
        };
        std::ranges::sort(groups, {}, sum);
        if (groups.size() > most_retainers) groups.resize(most_retainers);
        const auto finalized = kept_by_finalizers(groups);
        std::vector<report::HeapType> out;
        std::unordered_map<Dominators::Node, std::size_t> row_of;
        for (const Group& members : groups) {
            const HeapRetainer retainer = retainer_of(members, finalized);
            for (const Row& row : members) row_of.emplace(row.node, out.size());
            if (const auto above = row_of.find(members.front().parent); above != row_of.end())
                if (auto& holder = out[above->second]; holder.bytes - holder.live == retainer.bytes)
                    holder.only = out.size();
            out.push_back(retainer.row());
        }
        add_types(out);
        return out;
    }

private:
    struct Row {
        Dominators::Node node, parent;
        std::uint64_t bytes;
    };
    using Group = std::vector<Row>;
    using Finalized = std::unordered_map<SlotId, std::string>;  ///< object → type of the one whose finalizer keeps it

    /// Those that are worth a line.
    std::vector<Row> nodes() const {
        const auto whole = dominators_.retained(Dominators::everything).bytes;
        std::vector<Row> rows;
        for (Dominators::Node node = 1; node < dominators_.size(); ++node) {
            const auto retained = dominators_.retained(node);
            if (retained.bytes * share_of_a_retainer < whole || retained.bytes == 0) continue;
            const auto parent = dominators_.immediate(node);
            // The second node of a list says nothing that the first did not; nor do the insides of maps.
            if (key_[node] != 0 && (key_[parent] == key_[node] || is_map_part(types_.made_of_key(key_[node] - 1))))
                continue;
            rows.push_back({node, parent, retained.bytes});
        }
        return rows;
    }

    /// Those that say the same are one row: 300 goroutines that a send blocks, each with its buffer.
    std::vector<Group> groups_of_alike(const std::vector<Row>& rows) const {
        std::unordered_map<std::string, Group> alike;
        for (const Row& row : rows) alike[likeness(row)].push_back(row);
        std::vector<Group> groups;
        for (auto& [likeness, members] : alike) {
            std::ranges::stable_sort(members, std::ranges::greater{}, &Row::bytes);
            if (members.size() >= fewest_alike && !likeness.empty())
                groups.push_back(std::move(members));
            else
                for (const Row& row : members) groups.push_back({row});
        }
        return groups;
    }

    /// Equal for rows that say the same of equal amounts, within a factor of two; empty: such a row stands alone.
    std::string likeness(const Row& row) const {
        const auto kind = [&](Dominators::Node of) {
            if (of == Dominators::everything) return std::string("roots");
            if (dominators_.is_object(of)) return fmt::format("object {}", types_.key_of(dominators_.slot(of)));
            const auto& group = dominators_.group(of);
            return group.goroutine == go::no_owner ? std::string() : name_of_group(group, "goroutines");
        };
        const std::string own = kind(row.node), above = kind(row.parent);
        return own.empty() || above.empty() ? std::string()
                                            : fmt::format("{}|{}|{}", own, above, std::bit_width(row.bytes));
    }

    /// Of the first objects of these rows, those that an object's finalizer keeps.
    Finalized kept_by_finalizers(std::span<const Group> groups) const {
        Finalized out;
        std::unordered_set<SlotId> asked;
        for (const Group& members : groups)
            if (dominators_.is_object(members.front().node) && members.front().parent == Dominators::everything)
                asked.insert(dominators_.slot(members.front().node));
        if (asked.empty()) return out;
        for (const go::Root& root : graph_.roots().all)
            if (root.kind == go::RootKind::finalizer && asked.contains(root.target))
                if (const auto of = graph_.slot_of(root.where)) out.try_emplace(root.target, types_.name_of(*of));
        return out;
    }

    HeapRetainer retainer_of(const Group& members, const Finalized& finalized) const {
        HeapRetainer out;
        const Row& first = members.front();
        for (const Row& row : members) {
            out.count += dominators_.retained(row.node).objects;
            out.bytes += row.bytes;
            if (dominators_.is_object(row.node)) out.own += graph_.slots().size(dominators_.slot(row.node));
        }
        if (dominators_.is_object(first.node)) {
            const SlotId slot = dominators_.slot(first.node);
            out.what = "object";
            out.name = types_.name_of(slot);
            if (members.size() > 1) out.name = fmt::format("{} × {}", members.size(), out.name);
            out.address = graph_.slots().base(slot);
            const auto finalizer = finalized.find(slot);
            out.held_by = finalizer != finalized.end() ? "the finalizer of " + finalizer->second
                                                       : holder_of(first.parent, members.size() > 1);
            return out;
        }
        const auto& group = dominators_.group(first.node);
        const go::Root& root = graph_.roots().all[group.root];
        out.name =
            name_of_group(group, members.size() > 1 ? fmt::format("{} goroutines", members.size()) : std::string());
        if (group.goroutine != go::no_owner) {
            out.what = "goroutine";
            return out;
        }
        out.what = root.kind == go::RootKind::data || root.kind == go::RootKind::bss ? "variable" : "root";
        out.address = root.where;
        return out;
    }

    std::string holder_of(Dominators::Node parent, bool many) const {
        if (parent == Dominators::everything) return "several roots";
        if (dominators_.is_object(parent)) return types_.name_of(dominators_.slot(parent));
        return name_of_group(dominators_.group(parent), many ? "goroutines" : "");
    }

    /// `who`: called so instead of by its id, a goroutine among others like it.
    std::string name_of_group(const Dominators::Group& group, std::string_view who) const {
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

    /// An object inside another of its type counts with that one. Nodes come after what dominates them.
    bool is_inside_its_type(Dominators::Node node) const {
        auto above = dominators_.immediate(node);
        for (int i = 0; i < most_above && above != Dominators::everything; ++i) {
            if (key_[above] == key_[node]) return true;
            above = dominators_.immediate(above);
        }
        return false;
    }

    void add_types(std::vector<report::HeapType>& out) const {
        std::unordered_map<std::uint32_t, HeapRetainer> by_type;
        for (Dominators::Node node = 1; node < dominators_.size(); ++node) {
            if (key_[node] == 0) continue;
            HeapRetainer& row = by_type[key_[node]];
            row.own += graph_.slots().size(dominators_.slot(node));
            if (is_inside_its_type(node)) continue;
            const auto retained = dominators_.retained(node);
            row.count += retained.objects;
            row.bytes += retained.bytes;
        }
        std::vector<report::HeapType> rows;
        for (auto& [key, row] : by_type) {
            if (is_map_part(types_.made_of_key(key - 1))) continue;
            row.name = types_.name_of_key(key - 1);
            row.what = "type";
            rows.push_back(row.row());
        }
        std::ranges::sort(rows, [](auto& a, auto& b) {
            return std::tuple(b.bytes, std::string_view(a.name)) < std::tuple(a.bytes, std::string_view(b.name));
        });
        if (rows.size() > most_retainers) rows.resize(most_retainers);
        std::ranges::move(rows, std::back_inserter(out));
    }

    const Process& process_;
    const go::HeapGraph& graph_;
    const go::HeapTypes& types_;
    const go::HeapNames& names_;
    const Dominators dominators_;
    std::vector<std::uint32_t> key_;  // per node: HeapTypes::key_of + 1; 0: no object
};

}  // namespace

std::vector<report::HeapType> heap_retainers(const Process& process, const go::HeapNames& names) {
    return Retainers(process, names).rows();
}

}  // namespace incident
