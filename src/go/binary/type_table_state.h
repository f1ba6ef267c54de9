// What a TypeTable holds, and the steps that fill it: private to go/binary.
#pragma once

#include <deque>
#include <unordered_map>

#include "go/binary/type_table.h"
#include "image/go_types.h"

namespace incident::go {

struct TypeTable::State {
    struct Module {
        AddressRange types;
        std::vector<TypeId> by_word;                         ///< rtype address → id, one entry per 8 bytes of `types`
        std::vector<std::pair<std::uint64_t, TypeId>> dies;  ///< sorted DIE offsets
    };
    std::vector<Type> types{1};
    std::vector<TypeField> fields;
    std::deque<std::string> names;  ///< of types that have none in the binary as we print it
    std::vector<Module> modules;    ///< parallel to Runtime::modules()
    std::unordered_map<std::string_view, TypeId> by_name;
    std::vector<GlobalOfType> globals;
    TypeId byte = no_type;
    bool dwarf = false;
    const Memory* memory = nullptr;
    Field<Address> itab_type;

    TypeId find(Address rtype) const noexcept {
        for (const Module& module : modules) {
            if (!module.types.contains(rtype) || !rtype.is_aligned(8)) continue;
            const std::uint64_t word = (rtype.value - module.types.begin.value) / 8;
            return word < module.by_word.size() ? module.by_word[word] : no_type;
        }
        return no_type;
    }
};

struct TypeTableBuilder {
    const Memory& memory;
    const Runtime& runtime;
    TypeTable::State& out;

    std::string_view keep(std::string text) { return out.names.emplace_back(std::move(text)); }
    TypeId add(const Type& type) {
        out.types.push_back(type);
        return static_cast<TypeId>(out.types.size() - 1);
    }
    /// A struct that no binary describes.
    TypeId add_struct(std::string name, std::uint64_t size, std::span<const TypeField> fields);
    TypeId pointer_to(TypeId elem);  ///< a new pointer type
    TypeId slice_of(TypeId elem);    ///< a new slice type
    TypeId basic(std::string_view name, Kind kind, std::uint64_t size);

    void add_dwarf(std::size_t module);   // type_table_dwarf.cpp
    void add_rtypes(std::size_t module);  // type_table_rtypes.cpp
    void add_runtime_structs();           // type_table_synthetic.cpp
    void add_headers();                   // type_table_synthetic.cpp: of maps and channels that DWARF did not give
    /// Variables of a module without DWARF; needs by_name.
    void add_variables_by_code(std::size_t module);  // type_table_code.cpp
};

}  // namespace incident::go
