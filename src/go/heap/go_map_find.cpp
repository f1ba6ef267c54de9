#include "go/heap/go_map_find.h"

#include <algorithm>
#include <bit>
#include <tuple>

#include "base/parallel.h"

namespace incident::go {

namespace {

constexpr std::uint64_t sure_cells = 16;  // fewer full cells may be chance
constexpr std::uint8_t deepest = 32;

/// Is an object of `size` what the allocator takes for `wanted` bytes? From one size class to the next it is at most
/// 3/16 of the smaller one (4096 to 4864; a little more, when small), large objects are rounded up to pages.
bool fits(std::uint64_t size, std::uint64_t wanted) {
    if (size < wanted) return false;
    if (size > 32768) return size - wanted < 8192 + 8;
    return size - wanted <= std::max<std::uint64_t>(wanted * 3 / 16, 16) + 8;
}

std::uint64_t classic_array(const MapShape& shape, std::uint8_t depth) {
    std::uint64_t buckets = std::uint64_t{1} << depth;
    // go1.19 src/runtime/map.go, makeBucketArray: some overflow buckets at once.
    if (depth >= 4) buckets += std::uint64_t{1} << (depth - 4);
    return buckets * shape.unit;
}

template <class T>
bool load_field(MemoryCursor& cursor, Address base, Field<T> field, T& value) {
    return field.present() && cursor.load(base + static_cast<std::uint64_t>(field.offset), value);
}

}  // namespace

MapFinder::MapFinder(const Memory& memory, const Runtime& runtime, const Spans& spans)
    : memory_(memory),
      layout_(runtime.layout()),
      spans_(spans),
      shapes_(find_map_shapes(runtime)),
      reader_(memory, runtime.layout(), &spans) {
    auto form = [&](std::uint32_t i) {
        const MapShape& s = shapes_[i];
        return std::tuple(s.unit, s.keys, s.key_stride, s.elems, s.elem_stride, s.unit_pointers != 0);
    };
    for (std::uint32_t i = 0; i < shapes_.size(); ++i) forms_.push_back(i);
    std::ranges::sort(forms_, [&](auto a, auto b) { return std::tuple(form(a), a) < std::tuple(form(b), b); });
    forms_.erase(std::ranges::unique(forms_, [&](auto a, auto b) { return form(a) == form(b); }).begin(), forms_.end());
}

const MapShape* MapFinder::shape_of(Address rtype) const {
    auto at = std::ranges::lower_bound(shapes_, rtype, {}, &MapShape::rtype);
    return at != shapes_.end() && at->rtype == rtype ? &*at : nullptr;
}

std::optional<RecognisedMap> MapFinder::recognise(Address header, bool typed) const {
    if (shapes_.empty()) return std::nullopt;
    return shapes_.front().swiss ? recognise_swiss(header, typed) : recognise_classic(header, typed);
}

std::optional<RecognisedMap> MapFinder::recognise_classic(Address header, bool typed) const {
    const auto& f = layout_.hmap;
    MemoryCursor cursor(memory_);
    std::int64_t count = 0;
    std::uint8_t flags = 0, depth = 0;
    std::uint32_t seed = 0;
    Address buckets, old, extra;
    if (!load_field(cursor, header, f.buckets, buckets) || buckets.is_null() || !spans_.in_arena(buckets) ||
        !buckets.is_aligned(8) || !load_field(cursor, header, f.hash0, seed) || seed == 0 ||
        !load_field(cursor, header, f.count, count) || (!typed && (count < 0 || count >> 40 != 0)) ||
        !load_field(cursor, header, f.flags, flags) || flags > 15 || !load_field(cursor, header, f.B, depth) ||
        !load_field(cursor, header, f.oldbuckets, old) || (!old.is_null() && !spans_.in_arena(old)) ||
        !load_field(cursor, header, f.extra, extra) || (!extra.is_null() && !spans_.in_arena(extra)))
        return std::nullopt;
    auto object = spans_.find_object(buckets);
    if (!object || object->state != SlotState::allocated) return std::nullopt;
    const std::uint64_t before = buckets.value - object->base.value, room = object->size - before;
    if (before != 0 && !(before == 8 && object->span->pointers == PointerInfo::header)) return std::nullopt;

    std::optional<RecognisedMap> best;
    auto consider = [&](std::uint32_t index, std::optional<std::uint8_t> other_depth) {
        const MapShape& shape = shapes_[index];
        MapWalk walk = reader_.walk_classic(header, shape, other_depth, nullptr, std::uint64_t{1} << 26);
        if (other_depth) {
            // The array says another depth than the header: only when everything else is in order.
            if (!walk.sound() || walk.cells < sure_cells || walk.growing) return;
            walk.contradictions[0] = {MapFault::size, header + static_cast<std::uint64_t>(f.B.offset), walk.depth,
                                      *other_depth, "B is not the size of the bucket array"};
            walk.found = 1;
        } else if (!walk.sound() &&
                   (!walk.complete || walk.cells < sure_cells || walk.used_units < 3 || walk.found > 3)) {
            return;
        }
        if (!best || walk.found < best->walk.found) best = RecognisedMap{walk, index, false, false};
    };
    for (std::uint32_t index : forms_) {
        const MapShape& shape = shapes_[index];
        if ((shape.unit_pointers == 0) != object->span->noscan() || room < shape.unit) continue;
        if (depth <= deepest && fits(room, classic_array(shape, depth))) consider(index, std::nullopt);
        if (best && best->walk.found == 0) return best;
    }
    if (!best && old.is_null()) {
        for (std::uint32_t index : forms_) {
            const MapShape& shape = shapes_[index];
            if ((shape.unit_pointers == 0) != object->span->noscan() || room < shape.unit) continue;
            for (std::uint8_t d = 0; d <= deepest && classic_array(shape, d) <= room; ++d)
                if (d != depth && fits(room, classic_array(shape, d))) consider(index, d);
        }
    }
    return best;
}

std::optional<RecognisedMap> MapFinder::recognise_swiss(Address header, bool typed) const {
    const auto& f = layout_.swiss_map;
    const auto& t = layout_.swiss_table;
    MemoryCursor cursor(memory_);
    std::uint64_t used = 0, seed = 0;
    std::int64_t length = 0;
    std::uint8_t writing = 0;
    Address directory, table, groups;
    if (!load_field(cursor, header, f.dirLen, length) || length <= 0 || length > (std::int64_t{1} << 28) ||
        !std::has_single_bit(static_cast<std::uint64_t>(length)) || !load_field(cursor, header, f.dirPtr, directory) ||
        !spans_.in_arena(directory) || !directory.is_aligned(8) || !load_field(cursor, header, f.seed, seed) ||
        seed == 0 || !load_field(cursor, header, f.used, used) || (!typed && used >> 40 != 0) ||
        !load_field(cursor, header, f.writing, writing) || writing > 1)
        return std::nullopt;
    auto entries = spans_.find_object(directory);
    if (!entries || entries->state != SlotState::allocated || entries->span->noscan()) return std::nullopt;
    const std::uint64_t before = directory.value - entries->base.value;
    if (before > 8 || !fits(entries->size - before, static_cast<std::uint64_t>(length) * 8)) return std::nullopt;
    // The first table must be one, with groups of the size that its capacity says.
    std::uint16_t capacity = 0;
    std::uint64_t mask = 0;
    if (!cursor.load(directory, table) || !load_field(cursor, table, t.capacity, capacity) || capacity < 8 ||
        capacity > 1024 || !std::has_single_bit(capacity) || !load_field(cursor, table, t.groups_lengthMask, mask) ||
        mask != capacity / 8u - 1 || !load_field(cursor, table, t.groups_data, groups))
        return std::nullopt;
    auto table_object = spans_.find_object(table);
    if (!table_object || table_object->base != table || table_object->size != 32) return std::nullopt;
    auto object = spans_.find_object(groups);
    if (!object || object->state != SlotState::allocated) return std::nullopt;
    const std::uint64_t head = groups.value - object->base.value, room = object->size - head;
    if (head != 0 && !(head == 8 && object->span->pointers == PointerInfo::header)) return std::nullopt;
    std::optional<RecognisedMap> best;
    for (std::uint32_t index : forms_) {
        const MapShape& shape = shapes_[index];
        if ((shape.unit_pointers == 0) != object->span->noscan() || !fits(room, (mask + 1) * shape.unit)) continue;
        MapWalk walk = reader_.walk(header, shape);
        if (!walk.sound() && (walk.cells < sure_cells || walk.found > 4)) continue;
        if (!best || walk.found < best->walk.found) best = RecognisedMap{walk, index, false, false};
        if (walk.found == 0) break;
    }
    // A map whose type is not among those found: groups of another size then read without any contradiction.
    for (std::uint64_t unit = 16; best && best->walk.found != 0 && (mask + 1) * unit <= room; unit += 8) {
        if (!fits(room, (mask + 1) * unit)) continue;
        MapShape other = shapes_[best->shape];
        other.unit = unit;
        if (reader_.walk(header, other).sound()) return std::nullopt;
    }
    return best;
}

/// Is `at` an object of just so many bytes, with pointers when the shape has any?
bool MapFinder::array_fits(Address at, std::uint64_t bytes, const MapShape& shape) const {
    auto object = spans_.in_arena(at) ? spans_.find_object(at) : std::nullopt;
    if (!object || object->state != SlotState::allocated || (shape.unit_pointers == 0) != object->span->noscan())
        return false;
    const std::uint64_t before = at.value - object->base.value;
    return (before == 0 || (before == 8 && object->span->pointers == PointerInfo::header)) &&
           fits(object->size - before, bytes);
}

std::optional<RecognisedMap> MapFinder::check_typed(Address header, const MapShape& shape) const {
    RecognisedMap map;
    map.walk = reader_.walk(header, shape);
    map.shape = static_cast<std::uint32_t>(&shape - shapes_.data());
    map.typed = true;
    if (map.walk.sound()) return map;
    if (auto by_structure = recognise(header, true)) return by_structure;
    // A table where no memory is: nothing can be counted, but the header's other words may bear the type out.
    if (map.walk.contradictions[0].fault == MapFault::unmapped && map.walk.units == 0 && !map.walk.growing &&
        agrees_but_for_table(header))
        return map;
    // A type is a claim. It is believed when the header's other words are those of such a map and its one array is an
    // object of the very size; larger maps are recognised by what they hold.
    MemoryCursor cursor(memory_);
    const MapWalk& walk = map.walk;
    const bool few = walk.found <= 4 && !walk.has(MapFault::unmapped) && !walk.has(MapFault::wrong_memory) &&
                     !walk.has(MapFault::freed_table);
    if (shape.swiss) {
        std::uint64_t seed = 0;
        std::int64_t length = 0;
        const bool small = load_field(cursor, header, layout_.swiss_map.dirLen, length) && length == 0 &&
                           load_field(cursor, header, layout_.swiss_map.seed, seed) && seed >> 32 != 0;
        if (small && few && walk.complete && array_fits(walk.buckets, shape.unit, shape)) return map;
        return std::nullopt;
    }
    std::uint32_t seed = 0;
    if (!load_field(cursor, header, layout_.hmap.hash0, seed) || seed == 0) return std::nullopt;
    if (few && walk.complete && walk.depth <= deepest &&
        array_fits(walk.buckets, classic_array(shape, walk.depth), shape))
        return map;
    for (std::uint8_t depth = 0; depth <= deepest && !walk.growing; ++depth) {
        if (depth == walk.depth || !array_fits(walk.buckets, classic_array(shape, depth), shape)) continue;
        MapWalk other = reader_.walk_classic(header, shape, depth, nullptr, std::uint64_t{1} << 20);
        if (!other.sound() || other.cells == 0) continue;
        other.contradictions[0] = {MapFault::size, header + static_cast<std::uint64_t>(layout_.hmap.B.offset),
                                   walk.depth, depth, "B is not the size of the bucket array"};
        other.found = 1;
        map.walk = other;
        return map;
    }
    return std::nullopt;
}

bool MapFinder::agrees_but_for_table(Address header) const {
    MemoryCursor cursor(memory_);
    if (!shapes_.front().swiss) {
        const auto& f = layout_.hmap;
        std::int64_t count = 0;
        std::uint8_t flags = 0, depth = 0;
        std::uint32_t seed = 0;
        Address extra;
        if (!load_field(cursor, header, f.count, count) || !load_field(cursor, header, f.flags, flags) ||
            !load_field(cursor, header, f.B, depth) || !load_field(cursor, header, f.hash0, seed) ||
            !load_field(cursor, header, f.extra, extra))
            return false;
        // go1.16–1.23 src/runtime/map.go: it grows at 6.5 cells for each bucket; three quarters may be deleted again.
        return seed != 0 && flags <= 15 && depth != 0 && depth <= deepest && count <= (std::int64_t{13} << depth) / 2 &&
               count > (std::int64_t{13} << depth) / 16 && (extra.is_null() || spans_.in_arena(extra));
    }
    const auto& f = layout_.swiss_map;
    std::uint64_t used = 0, seed = 0;
    std::int64_t length = 0;
    std::uint8_t depth = 0, shift = 0, writing = 0;
    return load_field(cursor, header, f.seed, seed) && seed >> 32 != 0 && load_field(cursor, header, f.used, used) &&
           load_field(cursor, header, f.dirLen, length) && load_field(cursor, header, f.globalDepth, depth) &&
           load_field(cursor, header, f.globalShift, shift) && load_field(cursor, header, f.writing, writing) &&
           writing <= 1 && used != 0 && depth <= deepest && length == std::int64_t{1} << depth && shift == 64 - depth &&
           used <= static_cast<std::uint64_t>(length) * 1024;
}

bool MapFinder::plausible_header(Address header) const {
    MemoryCursor cursor(memory_);
    if (shapes_.empty()) return false;
    if (!shapes_.front().swiss) {
        const auto& f = layout_.hmap;
        std::int64_t count = 0;
        std::uint64_t nevacuate = 0;
        std::uint8_t flags = 0, depth = 0;
        std::uint32_t seed = 0;
        Address buckets, old;
        return load_field(cursor, header, f.buckets, buckets) && spans_.in_arena(buckets) && buckets.is_aligned(8) &&
               load_field(cursor, header, f.hash0, seed) && seed != 0 && load_field(cursor, header, f.flags, flags) &&
               flags <= 15 && load_field(cursor, header, f.B, depth) && depth <= deepest &&
               load_field(cursor, header, f.count, count) && count > 0 && count <= (std::int64_t{16} << depth) &&
               load_field(cursor, header, f.oldbuckets, old) && (old.is_null() || spans_.in_arena(old)) &&
               load_field(cursor, header, f.nevacuate, nevacuate) && nevacuate <= (std::uint64_t{1} << depth);
    }
    const auto& f = layout_.swiss_map;
    std::uint64_t used = 0, seed = 0;
    std::int64_t length = 0;
    std::uint8_t depth = 0, shift = 0, writing = 0;
    Address directory;
    if (!load_field(cursor, header, f.dirPtr, directory) || !spans_.in_arena(directory) || !directory.is_aligned(8) ||
        !load_field(cursor, header, f.seed, seed) || seed >> 32 == 0 || !load_field(cursor, header, f.used, used) ||
        used == 0 || !load_field(cursor, header, f.dirLen, length) ||
        !load_field(cursor, header, f.globalDepth, depth) || !load_field(cursor, header, f.globalShift, shift) ||
        !load_field(cursor, header, f.writing, writing) || writing > 1)
        return false;
    if (length == 0) return depth == 0 && used <= 8 && (shift == 0 || shift == 64);
    return depth <= deepest && length == std::int64_t{1} << depth && shift == 64 - depth &&
           used <= static_cast<std::uint64_t>(length) * 1024;
}

std::optional<RecognisedMap> MapFinder::recognise_freed(Address header) const {
    if (!header.is_aligned(16) || !plausible_header(header)) return std::nullopt;
    RecognisedMap found;
    found.freed = true;
    // Freed memory keeps its bytes until it is used again: the whole map may still be there.
    MapReader plain(memory_, layout_, nullptr);
    std::optional<RecognisedMap> broken;
    for (std::uint32_t index : forms_) {
        MapWalk walk = plain.walk(header, shapes_[index], nullptr, std::uint64_t{1} << 22);
        found.walk = walk;
        found.shape = index;
        if (walk.sound() && walk.cells != 0) {
            found.intact = true;
            return found;
        }
    }
    return found;
}

MapsInHeap MapFinder::find_all(unsigned jobs, const TypedHeader& typed) const {
    std::vector<const Span*> candidates;
    const std::uint64_t header_slot = map_header_slot(layout_);
    if (!shapes_.empty())
        for (const Span& span : spans_.all())
            if (span.state == SpanState::in_use && span.elem_size == header_slot && !span.noscan())
                candidates.push_back(&span);
    std::vector<MapsInHeap> per_worker(std::max(jobs, 1u));
    parallel_chunks(jobs, candidates.size(), 8, [&](std::size_t begin, std::size_t end, unsigned worker) {
        MapsInHeap& mine = per_worker[worker];
        for (std::size_t i = begin; i < end; ++i) {
            const Span& span = *candidates[i];
            for (std::uint32_t slot = 0; slot < span.elem_count; ++slot) {
                if (Spans::slot_state(span, slot) != SlotState::allocated) continue;
                // Garbage that the sweeper has not come to: what it points to may be swept already.
                if (span.needs_sweep && Spans::marked(span, slot) != true) continue;
                const Address header = span.slot(slot);
                const MapShape* shape = typed ? typed(header) : nullptr;
                auto map = shape != nullptr ? check_typed(header, *shape) : recognise(header);
                if (!map) continue;
                if (map->walk.found == 0) {
                    ++mine.sound;
                    mine.cells += map->walk.cells;
                } else if (map->walk.writing) {
                    ++mine.skipped;
                } else {
                    mine.bad.push_back(*map);
                }
            }
        }
    });
    MapsInHeap all;
    for (auto& part : per_worker) {
        all.sound += part.sound;
        all.cells += part.cells;
        all.skipped += part.skipped;
        all.bad.insert(all.bad.end(), part.bad.begin(), part.bad.end());
    }
    std::ranges::sort(all.bad, {}, [](const RecognisedMap& map) { return map.walk.header; });
    return all;
}

}  // namespace incident::go
