// go.map.corrupt: a map whose count, control bytes, flags, directory or sizes contradict each other.
// go.map.freed: a map, or an iterator's map, in freed memory.
//
// Proof, corrupt: every other fact about the map fits (size class, seed, array size, cells of a map type that the
// program has) and one does not. Proof, freed: the header lies in a free slot or page, and its bytes still read as a
// map's, or a frame uses it as one. Innocent look-alikes: a map that a goroutine was writing to when the process
// stopped (its writing flag is set: skipped); growth, evacuated buckets, iterators over old arrays and replaced tables
// (all legal, all walked); garbage that the sweeper has not come to; an object that happens to resemble a header (too
// few cells: not believed); a map that is being cloned.
#include "detect/go_map.h"

#include <fmt/format.h>

#include <algorithm>

#include "go/heap/heap_graph.h"

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
    for (auto& stack : process.stacks)
        for (auto& frame : stack.physical)
            if (go::map_operation(frame.name()) == go::MapOperation::clone) return true;
    return false;
}

std::string type_words(const MapTeller& teller, const go::MapFinder& finder, const go::RecognisedMap& map) {
    bool sure = false;
    const Address type = teller.choose_type(finder, map, sure);
    return fmt::format("{}{}", teller.type_name(type), sure ? "" : " or a type like it");
}

report::Finding tell_corrupt(const MapTeller& teller, const go::MapFinder& finder, const go::RecognisedMap& map) {
    const go::MapWalk& walk = map.walk;
    report::Finding finding;
    finding.kind = "go.map.corrupt";
    finding.severity = report::Severity::error;
    finding.strength = report::Strength::likely;
    bool sure = false;
    finding.subject = teller.subject(walk.header, teller.choose_type(finder, map, sure));
    if (!sure) finding.subject.type = "map";
    const std::string type = type_words(teller, finder, map);
    const go::MapContradiction& first = walk.contradictions[0];
    finding.title =
        fmt::format("A map contradicts itself: {}, {}", teller.name(walk.header), go::to_string(first.fault));
    finding.where = fmt::format("map header {:#x}, cells like those of a {}", walk.header.value, type);
    finding.why = fmt::format("{}: {}{}", first.what, first.value,
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
    finding.evidence.push_back({fmt::format("everything else reads as a map: {} full cells in {} {}", walk.cells,
                                            walk.units, walk.swiss ? "groups" : "buckets"),
                                walk.buckets, fmt::format("{:#x}", walk.buckets.value), "core",
                                "map types of the program, spans"});
    if (auto variable = teller.variable(walk.header))
        finding.evidence.push_back({"the variable that holds it", *variable, fmt::format("{:#x}", walk.header.value),
                                    "core", "data sections"});
    finding.explanation =
        "The runtime keeps these numbers equal at every moment when nobody writes to the map. They were overwritten, "
        "or "
        "two goroutines wrote to the map at once and were not caught.";
    finding.innocent.push_back(
        "an object of the program that is built exactly like a map header, over an array that reads "
        "like a map's");
    teller.add_verify(finding, walk.header, walk.swiss);
    if (first.at != walk.header && !first.at.is_null()) teller.add_verify_bytes(finding, first.at, first.what);
    finding.remedy = "look for unsafe or C code that writes near the map's memory, and run the tests with -race";
    return finding;
}

/// How a goroutine uses a map whose header is freed.
struct FreedUse {
    std::size_t goroutine = 0;
    std::uint32_t frame = 0;
    Address header, type, iterator;
    std::string doing;
};

bool header_is_freed(const Process& process, Address header) {
    if (!process.spans->in_arena(header)) return false;
    if (auto object = process.spans->find_object(header)) return object->state == go::SlotState::free;
    return process.spans->is_free_page(header);
}

std::vector<FreedUse> freed_uses(const Process& process, const go::GoStack& stack, std::size_t goroutine,
                                 bool only_freed) {
    std::vector<FreedUse> found;
    const Disassembler* disassembler = process.disassembler ? &*process.disassembler : nullptr;
    for (auto& use : go::map_uses(process.memory, *process.go, disassembler, stack))
        if (!use.header.is_null() && (!only_freed || header_is_freed(process, use.header)))
            found.push_back({goroutine, use.frame, use.header, use.type, use.iterator,
                             fmt::format("{} in {}", go::to_string(use.operation), use.function)});
    for (auto& it : go::map_iterators(process.memory, *process.go, stack)) {
        if (!it.live || (only_freed && !header_is_freed(process, it.header))) continue;
        auto same = [&](const FreedUse& use) { return use.frame == it.frame && use.header == it.header; };
        if (auto use = std::ranges::find_if(found, same); use != found.end())
            use->iterator = it.at;
        else
            found.push_back({goroutine, it.frame, it.header, it.type, it.at, "range over it, not finished"});
    }
    return found;
}

void add_use(const Process& process, const MapTeller& teller, report::Finding& finding, const FreedUse& use,
             const go::GoStack& stack) {
    const go::Goroutine& goroutine = process.goroutines->all[use.goroutine];
    finding.evidence.push_back(
        {fmt::format("goroutine {}, {}: {}", goroutine.goid, frame_in_source(stack, use.frame), use.doing),
         stack.physical[use.frame].pc, fmt::format("map {:#x}", use.header.value), "core", "map operations on stacks"});
    if (!use.iterator.is_null())
        finding.evidence.push_back({fmt::format("its iterator, over a {}", teller.type_name(use.type)), use.iterator,
                                    fmt::format("map {:#x}", use.header.value), "core", "iterator on the stack"});
    if (std::ranges::find(finding.goroutines, goroutine.goid) == finding.goroutines.end())
        finding.goroutines.push_back(goroutine.goid);
    teller.add_snapshot(finding, stack, use.frame, goroutine.goid);
}

void add_freed_state(const MapTeller& teller, const go::MapFinder& finder, const go::RecognisedMap& map,
                     report::Finding& finding) {
    const go::MapWalk& walk = map.walk;
    finding.evidence.push_back(
        {"the freed memory still reads as a map's header", walk.header, teller.state(walk), "core", "map header"});
    const Placement table = teller.locator().place(walk.buckets);
    finding.evidence.push_back({walk.swiss ? "its directory or group" : "its buckets", walk.buckets,
                                teller.locator().describe(table), "core", "spans"});
    if (map.intact)
        finding.evidence.push_back({fmt::format("all its {} cells are still there, as a {} has them", walk.cells,
                                                type_words(teller, finder, map)),
                                    walk.buckets, "", "core", "map types of the program"});
    teller.add_verify(finding, walk.header, walk.swiss);
}

}  // namespace

void refine_freed_maps(const Process& process, std::vector<report::Finding>& findings) {
    auto freed = [](const report::Finding& f) { return f.kind == "go.pointer.freed"; };
    if (!process.spans || std::ranges::none_of(findings, freed)) return;
    go::MapFinder finder(process.memory, *process.go, *process.spans);
    if (finder.shapes().empty()) return;
    MapTeller teller(process);
    std::vector<FreedUse> uses;
    bool looked = false;
    std::vector<std::pair<Address, std::size_t>> told;  // header, and the finding that tells of it
    std::vector<std::size_t> dropped;
    for (report::Finding& finding : findings) {
        if (!freed(finding)) continue;
        std::optional<go::RecognisedMap> map;
        for (const report::Evidence& evidence : finding.evidence) {
            if (map || !evidence.address || !process.spans->in_arena(*evidence.address)) continue;
            auto object = process.spans->find_object(*evidence.address);
            if (!header_is_freed(process, *evidence.address) || (object && object->base != *evidence.address) ||
                (object && object->size != 48))
                continue;
            map = finder.recognise_freed(*evidence.address);
        }
        if (!map) continue;
        if (!looked) {
            looked = true;
            for (std::size_t g = 0; g < process.stacks.size(); ++g)
                std::ranges::move(freed_uses(process, process.stacks[g], g, true), std::back_inserter(uses));
            if (process.crash && process.crash->goroutine)  // from the fault on, where its own stack shows the handler
                std::ranges::move(freed_uses(process, process.crash->stack, *process.crash->goroutine, true),
                                  std::back_inserter(uses));
        }
        const Address header = map->walk.header;
        std::vector<const FreedUse*> mine;
        for (const FreedUse& use : uses)
            if (use.header == header &&
                std::ranges::none_of(mine, [&](auto* other) { return other->goroutine == use.goroutine; }))
                mine.push_back(&use);
        // The header alone is 48 bytes that fit; without the cells or a frame that uses it, it may be another object.
        if (!map->intact && mine.empty() && finding.subject.type.empty() && finding.subject.symbol.empty()) continue;
        finding.kind = "go.map.freed";
        const std::string holder =
            finding.title.substr(finding.title.find(": ") == std::string::npos ? 0 : finding.title.find(": ") + 2);
        bool sure = false;
        const Address type = !mine.empty() ? mine.front()->type
                             : map->intact ? teller.choose_type(finder, *map, sure)
                                           : Address{};
        finding.title = fmt::format("A map is used after it was freed: {} leads to {}", holder,
                                    type.is_null() ? std::string("it") : fmt::format("a {}", teller.type_name(type)));
        finding.why = fmt::format("the map's header at {:#x} lies in {}, and nothing else keeps it", header.value,
                                  teller.locator().describe(header));
        add_freed_state(teller, finder, *map, finding);
        for (const FreedUse* use : mine) {
            const bool from_crash = process.crash && process.crash->goroutine == use->goroutine &&
                                    use->frame < process.crash->stack.physical.size();
            const go::GoStack& own = process.stacks[use->goroutine];
            const go::GoStack& stack = use->frame < own.physical.size() ? own : process.crash->stack;
            add_use(process, teller, finding, *use, from_crash && &stack != &own ? process.crash->stack : stack);
        }
        if (!mine.empty()) {
            finding.severity = report::Severity::error;
            finding.innocent.clear();  // it is no longer only kept: a frame uses it
            finding.where = fmt::format("goroutine {} uses it; {}",
                                        process.goroutines->all[mine.front()->goroutine].goid, finding.where);
        }
        finding.remedy =
            "keep the map in an ordinary variable for as long as anybody uses it; never keep a map as a uintptr";
        // Several words lead to it: a variable says more than a slot of the frame that uses it.
        const auto index = static_cast<std::size_t>(&finding - findings.data());
        auto on_stack = [&](const report::Finding& f) {
            return f.subject.address && teller.locator().place(*f.subject.address).kind == PlaceKind::go_stack;
        };
        auto earlier = std::ranges::find(told, header, &std::pair<Address, std::size_t>::first);
        if (earlier == told.end()) {
            told.emplace_back(header, index);
        } else if (on_stack(finding)) {
            dropped.push_back(index);
        } else if (on_stack(findings[earlier->second])) {
            dropped.push_back(earlier->second);
            earlier->second = index;
        }
    }
    std::ranges::sort(dropped, std::greater{});
    for (std::size_t index : dropped) findings.erase(findings.begin() + static_cast<std::ptrdiff_t>(index));
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

Detection detect_maps(const Process& process) {
    Detection detection;
    if (process.spans->arenas().empty()) return detection;
    go::MapFinder finder(process.memory, *process.go, *process.spans);
    if (finder.shapes().empty()) {
        detection.reason = "the program's map types could not be read: no map was checked";
        return detection;
    }
    MapTeller teller(process);
    const auto maps = finder.find_all(process.jobs);
    detection.checked = maps.sound + maps.bad.size();
    detection.unchecked = maps.skipped;
    if (maps.skipped != 0)
        detection.reason = fmt::format("{} were being written to when the process stopped", maps.skipped);
    const auto raced = raced_maps(process);
    const bool copying = !maps.bad.empty() && cloning(process);
    std::size_t left = 0;
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
        if (detection.findings.size() < most_findings)
            detection.findings.push_back(tell_corrupt(teller, finder, map));
        else
            ++left;
    }
    if (left != 0) detection.reason = fmt::format("{} more maps contradict themselves", left);

    // Frames that use a map whose header is freed.
    std::vector<Address> told;
    for (std::size_t g = 0; g < process.stacks.size() && told.size() < most_findings; ++g)
        for (auto& use : freed_uses(process, process.stacks[g], g, true)) {
            if (std::ranges::find(told, use.header) != told.end()) continue;
            told.push_back(use.header);
            report::Finding finding;
            finding.kind = "go.map.freed";
            finding.severity = report::Severity::error;
            finding.strength = report::Strength::likely;
            finding.subject = teller.subject(use.header, use.type);
            finding.title = fmt::format("A map is used after it was freed: a {} in {}", teller.type_name(use.type),
                                        frame_in_source(process.stacks[g], use.frame));
            finding.where = fmt::format("{}, goroutine {}", frame_in_source(process.stacks[g], use.frame),
                                        process.goroutines->all[g].goid);
            finding.why = fmt::format("the map's header at {:#x} lies in {}", use.header.value,
                                      teller.locator().describe(use.header));
            add_use(process, teller, finding, use, process.stacks[g]);
            if (auto map = finder.recognise_freed(use.header)) add_freed_state(teller, finder, *map, finding);
            finding.remedy =
                "keep the map in an ordinary variable for as long as anybody uses it; never keep a map as a uintptr";
            detection.findings.push_back(std::move(finding));
        }
    return detection;
}

}  // namespace incident::detect
