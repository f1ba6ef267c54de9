// Who stands in a map operation: goroutines whose stack shows runtime.mapassign*, mapaccess*, mapdelete*, an iterator's
// step and so on, with the map and its type, in stripped binaries too: the compiler loads the type's address and the
// map right before the call, and an iterator on the stack names both.
//
// Surprising: the runtime's own frames do not help. Their arguments come in registers since Go 1.17 and are soon gone;
// the caller's slots, from which its code loaded them, still stand there, because the call has not returned.
#pragma once

#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "disasm/disasm.h"
#include "go/heap/go_map.h"
#include "go/stacks/stackmaps.h"
#include "go/stacks/walk.h"

namespace incident::go {

enum class MapOperation : std::uint8_t { read, write, erase, clear, iterate, clone, other };
std::string_view to_string(MapOperation operation);  ///< "read", "write", "delete" …
bool writes(MapOperation operation);
/// By the name of a runtime function: "runtime.mapassign_fast64"; nullopt: it is not about maps.
std::optional<MapOperation> map_operation(std::string_view function);

/// One map operation in progress.
struct MapUse {
    std::uint32_t frame = 0;  ///< index into GoStack::physical: the code that called the runtime
    MapOperation operation = MapOperation::other;
    std::string_view function;  ///< the runtime's function that it called
    Address type;               ///< rtype of the map; null: unknown
    Address header;             ///< null: unknown, or a nil map
    Address iterator;           ///< hiter or maps.Iter on the stack; null: none
    std::string_view basis;     ///< how type and header were found
};

/// Every map operation on a stack, innermost first. `disassembler` may be null. Not thread-safe (capstone).
std::vector<MapUse> map_uses(const Memory& memory, const Runtime& runtime, const Disassembler* disassembler,
                             const GoStack& stack);

/// An iterator on a stack: found by its type word, which is a map type's descriptor, wherever it stands in a live
/// frame.
struct MapIterator {
    Address at;
    Address type, header;
    Address key, elem;  ///< of the cell it stands on; null: not begun, or at its end
    Address table_at;   ///< of the word that holds `table`
    Address table;      ///< classic: bucket array it walks; Swiss: its table, null for a small map
    Address position;   ///< classic: bucket; Swiss: group
    std::uint32_t frame = 0;
    bool live = false;  ///< by the stack map it will be used again, as far as that knows
};
/// The iterator at `at` whose type word is a map type; nullopt: none has begun there. [any thread]
std::optional<MapIterator> read_map_iterator(const Memory& memory, const Runtime& runtime, Address at);
/// The iterator whose `table` is the word at `word`. [any thread]
std::optional<MapIterator> read_map_iterator_of_table(const Memory& memory, const Runtime& runtime, Address word);
/// [any thread]
std::vector<MapIterator> map_iterators(const Memory& memory, const Runtime& runtime, const GoStack& stack);

}  // namespace incident::go
