// The detectors of Go maps, and what they share in telling of a map.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "detect/detector.h"
#include "go/heap/go_map_find.h"
#include "go/heap/go_map_uses.h"
#include "process/locate.h"

namespace incident::detect {

inline constexpr std::string_view map_race_kinds[] = {"go.map.concurrent-access"};
inline constexpr std::string_view map_kinds[] = {"go.map.corrupt", "go.map.freed"};

Detection detect_map_race(const Process& process);
Detection detect_maps(const Process& process);
/// Findings of freed pointers that lead to what was a map become findings of freed maps.
void refine_freed_maps(const Process& process, std::vector<report::Finding>& findings);

/// The map operation that the process died in, when its map's memory belongs to another object by now: a header is an
/// object of its own, of its own size, so what lies in the middle of another one was freed first.
std::optional<go::MapUse> died_in_reused_map(const Process& process);

class MapTeller;
/// Findings of frames that use a map whose header is freed.
void tell_freed_uses(const Process& process, const MapTeller& teller, const go::MapFinder& finder,
                     Detection& detection);

/// Names, places and checks by hand of one map, the same in every finding.
class MapTeller {
public:
    explicit MapTeller(const Process& process) : process_(process), locator_(*process.locator) {}

    const Locator& locator() const { return locator_; }
    /// The type of a map that was recognised by its structure: what the variable or the heap's types say, else the one
    /// whose keys and values the cells can be. Sets `sure` when it was not guessed.
    Address choose_type(const go::MapFinder& finder, const go::RecognisedMap& map, bool& sure) const;
    std::string type_name(Address rtype) const;  ///< "map[string]*main.entry"; "map" when unknown
    /// The name of choose_type(); "map[string]int or a type like it" when it was guessed.
    std::string type_words(const go::MapFinder& finder, const go::RecognisedMap& map) const;
    /// A word in the program's variables that holds the map; null: none.
    std::optional<Address> variable(Address header) const;
    /// "main.table", "the variable at 0x…", else "the map at 0x…".
    std::string name(Address header) const;
    /// Maps that the variables of a frame name, captured ones and fields behind pointers too: "cache", "s.byID".
    struct LocalMap {
        std::string name, type;
        Address header;
    };
    std::vector<LocalMap> local_maps(const report::FrameSnapshot& frame) const;
    report::Subject subject(Address header, Address rtype) const;
    /// "used 1024, depth 3, writing": what the header says.
    std::string state(const go::MapWalk& walk) const;
    void add_verify(report::Finding& finding, Address header, bool swiss) const;
    void add_verify_bytes(report::Finding& finding, Address at, std::string_view remark) const;

private:
    const Process& process_;
    const Locator& locator_;
};

}  // namespace incident::detect
