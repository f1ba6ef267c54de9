#include "detect/native_names.h"

#include <fmt/format.h>

#include <algorithm>

namespace incident::detect {

namespace {

constexpr unsigned most_steps = 6;  // from the variable to the word

WordName from_place(std::string text, const std::optional<TypedPlace>& place) {
    WordName name{.text = std::move(text)};
    if (!place) return name;
    name.typed = place->pointer && place->offset == 0;
    if (place->offset == 0) name.type = place->type;
    name.pointee = place->pointee;
    name.owner = place->owner;
    name.member = place->member;
    name.element = place->element;
    name.index = place->index;
    name.count = place->count;
    return name;
}

}  // namespace

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
    const Image* image = to.typed ? image_of(chunk) : nullptr;
    return {.text = "*" + to.text, .type = image != nullptr ? name_of(*image, to.pointee) : "", .pointee = to.pointee};
}

WordName WordNames::name(const LiveMemory::Word& word) {
    if (word.source == LiveMemory::Source::data && word.image != nullptr) {
        const GlobalVariable* variable = global_at(*word.image, word.at);
        if (variable == nullptr) return {.text = locator_.symbol(word.at)};
        const std::uint64_t offset = word.at.value - variable->address.value;
        auto place = place_in(variable->ref, offset);
        return from_place(place ? variable->name + place->path : fmt::format("{}+{:#x}", variable->name, offset),
                          place);
    }
    if (word.source != LiveMemory::Source::chunk) return {};
    const auto& chunk = live_.chunks()[word.chunk];
    if (chunk.depth > most_steps) return {};
    WordName base = name(word_to(word.chunk));
    if (base.text.empty()) return {};
    const Image* image = image_of(word.chunk);
    const std::uint64_t offset = word.at.value - chunk.user.begin.value;
    // A pointer into the middle of the chunk (of a base class, of an array's end) names nothing before it.
    auto led = process_.memory.load_address(chunk.from);
    if (image == nullptr || !led || *led != chunk.user.begin) return {};
    const std::uint64_t size = base.typed ? size_of(base.pointee) : 0;
    if (size == 0) return {.text = fmt::format("{}->+{:#x}", base.text, offset)};
    auto place = place_in(base.pointee, offset % size);
    const bool array = offset >= size || is_pointer(base.pointee);
    std::string text = array ? fmt::format("{}[{}]", base.text, offset / size) : base.text;
    if (!place) return {.text = fmt::format("{}->+{:#x}", base.text, offset)};
    if (!array && place->path.starts_with('.'))
        text.append("->").append(place->path, 1);
    else
        text += place->path;
    WordName name = from_place(std::move(text), place);
    if (array && place->path.empty()) {
        name.element = true;
        name.index = offset / size;
        name.count = chunk.user.size() / size;
    }
    return name;
}

report::Mark WordNames::mark(const LiveMemory::Word& word) {
    report::Mark mark;
    mark.holder = name(word).text;
    // The linker's ends of sections name no variable, and they are all that a stripped executable exports.
    std::string_view symbol = mark.holder;
    if (symbol.starts_with('*')) symbol.remove_prefix(1);
    for (std::string_view end : {"_edata", "_end", "__bss_start", "__data_start"})
        if (symbol == end || (symbol.starts_with(end) && symbol.find_first_of("+-[", end.size()) == end.size()))
            mark.holder.clear();
    if (word.source == LiveMemory::Source::chunk) {
        const AddressRange chunk = live_.chunks()[word.chunk].user;
        mark.shape = fmt::format("+{:#x} in a {} B chunk", word.at - chunk.begin, chunk.size());
    } else if (word.source == LiveMemory::Source::data) {
        mark.shape = "a variable";
    }
    return mark;
}

}  // namespace incident::detect
