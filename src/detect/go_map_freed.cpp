// go.map.freed: a map, or the map of an iterator, in freed memory.
//
// Proof: the header lies in a free slot or page, and its bytes still read as a map's, or a frame uses it as one; or the
// process died in an operation on a map whose header lies inside another object: a header is an object of its own and
// of its own size, so that memory was freed and given away. Innocent look-alikes: a uintptr that is kept for comparison
// only (a warning at most, as long as no frame uses the map); an object of the same size in the freed slot (not
// believed without cells or a frame); a reflect.Value, which is laid out like an iterator's first words and may lead
// into an object (only frames that died in the operation are asked about memory that was used again).
#include <fmt/format.h>

#include <algorithm>

#include "base/parallel.h"
#include "detect/go_map.h"
#include "detect/telling.h"

namespace incident::detect {

namespace {

constexpr std::size_t most_findings = 16;

constexpr std::string_view keep_it =
    "keep the map in an ordinary variable for as long as anybody uses it; never keep a map as a uintptr";

/// How a goroutine uses a map whose header is freed.
struct FreedUse {
    std::size_t goroutine = 0;
    go::GoStack stack;
    std::uint32_t frame = 0;
    Address header, type, iterator;
    std::string doing;
};

bool header_is_freed(const Process& process, Address header) {
    if (!process.spans->in_arena(header)) return false;
    if (auto object = process.spans->find_object(header)) return object->state == go::SlotState::free;
    return process.spans->is_free_page(header);
}

FreedUse use_of(const go::MapUse& use, const go::GoStack& stack, std::size_t goroutine) {
    return {goroutine,
            stack,
            use.frame,
            use.header,
            use.type,
            use.iterator,
            fmt::format("{} in {}", go::to_string(use.operation), use.function)};
}

std::vector<go::MapUse> uses_on(const Process& process, const go::GoStack& stack) {
    return go::map_uses(process.memory, *process.go, process.disassembler ? &*process.disassembler : nullptr, stack);
}

void find_uses(const Process& process, const go::GoStack& stack, std::size_t goroutine, std::vector<FreedUse>& found) {
    const std::size_t first = found.size();
    for (auto& use : uses_on(process, stack))
        if (!use.header.is_null() && header_is_freed(process, use.header))
            found.push_back(use_of(use, stack, goroutine));
    for (auto& it : go::map_iterators(process.memory, *process.go, stack)) {
        if (!it.live || !header_is_freed(process, it.header)) continue;
        auto same = [&](const FreedUse& use) { return use.frame == it.frame && use.header == it.header; };
        if (auto use = std::find_if(found.begin() + static_cast<std::ptrdiff_t>(first), found.end(), same);
            use != found.end())
            use->iterator = it.at;
        else
            found.push_back({goroutine, stack, it.frame, it.header, it.type, it.at, "range over it, not finished"});
    }
}

/// The use that the process died in, when its map's memory is another object's by now.
std::optional<FreedUse> fatal_use(const Process& process) {
    auto use = died_in_reused_map(process);
    if (!use || !process.crash->goroutine) return std::nullopt;
    return use_of(*use, process.crash->stack, *process.crash->goroutine);
}

/// Does a map operation or an iterator stand on this stack? Few of 10^5 have one. [any thread]
bool is_about_maps(const Process& process, const go::GoStack& stack) {
    return std::ranges::any_of(stack.physical,
                               [](auto& frame) { return go::map_operation(frame.name()).has_value(); }) ||
           !go::map_iterators(process.memory, *process.go, stack).empty();
}

/// Every frame that uses a freed map; the one that the process died in as it stood at the fault.
std::vector<FreedUse> all_uses(const Process& process) {
    std::vector<char> looked_into(process.stacks.size());
    parallel_chunks(process.jobs, looked_into.size(), 512, [&](std::size_t begin, std::size_t end, unsigned) {
        for (std::size_t g = begin; g < end; ++g)
            looked_into[g] = is_about_maps(process, process.stacks.load_physical(g));
    });
    std::vector<FreedUse> uses;
    for (std::size_t g = 0; g < looked_into.size(); ++g) {
        if (!looked_into[g]) continue;
        std::vector<FreedUse> here;
        find_uses(process, process.stacks.load_physical(g), g, here);
        if (!here.empty()) find_uses(process, process.stacks.load(g), g, uses);
    }
    if (process.crash && process.crash->goroutine)
        find_uses(process, process.crash->stack, *process.crash->goroutine, uses);
    if (auto use = fatal_use(process)) uses.push_back(*use);
    return uses;
}

void add_use(const Process& process, const MapTeller& teller, report::Finding& finding, const FreedUse& use) {
    const go::Goroutine& goroutine = process.goroutines->all[use.goroutine];
    finding.evidence.push_back(
        {fmt::format("goroutine {}, {}: {}", goroutine.goid, place_in_source(use.stack, use.frame), use.doing),
         use.stack.physical[use.frame].pc, fmt::format("map {:#x}", use.header.value), "core",
         "map operations on stacks"});
    if (!use.iterator.is_null())
        finding.evidence.push_back({fmt::format("its iterator, over a {}", teller.type_name(use.type)), use.iterator,
                                    fmt::format("map {:#x}", use.header.value), "core", "iterator on the stack"});
    if (std::ranges::find(finding.goroutines, goroutine.goid) == finding.goroutines.end())
        finding.goroutines.push_back(goroutine.goid);
    add_frame_snapshot(process, finding, use.stack, use.frame, goroutine.goid);
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
                                                teller.type_words(finder, map)),
                                    walk.buckets, "", "core", "map types of the program"});
    teller.add_verify(finding, walk.header, walk.swiss);
}

/// A frame uses a freed map, and no word that led it there is known.
report::Finding tell_use(const Process& process, const MapTeller& teller, const go::MapFinder& finder,
                         const FreedUse& use) {
    const std::string place = place_in_source(use.stack, use.frame);
    report::Finding finding;
    finding.kind = "go.map.freed";
    finding.severity = report::Severity::error;
    finding.strength = report::Strength::likely;
    finding.subject = teller.subject(use.header, use.type);
    finding.title = fmt::format("A map is used after it was freed: a {} in {}", teller.type_name(use.type), place);
    finding.where = fmt::format("{}, goroutine {}", place, process.goroutines->all[use.goroutine].goid);
    finding.why =
        fmt::format("the map's header at {:#x} lies in {}", use.header.value, teller.locator().describe(use.header));
    add_use(process, teller, finding, use);
    if (auto map = finder.recognise_freed(use.header)) add_freed_state(teller, finder, *map, finding);
    finding.remedy = keep_it;
    return finding;
}

/// The freed map that a finding of a freed pointer leads to; null: it is none.
struct LedTo {
    Address header;
    std::optional<go::RecognisedMap> map;  ///< where its bytes still read as one
    std::vector<const FreedUse*> uses;     ///< one for each goroutine
};

std::optional<LedTo> led_to(const Process& process, const go::MapFinder& finder, const std::vector<FreedUse>& uses,
                            const report::Finding& finding) {
    for (const report::Evidence& evidence : finding.evidence) {
        if (!evidence.address || !process.spans->in_arena(*evidence.address)) continue;
        LedTo found{*evidence.address, std::nullopt, {}};
        for (const FreedUse& use : uses)
            if (use.header == found.header &&
                std::ranges::none_of(found.uses, [&](auto* other) { return other->goroutine == use.goroutine; }))
                found.uses.push_back(&use);
        auto object = process.spans->find_object(found.header);
        const bool whole =
            !object || (object->base == found.header && object->size == go::map_header_slot(process.go->layout()));
        if (whole && header_is_freed(process, found.header)) found.map = finder.recognise_freed(found.header);
        // The header alone is a few words that fit; without the cells or a frame that uses it, it may be another
        // object.
        const bool named = !finding.subject.type.empty() || !finding.subject.symbol.empty();
        if (!found.uses.empty() || (found.map && (found.map->intact || named))) return found;
    }
    return std::nullopt;
}

void become_map(const Process& process, const MapTeller& teller, const go::MapFinder& finder, const LedTo& freed,
                report::Finding& finding) {
    finding.kind = "go.map.freed";
    finding.mark.fault.clear();  // whether its slot is free, or whose it is by now, is chance
    const std::size_t colon = finding.title.find(": ");
    const std::string holder = finding.title.substr(colon == std::string::npos ? 0 : colon + 2);
    bool sure = false;
    const Address type = !freed.uses.empty()              ? freed.uses.front()->type
                         : freed.map && freed.map->intact ? teller.choose_type(finder, *freed.map, sure)
                                                          : Address{};
    finding.title = fmt::format("A map is used after it was freed: {} leads to {}", holder,
                                type.is_null() ? std::string("it") : fmt::format("a {}", teller.type_name(type)));
    const bool reused = process.spans->find_object(freed.header).has_value() && !header_is_freed(process, freed.header);
    finding.why = fmt::format("the map's header at {:#x} lies in {}, {}", freed.header.value,
                              teller.locator().describe(freed.header),
                              reused ? "which has its memory now" : "and nothing else keeps it");
    if (freed.map) add_freed_state(teller, finder, *freed.map, finding);
    for (const FreedUse* use : freed.uses) add_use(process, teller, finding, *use);
    if (!freed.uses.empty()) {
        finding.severity = report::Severity::error;
        finding.strength = report::Strength::likely;
        finding.innocent.clear();  // it is no longer only kept: a frame uses it
        finding.where = fmt::format("goroutine {} uses it; {}",
                                    process.goroutines->all[freed.uses.front()->goroutine].goid, finding.where);
    }
    finding.remedy = keep_it;
}

/// go1.16–1.27 src/runtime/asm_amd64.s, src/internal/bytealg: memory is hashed and compared by functions of no package.
bool is_body_of_assembly(std::string_view name) {
    return name == "aeshashbody" || name == "memeqbody" || name == "cmpbody";
}

}  // namespace

std::optional<go::MapUse> died_in_reused_map(const Process& process) {
    if (!process.crash || !process.spans || !process.go || process.crash->kind == report::CrashKind::requested)
        return std::nullopt;
    const go::GoStack& stack = process.crash->stack;
    auto uses = uses_on(process, stack);
    if (uses.empty() || !process.spans->in_arena(uses.front().header)) return std::nullopt;
    const go::MapUse& use = uses.front();
    // Nothing but the runtime between the fault and the operation: no key's hash, no deferred function.
    for (std::uint32_t f = 0; f < use.frame; ++f)
        if (const std::string_view name = stack.physical[f].name();
            !name.starts_with("runtime.") && !name.starts_with("internal/runtime/") && !is_body_of_assembly(name))
            return std::nullopt;
    auto object = process.spans->find_object(use.header);
    if (!object || object->state != go::SlotState::allocated) return std::nullopt;
    if (object->base == use.header && object->size == go::map_header_slot(process.go->layout()) &&
        !object->span->noscan())
        return std::nullopt;
    return use;
}

void refine_freed_maps(const Process& process, std::vector<report::Finding>& findings) {
    auto freed = [](const report::Finding& f) { return f.kind == "go.pointer.freed"; };
    if (!process.spans || std::ranges::none_of(findings, freed)) return;
    go::MapFinder finder(process.memory, *process.go, *process.spans);
    if (finder.shapes().empty()) return;
    MapTeller teller(process);
    const std::vector<FreedUse> uses = all_uses(process);
    // Several words lead to one map: a variable says more than a slot of the frame that uses it.
    auto on_stack = [&](const report::Finding& f) {
        return f.subject.address && teller.locator().place(*f.subject.address).kind == PlaceKind::go_stack;
    };
    std::vector<std::pair<Address, std::size_t>> told;  // header, and the finding that tells of it
    std::vector<std::size_t> dropped;
    for (std::size_t i = 0; i < findings.size(); ++i) {
        if (!freed(findings[i])) continue;
        auto map = led_to(process, finder, uses, findings[i]);
        if (!map) continue;
        become_map(process, teller, finder, *map, findings[i]);
        auto earlier = std::ranges::find(told, map->header, &std::pair<Address, std::size_t>::first);
        if (earlier == told.end()) {
            told.emplace_back(map->header, i);
        } else if (on_stack(findings[i])) {
            dropped.push_back(i);
        } else if (on_stack(findings[earlier->second])) {
            dropped.push_back(earlier->second);
            earlier->second = i;
        }
    }
    std::ranges::sort(dropped, std::greater{});
    for (std::size_t index : dropped) findings.erase(findings.begin() + static_cast<std::ptrdiff_t>(index));
}

void tell_freed_uses(const Process& process, const MapTeller& teller, const go::MapFinder& finder,
                     Detection& detection) {
    std::vector<Address> told;
    for (const FreedUse& use : all_uses(process)) {
        if (told.size() >= most_findings) break;
        if (std::ranges::find(told, use.header) != told.end()) continue;
        told.push_back(use.header);
        detection.findings.push_back(tell_use(process, teller, finder, use));
    }
}

}  // namespace incident::detect
