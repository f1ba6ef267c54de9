#include "detect/native_live_tables.h"

#include <algorithm>
#include <string_view>

namespace incident::detect {

namespace {

constexpr std::size_t most_headers = 1 << 20;
constexpr std::size_t most_named = 10000;  // tables whose types are asked for
constexpr std::uint64_t load_factor_offset = 32;
constexpr std::uint64_t single_bucket = 48;

bool has_word(std::string_view text, std::string_view word) {
    const auto of_word = [](char c) {
        return c == '_' || (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z');
    };
    for (auto at = text.find(word); at != text.npos; at = text.find(word, at + 1)) {
        const auto end = at + word.size();
        if ((at == 0 || !of_word(text[at - 1])) && (end == text.size() || !of_word(text[end]))) return true;
    }
    return false;
}

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
        const WordName name = ++named < most_named ? name_of(header) : WordName{};
        if (!table && !name.text.empty())
            table = read_unordered(process_.memory, *process_.malloc, header.at, TableBasis::dwarf);
        if (!table) continue;
        table->name = name.text;
        table->type = name.owner;
        tables_.push_back(std::move(*table));
    }
}

/// "g_worker->map", when DWARF says that a table begins here.
WordName LiveTables::name_of(const LiveMemory::Word& header) const {
    WordName name = names_->name(header);
    if (!name.typed || name.member != "_M_buckets" || !name.owner.starts_with("_Hashtable<")) return {};
    for (std::string_view inner : {"._M_buckets", "->_M_buckets", "._M_h", "->_M_h"})
        if (name.text.ends_with(inner)) name.text.resize(name.text.size() - inner.size());
    return name;
}

const UnorderedTable* LiveTables::of_node(const native::Chunk& chunk,
                                          const std::optional<LiveMemory::Word>& word) const {
    for (const UnorderedTable& table : tables_)
        if (table.node_size == chunk.size && (!word || knows(*word, table))) return &table;
    return nullptr;
}

const UnorderedTable* LiveTables::of_element(const native::Chunk& chunk, const LiveMemory::Word& word,
                                             const WordName& name) const {
    const std::uint64_t offset = word.value - chunk.user.begin.value;
    std::string type = names_->target(word, name);
    type.resize(std::min(type.find('<'), type.size()));
    type.erase(0, type.rfind(':') + 1);  // 0 when there is none
    constexpr std::uint64_t link = 8;    // in front of the element
    if (type.empty() || offset < link || offset % 8 != 0 || offset + size_of(name.pointee) > chunk.user.size())
        return nullptr;
    for (const UnorderedTable& table : tables_)
        if (table.node_size == chunk.size && has_word(table.type, type) &&
            (process_.malloc->freed_last(chunk.address) || knows(word, table)))
            return &table;
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
