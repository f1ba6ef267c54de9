#include "detect/native_names.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "base/text.h"

namespace incident::detect {

namespace {

constexpr unsigned most_steps = 6;  // from the variable to the word

/// "struct conn *" → "conn"; what find_structs knows it by.
std::string pointee(std::string type) {
    while (!type.empty() && (type.back() == '*' || type.back() == '&' || type.back() == ' ')) {
        bool star = type.back() != ' ';
        type.pop_back();
        if (star) break;
    }
    while (!type.empty() && type.back() == ' ') type.pop_back();
    return type;
}

std::string bare(std::string type) {
    for (std::string_view word : {"const ", "volatile ", "struct ", "class ", "union "})
        if (type.starts_with(word)) type.erase(0, word.size());
    return type;
}

}  // namespace

const StructLayout* WordNames::layout(const Image& image, const std::string& type) {
    std::string name = bare(type);
    if (name.empty() || name.ends_with('*')) return nullptr;
    auto key = std::pair(&image, name);
    auto known = layouts_.find(key);
    if (known == layouts_.end()) {
        std::array<std::string, 1> names{name};
        auto found = find_structs(image, names);
        std::optional<StructLayout> row;
        if (!found.empty()) row = std::move(found.begin()->second);
        known = layouts_.emplace(key, std::move(row)).first;
    }
    return known->second ? &*known->second : nullptr;
}

const GlobalVariable* WordNames::global_at(const Image& image, Address a) {
    auto known = globals_.find(&image);
    if (known == globals_.end()) {
        std::vector<GlobalVariable> rows;
        if (image.has_dwarf()) rows = list_globals(image);
        std::ranges::sort(rows, {}, &GlobalVariable::address);
        known = globals_.emplace(&image, std::move(rows)).first;
    }
    auto after = std::ranges::upper_bound(known->second, a, {}, &GlobalVariable::address);
    if (after == known->second.begin()) return nullptr;
    const GlobalVariable& row = *(after - 1);
    return a < row.address + std::max<std::uint64_t>(row.size, 1) ? &row : nullptr;
}

/// The word at `offset` of `base`: of what it points to when `pointer`, else within it.
WordName WordNames::member(const Image& image, const WordName& base, bool pointer, std::uint64_t offset,
                           unsigned depth) {
    std::string type = pointer ? pointee(base.type) : base.type;
    std::string_view arrow = pointer ? "->" : ".";
    WordName name{base.text.empty() ? "" : fmt::format("{}{}+{:#x}", base.text, pointer ? "->" : "", offset), "",
                  false};
    if (base.type.empty() || type.empty() || depth > most_steps) return name;
    if (type.ends_with('*')) {  // an array of pointers
        name.text = fmt::format("{}[{}]", base.text, offset / 8);
        name.type = type;
        name.typed = true;
        return name;
    }
    const StructLayout* row = layout(image, type);
    if (row == nullptr) return name;
    if (row->size > 0 && offset >= row->size && pointer) {
        auto inner = member(image, {fmt::format("{}[{}]", base.text, offset / row->size), type, false}, false,
                            offset % row->size, depth + 1);
        return inner;
    }
    for (const StructMember& field : row->members) {
        if (offset < field.offset || offset >= field.offset + std::max<std::uint64_t>(field.size, 1)) continue;
        WordName inner{fmt::format("{}{}{}", base.text, arrow, field.name), field.type, field.pointer};
        if (field.pointer && offset == field.offset) return inner;
        return member(image, inner, false, offset - field.offset, depth + 1);
    }
    name.type.clear();
    return name;
}

const Image* WordNames::image_of(std::uint32_t chunk) const {
    while (chunk != LiveMemory::no_chunk) {
        const auto& row = live_.chunks()[chunk];
        if (row.parent == LiveMemory::no_chunk) {
            Placement p = locator_.place(row.from);
            return p.image;
        }
        chunk = row.parent;
    }
    return nullptr;
}

LiveMemory::Word WordNames::word_to(std::uint32_t index) const {
    const auto& row = live_.chunks()[index];
    LiveMemory::Word word{.at = row.from, .value = row.user.begin.value};
    if (row.parent != LiveMemory::no_chunk) {
        word.source = LiveMemory::Source::chunk;
        word.chunk = row.parent;
        return word;
    }
    Placement p = row.from.is_null() ? Placement{} : locator_.place(row.from);
    word.source = p.image != nullptr ? LiveMemory::Source::data : LiveMemory::Source::stack;
    word.image = p.image;
    return word;
}

WordName WordNames::object(std::uint32_t chunk) {
    if (live_.chunks()[chunk].depth > most_steps) return {};
    WordName to = name(word_to(chunk));
    if (to.text.empty()) return {};
    return {"*" + to.text, to.typed ? pointee(to.type) : "", false};
}

WordName WordNames::name(const LiveMemory::Word& word) {
    if (word.source == LiveMemory::Source::data && word.image != nullptr) {
        if (const GlobalVariable* variable = global_at(*word.image, word.at)) {
            std::uint64_t offset = word.at.value - variable->address.value;
            if (variable->pointer && offset == 0) return {variable->name, variable->type, true};
            return member(*word.image, {variable->name, variable->type, false}, false, offset, 1);
        }
        return {locator_.symbol(word.at), "", false};
    }
    if (word.source != LiveMemory::Source::chunk) return {};
    const auto& chunk = live_.chunks()[word.chunk];
    if (chunk.depth > most_steps) return {};
    WordName base = name(word_to(word.chunk));
    if (base.text.empty()) return {};
    const Image* image = image_of(word.chunk);
    std::uint64_t offset = word.at.value - chunk.user.begin.value;
    // A pointer into the middle of the chunk (of a base class, of an array's end) names nothing before it.
    auto led = process_.memory.load_address(chunk.from);
    if (image == nullptr || !led || *led != chunk.user.begin) return {};
    return member(*image, base, true, offset, chunk.depth);
}

}  // namespace incident::detect
