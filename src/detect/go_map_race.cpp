// go.map.concurrent-access: the runtime's own word: "concurrent map writes", "concurrent map read and map write",
// "concurrent map iteration and map write".
//
// Proof: the fatal error, and the map that its frame was called with: the code before the call names type and map, in
// stripped binaries too. The other sides are goroutines that stand in a map operation on the same map, and those whose
// live words hold it in a function that writes to maps. Innocent look-alikes: none, the runtime said so; but the map's
// flags are often clean by the time of the core, and a writing flag with no writer is a stuck flag: a stray write, or
// a writer that is gone.
#include <fmt/format.h>

#include <algorithm>

#include "detect/go_map.h"
#include "detect/telling.h"

namespace incident::detect {

namespace {

struct Side {
    std::size_t goroutine = 0;  ///< into goroutines->all
    go::GoStack stack;
    std::uint32_t frame = 0;
    std::string doing;  ///< "write", "iteration", "holds the map"
    bool certain = false;
    bool writer = false;
};

std::string_view runtime_part(std::string_view message) {
    auto at = message.find("concurrent map");
    return at == std::string_view::npos ? std::string_view() : message.substr(at);
}

/// Does this function write to maps anywhere?
bool writes_maps(const Process& process, const go::Func& func) {
    if (!process.disassembler) return false;
    for (auto& step : process.disassembler->decode_range(process.memory, {func.entry, func.end}, 20000)) {
        if (step.flow != Flow::call || !step.target) continue;
        auto callee = process.go->find_func(*step.target);
        if (!callee) continue;
        if (auto operation = go::map_operation(callee->name); operation && go::writes(*operation)) return true;
    }
    return false;
}

/// A goroutine outside any map operation that still holds the map in a word which its code may read again.
std::optional<Side> holds_map(const Process& process, std::size_t goroutine, const go::GoStack& stack, Address header) {
    for (std::uint32_t f = 0; f < stack.physical.size() && f < 64; ++f) {
        const go::PhysicalFrame& frame = stack.physical[f];
        if (frame.func() == nullptr || frame.owner != go::StackOwner::goroutine || frame.sp.is_null() ||
            frame.cfa.is_null() || frame.cfa.value - frame.sp.value > 16384)
            continue;
        std::optional<go::FrameMaps> maps;
        for (Address at = frame.sp.align_down(8); at < frame.cfa + 64; at += 8) {
            auto word = process.memory.load_address(at);
            if (!word || *word != header) continue;
            if (!maps) maps = go::frame_maps(process.memory, *process.go, frame).value_or(go::FrameMaps{});
            auto what = maps->classify(at);
            if (what == go::FrameMaps::Word::not_pointer) continue;
            if (!writes_maps(process, *frame.func())) continue;
            return Side{goroutine, stack, f, "holds the map; its function writes to maps", false, true};
        }
    }
    return std::nullopt;
}

/// Goroutines besides the one that died that use the map or hold it, those first that surely use it.
std::vector<Side> other_sides(const Process& process, Address header) {
    constexpr std::size_t most_sides = 32;
    std::vector<Side> sides;
    if (!process.goroutines) return sides;
    const CrashContext& crash = *process.crash;
    const Disassembler* disassembler = process.disassembler ? &*process.disassembler : nullptr;
    for (std::size_t g = 0; g < process.stacks.size() && sides.size() < most_sides; ++g) {
        const go::Goroutine& goroutine = process.goroutines->all[g];
        if (crash.goroutine == g || goroutine.goid == crash.goid.value_or(-1) || goroutine.system) continue;
        const go::GoStack stack = process.stacks.load(g);
        const auto uses = go::map_uses(process.memory, *process.go, disassembler, stack);
        if (const auto use = std::ranges::find(uses, header, &go::MapUse::header); use != uses.end()) {
            sides.push_back({g, stack, use->frame,
                             fmt::format("{} in {}", go::to_string(use->operation), use->function), true,
                             go::writes(use->operation)});
            continue;
        }
        // Who only holds the map may be the other side as long as it can run.
        if (goroutine.status != go::Status::running && goroutine.status != go::Status::runnable) continue;
        if (auto side = holds_map(process, g, stack, header)) sides.push_back(std::move(*side));
    }
    std::ranges::stable_sort(sides, [](const Side& a, const Side& b) { return a.certain > b.certain; });
    return sides;
}

}  // namespace

Detection detect_map_race(const Process& process) {
    Detection detection;
    const CrashContext& crash = *process.crash;
    detection.checked = 1;
    if (crash.kind != report::CrashKind::go_fatal || !crash.message) return detection;
    const std::string_view message = runtime_part(*crash.message);
    if (message.empty()) return detection;
    MapTeller teller(process);
    auto uses =
        go::map_uses(process.memory, *process.go, process.disassembler ? &*process.disassembler : nullptr, crash.stack);
    const go::MapUse* died_in = uses.empty() ? nullptr : &uses.front();

    report::Finding finding;
    finding.kind = "go.map.concurrent-access";
    finding.severity = report::Severity::error;
    finding.strength = report::Strength::proved;
    const Address header = died_in != nullptr ? died_in->header : Address{};
    const Address type = died_in != nullptr ? died_in->type : Address{};
    finding.subject = teller.subject(header, type);
    finding.subject.what = "map";
    finding.evidence.push_back({"the runtime's fatal error", std::nullopt, std::string(message), "core",
                                "frame of " + std::string(crash.runtime_function)});

    std::string dying_place = "an unknown function";
    if (died_in != nullptr) {
        dying_place = place_in_source(crash.stack, died_in->frame);
        finding.evidence.push_back(
            {fmt::format("{} called {}", dying_place, died_in->function), crash.stack.physical[died_in->frame].pc,
             header.is_null() ? std::string("which map is not known") : fmt::format("map {:#x}", header.value), "core",
             died_in->basis.empty() ? "stack" : std::string(died_in->basis)});
        add_frame_snapshot(process, finding, crash.stack, died_in->frame, crash.goid);
    }
    if (crash.goid) finding.goroutines.push_back(*crash.goid);
    if (crash.tid) finding.threads.push_back(*crash.tid);

    // What the map's header says now.
    std::optional<go::MapWalk> walk;
    if (!header.is_null()) {
        if (auto shape = go::read_map_shape(*process.go, type)) {
            walk = go::MapReader(process.memory, process.go->layout(), process.spans ? &*process.spans : nullptr)
                       .walk(header, *shape);
            finding.evidence.push_back({"the map's header now", header, teller.state(*walk), "core", "map header"});
            teller.add_verify(finding, header, shape->swiss);
        }
    }

    const std::vector<Side> sides = header.is_null() ? std::vector<Side>() : other_sides(process, header);
    for (const Side& side : sides) {
        const std::int64_t goid = process.goroutines->all[side.goroutine].goid;
        finding.evidence.push_back(
            {fmt::format("goroutine {}, {}: {}", goid, place_in_source(side.stack, side.frame), side.doing),
             side.stack.physical[side.frame].pc, std::string(to_string(process.goroutines->all[side.goroutine].status)),
             "core", side.certain ? "map operations on stacks" : "live words of stacks"});
        finding.goroutines.push_back(goid);
        add_frame_snapshot(process, finding, side.stack, side.frame, goid);
    }
    const bool writer = std::ranges::any_of(sides, &Side::writer) ||
                        (died_in != nullptr && go::writes(died_in->operation) && !sides.empty());
    const std::string type_name = type.is_null() ? "map" : finding.subject.type;
    const std::string what = header.is_null() ? "a " + type_name
                             : type.is_null() ? teller.name(header)
                                              : fmt::format("{}, a {}", teller.name(header), type_name);
    // "No goroutine is in it" needs to have looked at all of them: the command crash does not.
    const bool looked = process.goroutines && process.stacks.size() == process.goroutines->all.size();
    finding.title = fmt::format("{}: {}", message, what);
    finding.where = crash.goid ? fmt::format("{}, goroutine {}", dying_place, *crash.goid) : dying_place;
    if (sides.empty() && walk && walk->writing && !writer && looked) {
        finding.why = "the map's writing flag is set, but no goroutine is writing to it: the flag is stuck";
        finding.explanation =
            "No goroutine that the core still shows stands in a write to this map. The flag was left behind: by a "
            "stray "
            "write over the header, or by a writer that panicked in the map's key or was ended.";
    } else if (sides.empty()) {
        finding.why =
            !looked ? "the runtime found two goroutines in the same map; `incident analyze` looks for the other"
            : header.is_null() ? "the runtime found two goroutines in the same map; which map is not known"
                               : "the runtime found two goroutines in the same map; the other one has moved on since";
    } else {
        const Side& first = sides.front();
        finding.why = fmt::format("goroutine {} {} in {}{}", process.goroutines->all[first.goroutine].goid,
                                  first.certain ? "is in the same map," : "holds the same map,",
                                  place_in_source(first.stack, first.frame),
                                  sides.size() == 1 ? std::string() : fmt::format(", and {} more", sides.size() - 1));
    }
    finding.remedy = "guard every access to this map with one lock, or use sync.Map; go test -race shows both sides";
    finding.related.push_back("crash.fatal");
    detection.findings.push_back(std::move(finding));
    return detection;
}

}  // namespace incident::detect
