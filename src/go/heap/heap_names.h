// Words for what stands in the heap: values by their types, and places in Go's own terms:
// `main.store.byID["x"].Attrs[3]`. Everything read is bounded; texts are raw, renderers escape them.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "go/heap/heap_edges.h"
#include "go/heap/heap_types.h"

namespace incident {
class Images;
}

namespace incident::go {

/// One pointer that a path follows.
struct NamedStep {
    Address word;       ///< where the pointer stands
    std::string place;  ///< what was added to the path: ".next", "[3]", "[\"x\"]"; empty for a container's insides
    Address object;     ///< what it leads to
    std::string type;   ///< of that object
    SlotId slot = no_slot;
};

struct NamedPath {
    std::string text;  ///< "main.theGraph.byName[\"n5\"].leaf"
    std::string root;  ///< "package variable", "goroutine 7, main.serve"
    std::vector<NamedStep> steps;
};

class HeapNames {
public:
    /// `images` may be null: then symbols are not asked.
    HeapNames(const HeapTypes& types, const Images* images) : types_(types), images_(images) {}

    /// In short Go syntax: 42, "text", {a: 1, b: nil}.
    std::string value(TypeId type, Address at, unsigned depth = 0) const;
    /// "main.store.byID": the variable that a root word belongs to. One thread: symbols are asked.
    NamedPath path(const RootPath& path) const;

private:
    /// What a pointer word is within a value, and how Go writes the way to it.
    struct Word {
        TypeId type = no_type;  ///< of the pointer, slice, map … that the word belongs to
        Address value;          ///< where that begins
        std::string text;
    };
    Word inside(TypeId type, Address value, std::uint64_t offset) const;
    std::string cell(TypeId group, Address value, std::uint64_t offset, Word& word) const;
    Word root_word(const Root& root, NamedPath& out) const;
    /// The value that the linker laid out around a word of .data or .bss.
    std::optional<std::pair<Address, TypeId>> static_at(Address word) const;
    /// "main.server.sessions" of a value that the linker laid out and a variable's pointers lead to; empty: none does.
    std::string static_name(Address value, unsigned depth = 0) const;
    /// The first words of .data and .bss that lead to a value that the linker laid out.
    struct Leads {
        Address variable;  ///< in a package variable; null: none
        Address value;     ///< in another such value
    };
    const std::vector<Leads>& leads() const;
    bool is_map_part(std::string_view name) const;

    const HeapTypes& types_;
    const Images* images_;
    mutable std::optional<std::vector<Leads>> leads_;  ///< parallel to the types' statics; one thread, like path()
};

}  // namespace incident::go
