#include "process/lock_name.h"

#include <fmt/format.h>

#include "base/text.h"
#include "go/binary/field_path.h"
#include "go/heap/heap_graph.h"
#include "go/heap/heap_types.h"

namespace incident {

namespace {

constexpr unsigned deepest = 8;  // structs that begin with a struct

/// The first field of the first field …, down to the one that is the lock; empty: none is.
std::string first_of_type(const go::TypeTable& types, go::TypeId id, std::string_view wanted) {
    std::string text;
    for (unsigned depth = 0; depth < deepest; ++depth) {
        if (types[id].name == wanted) return text;
        const auto fields = types.fields(id);
        if (types[id].kind != go::Kind::struct_ || fields.empty() || fields.front().offset != 0) break;
        text += fmt::format(".{}", fields.front().name);
        id = fields.front().type;
    }
    return {};
}

std::string in_object(const Process& process, Address lock, std::string_view wanted) {
    if (!process.heap || !process.heap_types) return {};
    const auto slot = process.heap->slot_of(lock);
    if (!slot) return {};
    const go::TypeTable& types = process.heap_types->types();
    const go::ObjectType object = process.heap_types->type_of(*slot);
    const Address begin = process.heap->slots().base(*slot) + object.offset;
    const std::uint64_t size = types[object.type].size;
    if (object.basis < go::TypeBasis::edge || size == 0 || lock < begin) return {};
    const auto offset = static_cast<std::uint64_t>(lock - begin);
    if (offset / size >= object.count) return {};
    const go::FieldPath path = go::field_path(types, object.type, offset % size, go::Until::first);
    const std::string text = path.text + first_of_type(types, path.type, wanted);
    if (text.empty() || path.rest != 0) return {};
    const std::string_view name = types[object.type].name;
    return escape_for_terminal(object.count > 1 ? fmt::format("([]{})[{}]{}", name, offset / size, text)
                                                : fmt::format("(*{}){}", name, text));
}

/// A symbol names the variable alone where the lock is its first field, or that of the struct it points to.
std::string in_variable(const Process& process, const Locator& locator, Address lock, std::string_view wanted) {
    std::string symbol = locator.symbol(lock);
    if (symbol.empty() || !process.heap_types) return symbol;
    const go::TypeTable& types = process.heap_types->types();
    if (const auto* at = types.global_at(lock); at != nullptr && at->address == lock)
        return symbol + escape_for_terminal(first_of_type(types, at->type, wanted));
    if (!symbol.starts_with('*')) return symbol;
    const auto* holder = types.find_global(std::string_view(symbol).substr(1));
    if (holder == nullptr || types[holder->type].kind != go::Kind::pointer) return symbol;
    const std::string field = first_of_type(types, types[holder->type].elem, wanted);
    return field.empty() ? symbol : symbol.substr(1) + escape_for_terminal(field);
}

}  // namespace

std::string lock_name(const Process& process, const Locator& locator, Address lock, std::string_view type) {
    switch (locator.place(lock).kind) {
        case PlaceKind::image: return in_variable(process, locator, lock, type);
        case PlaceKind::go_object: return in_object(process, lock, type);
        default: return {};
    }
}

}  // namespace incident
