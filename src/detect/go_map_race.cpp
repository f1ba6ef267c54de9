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
#include <unordered_map>

#include "detect/go_map.h"
#include "detect/telling.h"

namespace incident::detect {

namespace {

struct Side {
    std::size_t goroutine = 0;  ///< into goroutines->all
    go::GoStack stack;
    std::uint32_t frame = 0;
    std::string doing;  ///< "write", "iteration", "holds the map"
    bool certain = false, writer = false;
    bool direct = true;  ///< false: through an object that holds the map
};

std::string_view runtime_part(std::string_view message) {
    auto at = message.find("concurrent map");
    return at == std::string_view::npos ? std::string_view() : message.substr(at);
}

/// Which functions write to maps anywhere? Each is decoded once, however many goroutines stand in it.
class MapWriters {
public:
    explicit MapWriters(const Process& process) : process_(process) {}
    bool contains(const go::Func& func) {
        const auto [known, fresh] = known_.try_emplace(func.entry.value);
        if (fresh) known->second = writes(func);
        return known->second;
    }

private:
    bool writes(const go::Func& func) const {
        if (!process_.disassembler) return false;
        for (auto& step : process_.disassembler->decode_range(process_.memory, {func.entry, func.end}, 20000)) {
            if (step.flow != Flow::call || !step.target) continue;
            const auto callee = process_.go->find_func(*step.target);
            if (!callee) continue;
            if (auto operation = go::map_operation(callee->name); operation && go::writes(*operation)) return true;
        }
        return false;
    }

    const Process& process_;
    std::unordered_map<std::uint64_t, bool> known_;
};

/// Is one of the words of the object at `at` the map? Of a large one the first are asked.
bool leads_to(const Process& process, Address at, Address header) {
    constexpr std::uint64_t most_words = 64;
    const auto object = process.spans ? process.spans->find_object(at) : std::nullopt;
    if (!object || object->state != go::SlotState::allocated) return false;
    for (std::uint64_t i = 0; i < std::min(object->size / 8, most_words); ++i)
        if (process.memory.load_address(object->base + i * 8) == header) return true;
    return false;
}

/// A goroutine outside any map operation that still holds the map, or what holds it, in a word which its code may read
/// again.
std::optional<Side> holds_map(const Process& process, MapWriters& writers, std::size_t goroutine,
                              const go::GoStack& stack, Address header) {
    for (std::uint32_t f = 0; f < stack.physical.size() && f < 64; ++f) {
        const go::PhysicalFrame& frame = stack.physical[f];
        if (frame.func() == nullptr || frame.owner != go::StackOwner::goroutine || frame.sp.is_null() ||
            frame.cfa.is_null() || frame.cfa.value - frame.sp.value > 16384 || !writers.contains(*frame.func()))
            continue;
        std::optional<go::FrameMaps> maps;
        for (Address at = frame.sp.align_down(8); at < frame.cfa + 64; at += 8) {
            const auto word = process.memory.load_address(at);
            const bool direct = word == header;
            if (!word || (!direct && !leads_to(process, *word, header))) continue;
            if (!maps) maps = go::frame_maps(process.memory, *process.go, frame).value_or(go::FrameMaps{});
            if (maps->classify(at) == go::FrameMaps::Word::not_pointer) continue;
            return Side{
                goroutine,
                stack,
                f,
                fmt::format("{} the map; its function writes to maps", direct ? "holds" : "holds what leads to"),
                false,
                true,
                direct};
        }
    }
    return std::nullopt;
}

/// Goroutines besides the one that died that use the map or hold it, those first that surely use it.
std::vector<Side> other_sides(const Process& process, Address header) {
    constexpr std::size_t most_sides = 32;
    std::vector<Side> sides;
    if (!process.goroutines) return sides;
    MapWriters writers(process);
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
        if (auto side = holds_map(process, writers, g, stack, header)) sides.push_back(std::move(*side));
    }
    std::ranges::stable_sort(sides, [](const Side& a, const Side& b) { return a.certain > b.certain; });
    return sides;
}

class Race {
public:
    Race(const Process& process, std::string_view message)
        : process_(process), crash_(*process.crash), teller_(process), message_(message) {}

    report::Finding tell() {
        finding_.kind = "go.map.concurrent-access";
        finding_.severity = report::Severity::error;
        finding_.strength = report::Strength::proved;
        finding_.evidence.push_back({"the runtime's fatal error", std::nullopt, std::string(message_), "core",
                                     "frame of " + std::string(crash_.runtime_function)});
        add_death();
        finding_.subject = teller_.subject(header_, type_);
        finding_.subject.what = "map";
        if (crash_.goid) finding_.goroutines.push_back(*crash_.goid);
        if (crash_.tid) finding_.threads.push_back(*crash_.tid);
        if (!header_.is_null()) {
            add_header();
            add_sides();
        }
        finding_.title = fmt::format("{}: {}", message_, map_words());
        finding_.where = crash_.goid ? fmt::format("{}, goroutine {}", dying_place_, *crash_.goid) : dying_place_;
        explain();
        finding_.remedy =
            "guard every access to this map with one lock, or use sync.Map; go test -race shows both sides";
        finding_.related.push_back("crash.fatal");
        return std::move(finding_);
    }

private:
    /// The operation that the runtime stopped, and its map.
    void add_death() {
        const auto uses = go::map_uses(process_.memory, *process_.go,
                                       process_.disassembler ? &*process_.disassembler : nullptr, crash_.stack);
        if (uses.empty()) return;
        const go::MapUse& died_in = uses.front();
        header_ = died_in.header;
        type_ = died_in.type;
        dying_writes_ = go::writes(died_in.operation);
        dying_place_ = place_in_source(crash_.stack, died_in.frame);
        const bool drawn = add_frame_snapshot(process_, finding_, crash_.stack, died_in.frame, crash_.goid);
        std::vector<MapTeller::LocalMap> locals;
        if (drawn) locals = teller_.local_maps(finding_.snapshots.back());
        finding_.evidence.push_back({fmt::format("{} called {}", dying_place_, died_in.function),
                                     crash_.stack.physical[died_in.frame].pc,
                                     header_.is_null() ? std::string("the code before the call does not name the map")
                                                       : fmt::format("map {:#x}", header_.value),
                                     "core", died_in.basis.empty() ? "stack" : std::string(died_in.basis)});
        if (header_.is_null()) choose_local(locals);
        const auto named = std::ranges::find(locals, header_, &MapTeller::LocalMap::header);
        if (named != locals.end()) local_name_ = named->name;
    }

    /// Of a map that the code reached through what is no longer there: the frame's variables may lead to one of its
    /// type only.
    void choose_local(std::span<const MapTeller::LocalMap> locals) {
        if (type_.is_null()) return;
        const std::string type = teller_.type_name(type_);
        const MapTeller::LocalMap* only = nullptr;
        for (const MapTeller::LocalMap& local : locals) {
            if (local.type != type) continue;
            if (only != nullptr && only->header != local.header) return;
            only = &local;
        }
        if (only == nullptr) return;
        header_ = only->header;
        finding_.evidence.push_back(
            {fmt::format("the only {} that this frame's variables lead to: {}", type, only->name), header_,
             fmt::format("map {:#x}", header_.value), "core", "variables of the frame"});
        finding_.innocent.push_back("another map of the same type, reached through what no longer stands in the frame");
    }

    /// What it says now.
    void add_header() {
        const auto shape = go::read_map_shape(*process_.go, type_);
        if (!shape) return;
        walk_ = go::MapReader(process_.memory, process_.go->layout(), process_.spans ? &*process_.spans : nullptr)
                    .walk(header_, *shape);
        finding_.evidence.push_back({"the map's header now", header_, teller_.state(*walk_), "core", "map header"});
        teller_.add_verify(finding_, header_, shape->swiss);
    }

    void add_sides() {
        sides_ = other_sides(process_, header_);
        for (const Side& side : sides_) {
            const go::Goroutine& goroutine = process_.goroutines->all[side.goroutine];
            finding_.evidence.push_back({fmt::format("goroutine {}, {}: {}", goroutine.goid,
                                                     place_in_source(side.stack, side.frame), side.doing),
                                         side.stack.physical[side.frame].pc, std::string(to_string(goroutine.status)),
                                         "core", side.certain ? "map operations on stacks" : "live words of stacks"});
            finding_.goroutines.push_back(goroutine.goid);
            add_frame_snapshot(process_, finding_, side.stack, side.frame, goroutine.goid);
        }
    }

    std::string map_words() const {
        if (header_.is_null()) return "a " + (type_.is_null() ? std::string("map") : finding_.subject.type);
        const std::string name = local_name_.empty() || !finding_.subject.symbol.empty()
                                     ? teller_.name(header_)
                                     : fmt::format("the map {} at {:#x}", local_name_, header_.value);
        return type_.is_null() ? name : fmt::format("{}, a {}", name, finding_.subject.type);
    }

    void explain() {
        const bool writer = std::ranges::any_of(sides_, &Side::writer) || (dying_writes_ && !sides_.empty());
        // "No goroutine is in it" needs to have looked at all of them: the command crash does not.
        const bool looked = process_.goroutines && process_.stacks.size() == process_.goroutines->all.size();
        if (!sides_.empty()) {
            const Side& first = sides_.front();
            finding_.why =
                fmt::format("goroutine {} {} the same map, in {}{}", process_.goroutines->all[first.goroutine].goid,
                            first.certain  ? "is in"
                            : first.direct ? "holds"
                                           : "can reach",
                            place_in_source(first.stack, first.frame),
                            sides_.size() == 1 ? std::string() : fmt::format(", and {} more", sides_.size() - 1));
        } else if (walk_ && walk_->writing && !writer && looked) {
            finding_.why = "the map's writing flag is set, but no goroutine is writing to it: the flag is stuck";
            finding_.explanation =
                "No goroutine that the core still shows stands in a write to this map. The flag was left behind: by a "
                "stray write over the header, or by a writer that panicked in the map's key or was ended.";
        } else {
            finding_.why = fmt::format("the runtime found two goroutines in the same map; {}",
                                       !looked             ? "`incident analyze` looks for the other"
                                       : header_.is_null() ? "which map is not known"
                                                           : "the other one has moved on since");
        }
    }

    const Process& process_;
    const CrashContext& crash_;
    const MapTeller teller_;
    const std::string_view message_;
    report::Finding finding_;
    Address header_, type_;  // null: not known
    bool dying_writes_ = false;
    std::string dying_place_ = "an unknown function";
    std::string local_name_;  // what the code there calls the map
    std::optional<go::MapWalk> walk_;
    std::vector<Side> sides_;
};

}  // namespace

Detection detect_map_race(const Process& process) {
    Detection detection;
    detection.checked = 1;
    const CrashContext& crash = *process.crash;
    if (crash.kind != report::CrashKind::go_fatal || !crash.message) return detection;
    if (const std::string_view message = runtime_part(*crash.message); !message.empty())
        detection.findings.push_back(Race(process, message).tell());
    return detection;
}

}  // namespace incident::detect
