// Finding maps without being told: in stripped binaries nothing says "this variable is a map", but a map is recognised
// by its own structure. A header is believed to be one only when several independent facts fit: size class, hash seed,
// depth against the size of the array behind it, and a table whose cells read as cells of a map type that this program
// has. Only then does one fact that does *not* fit mean a corrupt map and not another object.
#pragma once

#include <functional>
#include <optional>
#include <vector>

#include "go/heap/go_map.h"

namespace incident::go {

/// A map that was recognised, sound or not.
struct RecognisedMap {
    MapWalk walk;
    std::uint32_t shape = 0;  ///< into MapFinder::shapes(); one of those that fit
    bool freed = false;       ///< the header's slot or page is free
    bool intact = false;      ///< of a freed map: its table still reads as it should
    bool typed = false;       ///< the heap's types name it a map: a few cells are enough to believe it
};

/// The map that the heap's types say this object is the header of; null: none, or types that differ in memory.
using TypedHeader = std::function<const MapShape*(Address header)>;

struct MapsInHeap {
    std::vector<RecognisedMap> bad;  ///< recognised, and contradicting themselves; by address
    std::uint64_t sound = 0;         ///< recognised
    std::uint64_t cells = 0;         ///< in those
    std::uint64_t skipped = 0;       ///< being written to when the process stopped
};

class MapFinder {
public:
    MapFinder(const Memory& memory, const Runtime& runtime, const Spans& spans);

    const std::vector<MapShape>& shapes() const { return shapes_; }
    const MapShape* shape_of(Address rtype) const;  ///< null: no map type [any thread]
    const MapReader& reader() const { return reader_; }

    /// Is the object at `header` a map? nullopt: it does not look like one, or too small to be sure. [any thread]
    std::optional<RecognisedMap> recognise(Address header, bool typed = false) const;
    /// Was the freed memory at `header` a map? [any thread]
    std::optional<RecognisedMap> recognise_freed(Address header) const;
    /// A header that a type names. nullopt: neither sound, nor so near to a map of this shape, or of any, that the
    /// fault is the map's and not the type's. [any thread]
    std::optional<RecognisedMap> check_typed(Address header, const MapShape& shape) const;
    /// Every allocated object that can be a map header, in parallel; `typed` may be empty.
    MapsInHeap find_all(unsigned jobs, const TypedHeader& typed = {}) const;

private:
    std::optional<RecognisedMap> recognise_classic(Address header, bool typed) const;
    std::optional<RecognisedMap> recognise_swiss(Address header, bool typed) const;
    /// All that the header says but where its table lies: B or depth, lengths and count agree with each other.
    bool agrees_but_for_table(Address header) const;
    bool plausible_header(Address header) const;
    bool array_fits(Address at, std::uint64_t bytes, const MapShape& shape) const;

    const Memory& memory_;
    const RuntimeLayout& layout_;
    const Spans& spans_;
    std::vector<MapShape> shapes_;      // by rtype
    std::vector<std::uint32_t> forms_;  // one shape for each different memory form
    MapReader reader_;
};

}  // namespace incident::go
