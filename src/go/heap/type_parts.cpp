// Objects of which only pointers to their middle are known: a slice of an array inside a struct, a lock's address.
#include <algorithm>
#include <bit>
#include <utility>

#include "go/heap/type_spread.h"

namespace incident::go {

namespace {

/// Offsets of the words of a type that the collector looks at.
void pointer_words(const TypeTable& types, TypeId id, std::uint64_t at, std::vector<std::uint64_t>& out,
                   int depth = 0) {
    const Type& type = types[id];
    if (depth > 16 || out.size() > 512) return;
    switch (type.kind) {
        case Kind::pointer:
        case Kind::unsafe_pointer:
        case Kind::map:
        case Kind::chan:
        case Kind::func:
        case Kind::slice:
        case Kind::string: out.push_back(at); return;
        case Kind::interface:  // types and itabs are no objects: go1.16–1.27 src/cmd/compile, TINTER in typebits
            out.push_back(at + 8);
            return;
        case Kind::array:
            for (std::uint64_t i = 0; i < std::min<std::uint64_t>(type.count, 512); ++i)
                pointer_words(types, type.elem, at + i * types[type.elem].size, out, depth + 1);
            return;
        case Kind::struct_:
            for (const TypeField& field : types.fields(id))
                pointer_words(types, field.type, at + field.offset, out, depth + 1);
            return;
        default: return;
    }
}

}  // namespace

bool TypeSpread::fits(SlotId slot, TypeId id) const {
    const std::uint64_t size = types_[id].size, available = slots_.size(slot);
    if (size > available || available - size >= std::max<std::uint64_t>(16, available / 8)) return false;
    std::vector<std::uint64_t> mine, theirs;
    out_.graph_.pointers().for_each_mask(slot, slots_.data(slot), 0, available / 8,
                                         [&](std::uint64_t word, std::uint64_t mask) {
                                             for (; mask != 0; mask &= mask - 1)
                                                 mine.push_back((word + std::countr_zero(mask)) * 8);
                                         });
    pointer_words(types_, id, 0, theirs);
    std::ranges::sort(theirs);
    return theirs == mine;
}

bool TypeSpread::explain_parts() {
    if (parts_.empty()) return false;
    const auto key = [](std::uint64_t offset, TypeId type) { return offset << 32 | type; };
    if (fields_at_.empty())
        for (TypeId id = 1; id < types_.size(); ++id) {
            const Type& type = types_[id];
            if (type.kind != Kind::struct_ || type.size < 16 || type.size > 4096 || plans_[id].shape) continue;
            for (const TypeField& field : types_.fields(id)) {
                if (field.offset == 0) continue;
                const TypeId elem = types_[field.type].kind == Kind::array ? types_[field.type].elem : field.type;
                fields_at_.emplace(key(field.offset, elem), id);
            }
        }
    bool progress = false;
    std::ranges::sort(parts_);
    parts_.erase(std::ranges::unique(parts_).begin(), parts_.end());
    for (const Part& part : std::exchange(parts_, {})) {
        if (out_.words_[part.slot] != 0 || slots_.noscan(part.slot)) continue;
        TypeId found = no_type;
        bool several = false;
        auto [begin, end] = fields_at_.equal_range(key(part.offset, part.type));
        for (auto at = begin; at != end; ++at) {
            if (!fits(part.slot, at->second)) continue;
            several = several || (found != no_type && found != at->second);
            found = at->second;
        }
        if (found == no_type || several) continue;
        claim(slots_.base(part.slot), found, 1, TypeBasis::contents);
        progress = true;
    }
    return progress;
}

}  // namespace incident::go
