#include "detect/native_live_tables.h"

namespace incident::detect {

namespace {

constexpr std::size_t most_headers = 1 << 20;
constexpr std::size_t most_named = 10000;  // tables whose types are asked for
constexpr std::uint64_t load_factor_offset = 32;
constexpr std::uint64_t single_bucket = 48;

}  // namespace

void LiveTables::look(const LiveMemory::Word& factor) {
    LiveMemory::Word header = factor;
    header.at = factor.at - load_factor_offset;
    auto buckets = process_.memory.load<std::uint64_t>(header.at);
    if (!buckets || headers_.size() >= most_headers) return;
    header.value = *buckets;
    auto array = process_.malloc->find(Address{*buckets});
    if ((array && array->user.begin.value == *buckets) || *buckets == header.at.value + single_bucket)
        headers_.push_back(header);
}

void LiveTables::read(WordNames& names, const LiveMemory& live) {
    names_ = &names;
    live_ = &live;
    std::size_t named = 0;
    for (const LiveMemory::Word& header : headers_) {
        auto table = read_unordered(process_.memory, *process_.malloc, header.at);
        std::string name = ++named < most_named ? name_of(header) : std::string();
        if (!table && !name.empty())
            table = read_unordered(process_.memory, *process_.malloc, header.at, TableBasis::dwarf);
        if (!table) continue;
        table->name = std::move(name);
        tables_.push_back(std::move(*table));
    }
}

/// "g_worker->map", when DWARF says that a table begins here.
std::string LiveTables::name_of(const LiveMemory::Word& header) const {
    WordName name = names_->name(header);
    if (!name.typed || name.member != "_M_buckets" || !name.owner.starts_with("_Hashtable<")) return {};
    for (std::string_view inner : {"._M_buckets", "->_M_buckets", "._M_h", "->_M_h"})
        if (name.text.ends_with(inner)) name.text.resize(name.text.size() - inner.size());
    return name.text;
}

const UnorderedTable* LiveTables::of_node(const native::Chunk& chunk,
                                          const std::optional<LiveMemory::Word>& word) const {
    for (const UnorderedTable& table : tables_)
        if (table.node_size == chunk.size && (!word || knows(*word, table))) return &table;
    return nullptr;
}

/// Does the object around `word` hold the table, or lead to it?
bool LiveTables::knows(const LiveMemory::Word& word, const UnorderedTable& table) const {
    AddressRange around{word.at - 128, word.at + 128};
    if (word.source == LiveMemory::Source::chunk) around = live_->chunks()[word.chunk].user;
    if (around.size() > 4096) around = {word.at - 128, word.at + 128};
    if (around.contains(table.header)) return true;
    for (Address at = around.begin.align_down(8); at + 8 <= around.end; at += 8)
        if (auto value = process_.memory.load_address(at); value && *value == table.header) return true;
    return false;
}

}  // namespace incident::detect
