// The tables of libstdc++ in live memory: found while it is swept, read when it is known, named where DWARF types them.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "detect/native_names.h"
#include "detect/native_tables.h"

namespace incident::detect {

class LiveTables {
public:
    explicit LiveTables(const Process& process) : process_(process) {}

    /// A word of live memory that may_be_load_factor().
    void look(const LiveMemory::Word& factor);
    /// By structure where that is enough, else by the type of the first word. Keeps references.
    void read(WordNames& names, const LiveMemory& live);

    const std::vector<UnorderedTable>& all() const { return tables_; }
    /// A table whose node `chunk` was, when the word that names it, if there is one, is kept beside that table; null:
    /// none.
    const UnorderedTable* of_node(const native::Chunk& chunk, const std::optional<LiveMemory::Word>& word) const;
    /// A table that has elements of this very type, one of which lay where the pointer `name` leads in `chunk`; null:
    /// none.
    const UnorderedTable* of_element(const native::Chunk& chunk, const LiveMemory::Word& word,
                                     const WordName& name) const;

private:
    WordName name_of(const LiveMemory::Word& header) const;
    bool knows(const LiveMemory::Word& word, const UnorderedTable& table) const;

    const Process& process_;
    WordNames* names_ = nullptr;
    const LiveMemory* live_ = nullptr;
    std::vector<LiveMemory::Word> headers_;  ///< where tables may begin
    std::vector<UnorderedTable> tables_;
};

}  // namespace incident::detect
