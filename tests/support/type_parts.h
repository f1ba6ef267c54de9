// What a type consists of, for tests and tools that compare what two sources say of one variable.
#pragma once

#include <map>
#include <vector>

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

/// The objects that the linker laid out, and that typed package variables lead to, by address: what a type says of
/// them.
inline std::map<Address, go::TypeId> objects_of(const go::TypeTable& types, const Memory& memory,
                                                const go::Runtime& runtime) {
    std::map<Address, go::TypeId> objects;
    std::vector<std::pair<Address, go::TypeId>> todo;
    for (const go::GlobalOfType& global : types.globals()) todo.emplace_back(global.address, global.type);
    while (!todo.empty() && todo.size() < (std::size_t{1} << 20)) {
        const auto [at, id] = todo.back();
        todo.pop_back();
        const go::Type& type = types[id];
        auto follow = [&](Address word, go::TypeId elem) {
            const auto to = memory.load_address(word);
            if (!to || elem == go::no_type || !runtime.is_variable(*to) || types.global_at(*to) != nullptr) return;
            if (objects.try_emplace(*to, elem).second) todo.emplace_back(*to, elem);
        };
        if (type.kind == go::Kind::pointer) follow(at, type.elem);
        if (type.kind == go::Kind::slice) follow(at, type.elem);
        if (type.kind == go::Kind::interface)
            if (const auto word = memory.load_address(at)) {
                const go::TypeId held = types.dynamic_type(*word, type.empty_interface);
                if (held != go::no_type)
                    follow(at + 8, types[held].kind == go::Kind::pointer ? types[held].elem : held);
            }
        if (type.kind == go::Kind::struct_)
            for (const go::TypeField& f : types.fields(type)) todo.emplace_back(at + f.offset, f.type);
        if (type.kind == go::Kind::array && type.count < 4096)
            for (std::uint64_t i = 0; i < type.count; ++i) todo.emplace_back(at + i * types[type.elem].size, type.elem);
    }
    return objects;
}

}  // namespace incident::test
