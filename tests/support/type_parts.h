// What a type consists of, for tests and tools that compare what two sources say of one variable.
#pragma once

#include <string_view>

#include "go/binary/type_table.h"

namespace incident::test {

/// Does a part called `name` begin at `offset` of `type`? Or, of a pointer's name, something that leads to such a part:
/// the first of an array's or a slice's elements, or an unsafe.Pointer to whatever.
inline bool has_part(const go::TypeTable& types, go::TypeId type, std::uint64_t offset, std::string_view name) {
    for (unsigned depth = 0; depth < 32; ++depth) {
        const go::Type& t = types[type];
        if (offset == 0 && t.name == name) return true;
        if (offset == 0 && name.starts_with('*') &&
            (t.kind == go::Kind::unsafe_pointer || ((t.kind == go::Kind::pointer || t.kind == go::Kind::slice) &&
                                                    has_part(types, t.elem, 0, name.substr(1)))))
            return true;
        go::TypeId inner = go::no_type;
        if (t.kind == go::Kind::array && types[t.elem].size != 0) {
            offset %= types[t.elem].size;
            inner = t.elem;
        }
        if (t.kind == go::Kind::struct_)
            for (const go::TypeField& f : types.fields(t))
                if (f.offset <= offset && offset - f.offset < types[f.type].size) {
                    offset -= f.offset;
                    inner = f.type;
                    break;
                }
        if (inner == go::no_type) return false;
        type = inner;
    }
    return false;
}

}  // namespace incident::test
