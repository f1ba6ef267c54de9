// go.map.corrupt: a map whose count, control bytes, flags, directory or sizes contradict each other.
//
// Proof, corrupt: every other fact about the map fits (size class, seed, array size, cells of a map type that the
// program has) and one does not; or the heap's types, a variable or an iterator say that it is a map, and one fact of
// it does not fit: then a few cells are enough. Innocent look-alikes: a map that a goroutine was writing to when the
// process stopped (its writing flag is set: skipped); growth, evacuated buckets, iterators over old arrays and replaced
// tables (all legal, all walked); garbage that the sweeper has not come to; an object that happens to resemble a header
// (too few cells: not believed); a map that is being cloned.
#include "detect/go_map.h"
#include "detect/surely_kept.h"
#include "detect/telling.h"

#include <fmt/format.h>

#include <algorithm>
#include <functional>
#include <unordered_map>

#include "base/text.h"
#include "go/heap/go_map_typed.h"

namespace incident::detect {

namespace {

constexpr std::size_t most_findings = 16;

/// Maps that the runtime itself stopped the process for: another finding tells of them.
std::vector<Address> raced_maps(const Process& process) {
    std::vector<Address> headers;
    if (!process.crash || !process.crash->message ||
        process.crash->message->find("concurrent map") == std::string::npos)
        return headers;
    for (auto& use : go::map_uses(process.memory, *process.go, process.disassembler ? &*process.disassembler : nullptr,
                                  process.crash->stack))
        if (!use.header.is_null()) headers.push_back(use.header);
    return headers;
}

/// A goroutine is in the middle of copying a map: the copy's count comes before its cells.
bool cloning(const Process& process) {
    for (std::size_t g = 0; g < process.stacks.size(); ++g)
        for (auto& frame : process.stacks.shape(g).physical)
            if (go::map_operation(frame.name()) == go::MapOperation::clone) return true;
    return false;
}

/// What is wrong in words of either kind of map: Swiss tables have counts of their own, buckets have none, and lost
/// cells show in one as a table's wrong count, in the other as control bytes that cannot be.
std::string fault_mark(const go::MapWalk& walk) {
    bool header_only = true, cells = false;
    for (std::size_t i = 0; i < std::min<std::size_t>(walk.found, walk.contradictions.size()); ++i) {
        const go::MapContradiction& c = walk.contradictions[i];
        const bool count = c.fault == go::MapFault::count;
        header_only = header_only && count && c.at == walk.header;
        cells = cells || c.fault == go::MapFault::control || (count && c.at != walk.header);
    }
    if (header_only) return "count";
    const go::MapFault first = walk.contradictions[0].fault;
    return cells && (first == go::MapFault::control || first == go::MapFault::count)
               ? std::string("cells")
               : std::string(go::to_string(first));
}

report::Finding tell_corrupt(const MapTeller& teller, const go::MapFinder& finder, const go::RecognisedMap& map) {
    const go::MapWalk& walk = map.walk;
    report::Finding finding;
    finding.kind = "go.map.corrupt";
    finding.severity = report::Severity::error;
    finding.strength = report::Strength::likely;
    bool sure = false;
    const Address chosen = teller.choose_type(finder, map, sure);
    finding.subject = teller.subject(walk.header, chosen);
    if (!sure) finding.subject.type = "map";
    finding.mark = {fault_mark(walk), finding.subject.symbol,
                    teller.variable(walk.header) ? "a map that a variable holds" : "a map"};
    const std::string type = teller.type_words(finder, map);
    const go::MapContradiction& first = walk.contradictions[0];
    finding.title =
        fmt::format("A map contradicts itself: {}, {}", teller.name(walk.header), go::to_string(first.fault));
    finding.where = walk.units != 0 ? fmt::format("map header {:#x}, cells like those of a {}", walk.header.value, type)
                                    : fmt::format("map header {:#x}, a {} by its type", walk.header.value, type);
    const bool place = first.fault == go::MapFault::unmapped;  // an address, no count
    finding.why = fmt::format("{}: {}{}", first.what, place ? hex(first.value) : std::to_string(first.value),
                              first.expected != 0 ? fmt::format(", the rest says {}", first.expected) : std::string());
    finding.evidence.push_back({"the map's header", walk.header, teller.state(walk), "core", "map header"});
    const std::size_t shown = std::min<std::size_t>(walk.found, walk.contradictions.size());
    for (std::size_t i = 0; i < shown; ++i) {
        const go::MapContradiction& c = walk.contradictions[i];
        finding.evidence.push_back({std::string(c.what), c.at,
                                    c.expected != 0 ? fmt::format("{:#x}, the rest says {:#x}", c.value, c.expected)
                                                    : fmt::format("{:#x}", c.value),
                                    "core", walk.swiss ? "walk of tables and groups" : "walk of buckets"});
    }
    if (walk.found > shown)
        finding.evidence.push_back(
            {fmt::format("{} more contradictions", walk.found - shown), std::nullopt, "", "core", ""});
    if (walk.units == 0)
        finding.evidence.push_back({"its count, depth and sizes agree with each other: only the table is nowhere",
                                    walk.header, "", "core", "types of heap objects and variables"});
    else
        finding.evidence.push_back(
            {fmt::format("everything else reads as a map: {} in {}", count_of(walk.cells, "full cell"),
                         count_of(walk.units, walk.swiss ? "group" : "bucket")),
             walk.buckets, fmt::format("{:#x}", walk.buckets.value), "core",
             map.typed ? "types of heap objects and variables" : "map types of the program, spans"});
    if (auto variable = teller.variable(walk.header))
        finding.evidence.push_back(
            {"the variable that holds it", variable, fmt::format("{:#x}", walk.header.value), "core", "data sections"});
    finding.explanation =
        "The runtime keeps these numbers equal at every moment when nobody writes to the map. They were overwritten, "
        "or "
        "two goroutines wrote to the map at once and were not caught.";
    finding.innocent.push_back(
        map.typed ? "unsafe code that keeps something else where the type says a map"
                  : "an object of the program that is built exactly like a map header, over an array that reads "
                    "like a map's");
    teller.add_verify(finding, walk.header, walk.swiss);
    if (first.at != walk.header && !first.at.is_null()) teller.add_verify_bytes(finding, first.at, first.what);
    finding.remedy = "look for unsafe or C code that writes near the map's memory, and run the tests with -race";
    return finding;
}

/// Cells of another size than this map's give impossible control bytes and a count that is far off: then the map was
/// recognised wrongly, and nothing is said of it (coredns, stripped: 2 bytes and 30 of 62 cells). Damage to a control
/// byte moves the count by one.
bool read_by_a_wrong_shape(const go::MapWalk& walk) {
    auto bytes = static_cast<std::uint64_t>(
        std::ranges::count(walk.contradictions, go::MapFault::control, &go::MapContradiction::fault));
    if (bytes != 0 && walk.found > walk.contradictions.size()) return true;  // not all were kept
    return bytes != 0 && std::ranges::any_of(walk.contradictions, [&](const go::MapContradiction& c) {
               auto off = c.value > c.expected ? c.value - c.expected : c.expected - c.value;
               return c.fault == go::MapFault::count && off > bytes;
           });
}

/// What more there is to say of a map that an iterator or a variable on a stack names.
using Held = std::unordered_map<std::uint64_t, std::function<void(report::Finding&)>>;

/// Maps on stacks, and those that iterators in heap objects name.
void add_held(const Process& process, const MapTeller& teller, const go::MapFinder& finder, const go::TypedMaps& typed,
              std::vector<go::RecognisedMap>& bad, Held& held, Detection& detection) {
    auto add = [&](go::RecognisedMap map, std::function<void(report::Finding&)> tell) {
        ++detection.checked;
        if (map.walk.found == 0 || map.walk.writing) return;
        auto same = [&](const go::RecognisedMap& other) { return other.walk.header == map.walk.header; };
        held.emplace(map.walk.header.value, std::move(tell));
        if (std::ranges::none_of(bad, same)) bad.push_back(map);
    };
    for (const go::MapIteratorInHeap& found : typed.iterators()) {
        const go::MapShape* shape = finder.shape_of(found.iterator.type);
        if (shape == nullptr || !process.spans->in_arena(found.iterator.header)) continue;
        auto map = finder.check_typed(found.iterator.header, *shape);
        if (!map) continue;
        add(*map, [&process, found](report::Finding& finding) {
            finding.evidence.push_back({fmt::format("an iterator over it, {} bytes into a live {}", found.offset,
                                                    process.heap_types->name_of(found.holder)),
                                        found.iterator.at, fmt::format("{:#x}", found.iterator.header.value), "core",
                                        "types of heap objects"});
        });
    }
    for (const go::MapOnStack& found : typed.on_stacks()) {
        go::RecognisedMap map;
        map.walk = found.walk;
        map.shape = static_cast<std::uint32_t>(found.shape - finder.shapes().data());
        map.typed = true;
        add(map, [&process, &teller, found](report::Finding& finding) {
            const go::GoStack stack = process.stacks.load(found.variable.goroutine);
            const std::int64_t goid = process.goroutines->all[found.variable.goroutine].goid;
            finding.where = fmt::format("variable {} of {}, goroutine {}; {}", found.variable.name,
                                        place_in_source(stack, found.variable.frame), goid, finding.where);
            finding.evidence.push_back({fmt::format("the variable {} leads to it", found.variable.name),
                                        found.variable.address, fmt::format("{:#x}", found.walk.header.value), "core",
                                        "debug information and the collector's map of the frame"});
            finding.goroutines.push_back(goid);
            add_frame_snapshot(process, finding, stack, found.variable.frame, goid);
        });
    }
}

}  // namespace

Detection detect_maps(const Process& process) {
    Detection detection;
    if (process.spans->arenas().empty()) return detection;
    go::MapFinder finder(process.memory, *process.go, *process.spans);
    if (finder.shapes().empty()) {
        detection.reason = "the program's map types could not be read: no map was checked";
        return detection;
    }
    MapTeller teller(process);
    std::optional<go::TypedMaps> typed;
    if (process.heap_types) typed.emplace(*process.heap_types, finder);
    auto maps = finder.find_all(process.jobs,
                                typed ? [&](Address header) { return typed->shape_of(header); } : go::TypedHeader{});
    detection.checked = maps.sound + maps.bad.size();
    detection.unchecked = maps.skipped;
    if (maps.skipped != 0)
        detection.reason = fmt::format("{} were being written to when the process stopped", maps.skipped);
    Held held;
    if (typed) add_held(process, teller, finder, *typed, maps.bad, held, detection);
    const auto raced = raced_maps(process);
    const bool copying = !maps.bad.empty() && cloning(process);
    std::size_t left = 0;
    SurelyKept surely_kept(process);
    for (const go::RecognisedMap& map : maps.bad) {
        const go::MapWalk& walk = map.walk;
        if (std::ranges::find(raced, walk.header) != raced.end()) continue;
        if (read_by_a_wrong_shape(walk)) {
            ++detection.unchecked;
            continue;
        }
        if (process.heap) {
            auto slot = process.heap->slot_of(walk.header);
            if (slot && !process.heap->live(*slot)) continue;  // garbage is nobody's map
        }
        if (copying && walk.has(go::MapFault::count) && walk.found == 1) continue;
        if (detection.findings.size() >= most_findings) {
            ++left;
            continue;
        }
        report::Finding finding = tell_corrupt(teller, finder, map);
        if (!surely_kept.holds(walk.header)) {
            finding.strength = report::Strength::possible;
            finding.severity = report::Severity::warning;
            finding.innocent.emplace_back(SurelyKept::doubt);
        }
        if (auto holder = held.find(walk.header.value); holder != held.end()) holder->second(finding);
        detection.findings.push_back(std::move(finding));
    }
    if (left != 0) detection.reason = fmt::format("{} more maps contradict themselves", left);
    tell_freed_uses(process, teller, finder, detection);
    return detection;
}

}  // namespace incident::detect
