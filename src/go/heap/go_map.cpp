// Walking one map and checking what the runtime keeps true of it. Rules and layouts: go1.23 src/runtime/map.go
// (classic), go1.24 … go1.27 src/internal/runtime/maps/{map,table,group}.go (Swiss; checkInvariants there).
//
// Surprising, classic: `emptyRest` promises that nothing follows in the whole chain; evacuated marks may stand only in
// old buckets; the last preallocated overflow bucket points back at the array while it is unused, and then in no chain.
// Surprising, Swiss: one table stands several times in the directory, its index is that of the first.
#include "go/heap/go_map.h"

#include <bit>
#include <cstring>

namespace incident::go {

namespace {

constexpr std::uint64_t empty_control = 0x8080808080808080;
constexpr std::uint8_t empty_rest = 0, empty_one = 1, evacuated_empty = 4, min_top_hash = 5;
constexpr std::uint8_t flag_iterator = 1, flag_writing = 4, all_flags = 15;
constexpr std::uint64_t max_table_capacity = 1024;  // go1.24 src/internal/runtime/maps/table.go
constexpr std::uint8_t deepest = 32;                // log2 of buckets or directory entries: more fits no machine

void note(MapWalk& walk, MapFault fault, Address at, std::uint64_t value, std::uint64_t expected,
          std::string_view what) {
    if (walk.found < walk.contradictions.size()) walk.contradictions[walk.found] = {fault, at, value, expected, what};
    ++walk.found;
}

/// Where the buckets or groups lie; false: they cannot be read, and why is noted.
bool table_memory(MapWalk& walk, const Memory& memory, const Spans* spans, Address field, Address at,
                  std::uint64_t bytes, std::string_view unmapped, std::string_view freed, std::string_view wrong) {
    switch (check_table_memory(memory, spans, at, bytes)) {
        case TableMemory::good: return true;
        case TableMemory::unmapped: note(walk, MapFault::unmapped, field, at.value, 0, unmapped); return false;
        case TableMemory::free: note(walk, MapFault::freed_table, field, at.value, 0, freed); return true;
        case TableMemory::wrong: note(walk, MapFault::wrong_memory, field, at.value, 0, wrong); return false;
        case TableMemory::unknown: return true;
    }
    return false;
}

}  // namespace

std::string_view to_string(MapFault fault) {
    switch (fault) {
        case MapFault::none: return "none";
        case MapFault::freed_header: return "its header is freed";
        case MapFault::unmapped: return "its table is not in memory";
        case MapFault::freed_table: return "its table is freed";
        case MapFault::wrong_memory: return "its table is another object";
        case MapFault::flags: return "impossible flags";
        case MapFault::size: return "sizes that contradict each other";
        case MapFault::table: return "a table that contradicts itself";
        case MapFault::control: return "impossible control bytes";
        case MapFault::count: return "a count that is not the number of its cells";
    }
    return "unknown";
}

TableMemory check_table_memory(const Memory& memory, const Spans* spans, Address at, std::uint64_t bytes) {
    if (spans != nullptr && spans->in_arena(at)) {
        const Span* span = spans->find(at);
        if (span == nullptr) return spans->complete() ? TableMemory::free : TableMemory::unknown;
        if (span->state == SpanState::manual) return TableMemory::unknown;  // of a map on a stack
        auto object = spans->find_object(at);
        if (!object) return TableMemory::wrong;
        if (object->state == SlotState::free) return TableMemory::free;
        // Since 1.22 a malloc header may stand before it.
        std::uint64_t offset = at.value - object->base.value;
        if (offset != 0 && !(offset == 8 && span->pointers == PointerInfo::header)) return TableMemory::wrong;
        return object->size - offset >= bytes ? TableMemory::good : TableMemory::wrong;
    }
    if (memory.data_at(at, 1) != nullptr) return TableMemory::unknown;  // a stack of C, static data, mmap
    return memory.is_mapped(at) ? TableMemory::unknown : TableMemory::unmapped;
}

// ---- classic ----

struct MapReader::Classic {
    const MapReader& reader;
    const MapShape& shape;
    MapWalk& walk;
    const MapCell* cell;
    std::uint64_t limit;
    MemoryCursor cursor;
    std::uint64_t full = 0;

    /// One bucket and its overflow chain; false: something could not be read.
    bool chain(Address bucket, bool old) {
        bool rest = false, evacuated = false, told = false;
        std::uint32_t links = 0;
        for (Address at = bucket; !at.is_null();) {
            if (walk.units++ >= limit || links++ > 4096) {
                if (links > 4096)
                    note(walk, MapFault::control, at, links, 0, "a chain of overflow buckets without end");
                return false;
            }
            const std::byte* bytes = cursor.data_at(at, shape.unit);
            if (bytes == nullptr) return false;
            std::uint64_t tops;
            std::memcpy(&tops, bytes, 8);
            std::uint64_t before = full;
            if (old && at == bucket) {
                auto first = static_cast<std::uint8_t>(tops);
                evacuated = first > empty_one && first < min_top_hash;
            }
            if (tops != 0) {
                for (unsigned i = 0; i < 8; ++i) {
                    auto top = static_cast<std::uint8_t>(tops >> (8 * i));
                    if (evacuated) {
                        if ((top < 2 || top > evacuated_empty) && !told) {
                            told = true;
                            note(walk, MapFault::control, at + i, top, 0,
                                 "a cell of an evacuated bucket that was not moved");
                        }
                        continue;
                    }
                    if (rest && top != empty_rest && !told) {
                        told = true;
                        note(walk, MapFault::control, at + i, top, 0,
                             "a cell in use behind one that says \"nothing follows\"");
                    }
                    if (top == empty_rest) {
                        rest = true;
                    } else if (top > empty_one && top < min_top_hash) {
                        if (!told)
                            note(walk, MapFault::control, at + i, top, 0,
                                 "a cell marked as moved in a bucket that is not");
                        told = true;
                    } else if (top >= min_top_hash) {
                        ++full;
                        if (cell != nullptr) (*cell)(shape.key_at(at, i), shape.elem_at(at, i));
                    }
                }
            } else {
                rest = true;
            }
            if (full != before) ++walk.used_units;
            std::uint64_t next;
            std::memcpy(&next, bytes + shape.unit - 8, 8);
            if (next == 0 || evacuated) break;
            if (Address{next} == walk.buckets && reader.spans_ != nullptr) {
                note(walk, MapFault::control, at + shape.unit - 8, next, 0,
                     "an overflow bucket that is the first bucket");
                return false;
            }
            if (cursor.data_at(Address{next}, shape.unit) == nullptr) {
                note(walk, MapFault::unmapped, at + shape.unit - 8, next, 0,
                     "an overflow bucket that is not in memory");
                return false;
            }
            at = Address{next};
        }
        return true;
    }

    bool array(Address begin, std::uint64_t count, bool old) {
        bool all = true;
        for (std::uint64_t i = 0; i < count && walk.found < 64; ++i) {
            if (walk.units >= limit) return false;
            if (!chain(begin + i * shape.unit, old)) all = false;
        }
        return all;
    }
};

MapWalk MapReader::walk_classic(Address header, const MapShape& shape, std::optional<std::uint8_t> log2_buckets,
                                const MapCell* cell, std::uint64_t limit) const {
    MapWalk walk;
    walk.header = header;
    const auto& f = layout_.hmap;
    MemoryCursor cursor(memory_);
    std::int64_t signed_count = 0;
    std::uint64_t nevacuate = 0;
    Address buckets, old;
    auto get = [&](auto field, auto& value) {
        return field.present() && cursor.load(header + static_cast<std::uint64_t>(field.offset), value);
    };
    if (!get(f.count, signed_count) || !get(f.flags, walk.flags) || !get(f.B, walk.depth) || !get(f.buckets, buckets) ||
        !get(f.oldbuckets, old) || !get(f.nevacuate, nevacuate))
        return walk;
    const auto count = static_cast<std::uint64_t>(signed_count);
    walk.count = count;
    walk.buckets = buckets;
    walk.writing = (walk.flags & flag_writing) != 0;
    walk.iterating = (walk.flags & 3) != 0;
    walk.growing = !old.is_null();
    if ((walk.flags & ~all_flags) != 0)
        note(walk, MapFault::flags, header + static_cast<std::uint64_t>(f.flags.offset), walk.flags, 0,
             "flags that no runtime sets");
    const std::uint8_t depth = log2_buckets.value_or(walk.depth);
    if (depth > deepest) {
        note(walk, MapFault::size, header + static_cast<std::uint64_t>(f.B.offset), depth, 0,
             "B says more buckets than fit in memory");
        return walk;
    }
    if (buckets.is_null()) {
        walk.complete = true;
        if (count != 0) note(walk, MapFault::count, header, count, 0, "a count, but no buckets");
        return walk;
    }
    const std::uint64_t wanted = std::uint64_t{1} << depth;
    walk.array = {buckets, buckets + wanted * shape.unit};
    if (!table_memory(walk, memory_, spans_, header + static_cast<std::uint64_t>(f.buckets.offset), buckets,
                      wanted * shape.unit, "buckets that are not in memory", "buckets in freed memory",
                      "buckets that are not an object of this many buckets"))
        return walk;
    Classic classic{*this, shape, walk, cell, limit, cursor};
    bool all = classic.array(buckets, wanted, false);
    if (walk.growing) {
        const bool same = (walk.flags & 8) != 0;
        const std::uint64_t old_count = same || depth == 0 ? wanted : wanted / 2;
        if (nevacuate > old_count)
            note(walk, MapFault::size, header + static_cast<std::uint64_t>(f.nevacuate.offset), nevacuate, old_count,
                 "more old buckets moved than there are");
        if (table_memory(walk, memory_, spans_, header + static_cast<std::uint64_t>(f.oldbuckets.offset), old,
                         old_count * shape.unit, "old buckets that are not in memory", "old buckets in freed memory",
                         "old buckets that are not an object of this many buckets"))
            all = classic.array(old, old_count, true) && all;
        else
            all = false;
    }
    walk.cells = classic.full;
    walk.complete = all;
    if (all && walk.cells != count)
        note(walk, MapFault::count, header + static_cast<std::uint64_t>(f.count.offset), count, walk.cells,
             "a count that is not the number of full cells");
    return walk;
}

// ---- Swiss ----

struct MapReader::Swiss {
    const MapReader& reader;
    const MapShape& shape;
    MapWalk& walk;
    const MapCell* cell;
    std::uint64_t limit;
    MemoryCursor cursor;

    struct Counts {
        std::uint64_t full = 0, deleted = 0;
    };
    bool group(Address at, bool small, Counts& counts) {
        if (walk.units++ >= limit) return false;
        const std::byte* bytes = cursor.data_at(at, shape.unit);
        if (bytes == nullptr) return false;
        std::uint64_t control;
        std::memcpy(&control, bytes, 8);
        if (control == empty_control) return true;
        bool used = false;
        for (unsigned i = 0; i < 8; ++i) {
            auto byte = static_cast<std::uint8_t>(control >> (8 * i));
            if (byte < 0x80) {
                ++counts.full;
                used = true;
                if (cell != nullptr) (*cell)(shape.key_at(at, i), shape.elem_at(at, i));
            } else if (byte == 0xfe && !small) {
                ++counts.deleted;
            } else if (byte != 0x80) {
                note(walk, MapFault::control, at + i, byte, 0,
                     "a control byte that is neither empty, deleted nor full");
            }
        }
        if (used) ++walk.used_units;
        return true;
    }

    bool table(Address at, std::uint64_t index) {
        const auto& f = reader.layout_.swiss_table;
        auto get = [&](auto field, auto& value) {
            return field.present() && cursor.load(at + static_cast<std::uint64_t>(field.offset), value);
        };
        std::uint16_t used = 0, capacity = 0, growth_left = 0;
        std::int64_t own_index = 0;
        Address groups;
        std::uint64_t mask = 0;
        if (!get(f.used, used) || !get(f.capacity, capacity) || !get(f.growthLeft, growth_left) ||
            !get(f.index, own_index) || !get(f.groups_data, groups) || !get(f.groups_lengthMask, mask))
            return false;
        if (own_index != static_cast<std::int64_t>(index))
            note(walk, MapFault::table, at + static_cast<std::uint64_t>(f.index.offset),
                 static_cast<std::uint64_t>(own_index), index, "a table whose index is not its place in the directory");
        if (capacity < 8 || capacity > max_table_capacity || !std::has_single_bit(capacity) ||
            mask != capacity / 8u - 1) {
            note(walk, MapFault::table, at + static_cast<std::uint64_t>(f.capacity.offset), capacity, (mask + 1) * 8,
                 "a table whose capacity is not that of its groups");
            return false;
        }
        if (!table_memory(walk, reader.memory_, reader.spans_, at + static_cast<std::uint64_t>(f.groups_data.offset),
                          groups, (mask + 1) * shape.unit, "groups that are not in memory", "groups in freed memory",
                          "groups that are not an object of this many groups"))
            return false;
        Counts counts;
        for (std::uint64_t i = 0; i <= mask; ++i)
            if (!group(groups + i * shape.unit, false, counts)) return false;
        walk.cells += counts.full;
        if (counts.full != used) {
            note(walk, MapFault::count, at + static_cast<std::uint64_t>(f.used.offset), used, counts.full,
                 "a table whose count is not the number of its full cells");
        } else if (std::uint64_t most = capacity == 8 ? 7 : capacity * 7u / 8;
                   std::uint64_t{growth_left} + used + counts.deleted != most) {
            note(walk, MapFault::table, at + static_cast<std::uint64_t>(f.growthLeft.offset), growth_left,
                 most - used - counts.deleted, "a table whose budget for growth does not add up");
        }
        return true;
    }
};

MapWalk MapReader::walk(Address header, const MapShape& shape, const MapCell* cell, std::uint64_t limit) const {
    if (!shape.swiss) return walk_classic(header, shape, std::nullopt, cell, limit);
    MapWalk walk;
    walk.header = header;
    walk.swiss = true;
    const auto& f = layout_.swiss_map;
    MemoryCursor cursor(memory_);
    auto get = [&](auto field, auto& value) {
        return field.present() && cursor.load(header + static_cast<std::uint64_t>(field.offset), value);
    };
    std::uint8_t shift = 0, writing = 0;
    std::int64_t length = 0;
    Address directory;
    if (!get(f.used, walk.count) || !get(f.dirPtr, directory) || !get(f.dirLen, length) ||
        !get(f.globalDepth, walk.depth) || !get(f.globalShift, shift) || !get(f.writing, writing))
        return walk;
    walk.flags = writing;
    walk.writing = writing != 0;
    walk.buckets = directory;
    const Address flag_at = header + static_cast<std::uint64_t>(f.writing.offset);
    if (writing > 1) note(walk, MapFault::flags, flag_at, writing, 0, "a writing flag that is neither 0 nor 1");
    Swiss swiss{*this, shape, walk, cell, limit, cursor};
    if (length == 0) {
        if (walk.depth != 0 && walk.count != 0)  // else it is being made
            note(walk, MapFault::size, header + static_cast<std::uint64_t>(f.globalDepth.offset), walk.depth, 0,
                 "a depth, but no directory");
        if (directory.is_null()) {
            walk.complete = true;
            if (walk.count != 0) note(walk, MapFault::count, header, walk.count, 0, "a count, but no group");
            return walk;
        }
        walk.array = {directory, directory + shape.unit};
        if (!table_memory(walk, memory_, spans_, header + static_cast<std::uint64_t>(f.dirPtr.offset), directory,
                          shape.unit, "a group that is not in memory", "a group in freed memory",
                          "a group that is no object of its own"))
            return walk;
        Swiss::Counts counts;
        walk.complete = swiss.group(directory, true, counts);
        walk.cells = counts.full;
        if (walk.complete && counts.full != walk.count)
            note(walk, MapFault::count, header, walk.count, counts.full,
                 "a count that is not the number of full cells");
        return walk;
    }
    if (walk.depth > deepest || length < 0 || static_cast<std::uint64_t>(length) != std::uint64_t{1} << walk.depth) {
        note(walk, MapFault::size, header + static_cast<std::uint64_t>(f.globalDepth.offset), walk.depth,
             length > 0 ? static_cast<std::uint64_t>(std::bit_width(static_cast<std::uint64_t>(length)) - 1) : 0,
             "a depth that is not that of the directory");
        if (length <= 0 || length > (std::int64_t{1} << deepest) ||
            !std::has_single_bit(static_cast<std::uint64_t>(length)))
            return walk;
    } else if (shift != 64 - walk.depth) {
        note(walk, MapFault::size, header + static_cast<std::uint64_t>(f.globalShift.offset), shift, 64u - walk.depth,
             "a shift that is not that of the depth");
    }
    const auto entries = static_cast<std::uint64_t>(length);
    const auto depth = static_cast<std::uint8_t>(std::bit_width(entries) - 1);
    walk.array = {directory, directory + entries * 8};
    if (!table_memory(walk, memory_, spans_, header + static_cast<std::uint64_t>(f.dirPtr.offset), directory,
                      entries * 8, "a directory that is not in memory", "a directory in freed memory",
                      "a directory that is not an object of this many entries"))
        return walk;
    bool all = true;
    for (std::uint64_t i = 0; i < entries && walk.found < 64;) {
        Address table;
        std::uint8_t local = 0;
        const Address entry = directory + i * 8;
        if (walk.units >= limit || !cursor.load(entry, table)) {
            all = false;
            break;
        }
        if (!cursor.load(table + static_cast<std::uint64_t>(layout_.swiss_table.localDepth.offset), local)) {
            note(walk, MapFault::unmapped, entry, table.value, 0, "a table that is not in memory");
            all = false;
            ++i;
            continue;
        }
        if (local > depth) {
            note(walk, MapFault::table, table + static_cast<std::uint64_t>(layout_.swiss_table.localDepth.offset),
                 local, depth, "a table deeper than the directory");
            all = false;
            ++i;
            continue;
        }
        const std::uint64_t stride = std::uint64_t{1} << (depth - local);
        if (auto kind = check_table_memory(memory_, spans_, table, 32); kind == TableMemory::free)
            note(walk, MapFault::freed_table, entry, table.value, 0, "a table in freed memory");
        if (i % stride != 0) {
            note(walk, MapFault::table, entry, table.value, 0, "a table that begins between two places of its size");
            all = false;
            ++i;
            continue;
        }
        for (std::uint64_t k = 1; k < stride; ++k) {
            Address other;
            if (!cursor.load(entry + k * 8, other)) {
                all = false;
                break;
            }
            if (other != table) {
                note(walk, MapFault::table, entry + k * 8, other.value, table.value,
                     "a directory entry that is not the table of its neighbours");
                break;
            }
        }
        if (!swiss.table(table, i)) all = false;
        i += stride;
    }
    walk.complete = all;
    if (all && walk.cells != walk.count)
        note(walk, MapFault::count, header, walk.count, walk.cells, "a count that is not the number of full cells");
    return walk;
}

}  // namespace incident::go
