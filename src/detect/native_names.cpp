#include "detect/native_names.h"

#include <fmt/format.h>

#include <algorithm>
#include <span>

namespace incident::detect {

namespace {

constexpr unsigned most_named = 6;  // steps from the variable that a name spells out
constexpr unsigned most_steps = 4096;
constexpr std::size_t most_leads = 1 << 20;

/// "g_head->next->…" of "g_head->next->next->next->next->next->next".
std::string shortened(std::string_view text) {
    constexpr std::string_view cut = "->…";
    const auto at = text.find("->", text.find("->") + 2);
    return text.contains(cut) || at == text.npos ? std::string(text.substr(0, text.find(cut) + cut.size()))
                                                 : std::string(text.substr(0, at)).append(cut);
}

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

/// The variable of `image` around `a`; what `list` gives is kept in `known`, by address.
const GlobalVariable* around(std::map<const Image*, std::vector<GlobalVariable>>& known, const auto& list,
                             const Image& image, Address a) {
    auto [at, fresh] = known.try_emplace(&image);
    auto& rows = at->second;
    if (fresh && image.has_dwarf()) {
        rows = list();
        std::ranges::sort(rows, {}, &GlobalVariable::address);
    }
    const auto after = std::ranges::upper_bound(rows, a, {}, &GlobalVariable::address);
    if (after == rows.begin()) return nullptr;
    const GlobalVariable& row = *(after - 1);
    return a < row.address + std::max<std::uint64_t>(row.size, 1) ? &row : nullptr;
}

/// The pointer to a vector's array, behind which the pointer to its end stands: libstdc++'s, libc++'s.
bool begins_vector(const WordName& pointer) {
    return pointer.typed && ((pointer.member == "_M_start" && pointer.owner.starts_with("_Vector_impl")) ||
                             (pointer.member == "__begin_" && pointer.owner.starts_with("vector<")));
}

}  // namespace

const GlobalVariable* WordNames::global_at(const Image& image, Address a) {
    const GlobalVariable* global = around(globals_, [&] { return list_globals(image); }, image, a);
    // Of functions: they are looked for when a word is in none of the others.
    return global != nullptr ? global : around(statics_, [&] { return list_local_statics(image); }, image, a);
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
    const auto& [to, image] = lead(chunk);
    if (to.text.empty()) return {};
    return {.text = "*" + to.text,
            .type = to.typed && image != nullptr ? name_of(*image, to.pointee) : "",
            .pointee = to.pointee};
}

const WordNames::Lead& WordNames::lead(std::uint32_t chunk) {
    static const Lead unknown;
    // Lists are long: from the first chunk that is known already, not by recursion.
    std::vector<std::uint32_t> way;
    for (std::uint32_t at = chunk; at != LiveMemory::no_chunk && !leads_.contains(at); at = live_.chunks()[at].parent) {
        if (way.size() == most_steps || leads_.size() + way.size() >= most_leads) return unknown;
        way.push_back(at);
    }
    for (; !way.empty(); way.pop_back()) {
        const std::uint32_t at = way.back(), parent = live_.chunks()[at].parent;
        const LiveMemory::Word word = word_to(at);
        Lead lead;
        if (parent == LiveMemory::no_chunk) {
            lead = {name(word), word.image};
        } else {
            const Lead& before = leads_.at(parent);
            lead = {in_chunk(word, before), before.image};
            if (live_.chunks()[at].depth > most_named) lead.name.text = shortened(lead.name.text);
        }
        leads_.emplace(at, std::move(lead));
    }
    return leads_.at(chunk);
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
    return word.source == LiveMemory::Source::chunk ? in_chunk(word, lead(word.chunk)) : WordName{};
}

WordName WordNames::in_chunk(const LiveMemory::Word& word, const Lead& lead) const {
    const WordName& base = lead.name;
    if (base.text.empty()) return {};
    const auto& chunk = live_.chunks()[word.chunk];
    const std::uint64_t offset = word.at.value - chunk.user.begin.value;
    // A pointer into the middle of the chunk (of a base class, of an array's end) names nothing before it.
    auto led = process_.memory.load_address(chunk.from);
    if (lead.image == nullptr || !led || *led != chunk.user.begin) return {};
    const std::uint64_t size = base.typed ? size_of(base.pointee) : 0;
    if (size == 0) return {.text = fmt::format("{}->+{:#x}", base.text, offset), .spare = base.spare};
    std::uint64_t in_use = 0;
    if (begins_vector(base)) {
        auto end = process_.memory.load_address(chunk.from + 8);
        if (!end || *end < chunk.user.begin || *end > chunk.user.end || word.at >= *end)
            return {.text = fmt::format("{}[{}]", base.text, offset / size), .spare = true};
        in_use = (*end - chunk.user.begin) / size;
    }
    auto place = place_in(base.pointee, offset % size);
    const bool array = in_use > 0 || offset >= size || is_pointer(base.pointee);
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
        name.in_use = in_use;
    }
    if (!array) name.object = base.pointee;
    return name;
}

const Image* WordNames::image_of(const LiveMemory::Word& word) {
    return word.source == LiveMemory::Source::chunk ? lead(word.chunk).image : word.image;
}

std::string WordNames::target(const LiveMemory::Word& word, const WordName& name) {
    const Image* image = name.typed ? image_of(word) : nullptr;
    return image != nullptr ? name_of(*image, name.pointee) : std::string();
}

bool WordNames::in_counted_array(const LiveMemory::Word& word) {
    if (word.source != LiveMemory::Source::chunk) return false;
    const std::uint64_t size = size_of(lead(word.chunk).name.pointee);
    return size > 0 && (word.at - live_.chunks()[word.chunk].user.begin) / size < counted(word.chunk);
}

std::uint64_t WordNames::counted(std::uint32_t chunk) {
    auto [known, fresh] = counted_.try_emplace(chunk, 0);
    if (!fresh) return known->second;
    const Lead& to = lead(chunk);
    const LiveMemory::Word pointer = word_to(chunk);
    const std::uint64_t size = to.name.typed && !to.name.member.empty() ? size_of(to.name.pointee) : 0;
    if (size == 0 || to.name.spare) return 0;
    TypeRef type = to.name.object;
    Address object;
    if (pointer.source == LiveMemory::Source::chunk) {
        object = live_.chunks()[pointer.chunk].user.begin;
    } else if (const GlobalVariable* variable = to.image != nullptr ? global_at(*to.image, pointer.at) : nullptr) {
        type = variable->ref;
        object = variable->address;
    }
    if (!type) return 0;
    constexpr std::uint64_t reach = 64;  // bytes on each side
    const std::uint64_t at = pointer.at - object, end = std::min(size_of(type), at + reach);
    std::uint64_t least = live_.chunks()[chunk].user.size() / size + 1;
    for (std::uint64_t offset = at < reach ? 0 : at - reach; offset + 4 <= end; offset += 4) {
        const auto place = place_in(type, offset);
        if (!place || place->offset != 0 || place->element || place->owner != to.name.owner ||
            (place->integer != 4 && place->integer != 8))
            continue;
        std::uint64_t value = 0;
        if (!process_.memory.load(object + offset, std::as_writable_bytes(std::span(&value, 1)).first(place->integer)))
            return 0;
        least = std::min(least, value);
    }
    // More than there is room for is no count of these; of none that fits nothing is known.
    known->second = least > live_.chunks()[chunk].user.size() / size ? 0 : least;
    return known->second;
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
