// Naming the word that holds an address.
#include "process/holder.h"

#include <algorithm>

#include <fmt/format.h>

#include "base/text.h"

namespace incident {

namespace {

std::string with_offset(std::string name, std::uint64_t offset) {
    return offset == 0 ? std::move(name) : fmt::format("{}+{:#x}", name, offset);
}

const go::AddressWord* word_at(const Boxed::Type& type, std::uint64_t offset) {
    auto found = std::ranges::lower_bound(type.words, offset, {}, &go::AddressWord::offset);
    return found != type.words.end() && found->offset == offset ? &*found : nullptr;
}

/// The boxed object that covers the word.
const BoxedObject* boxed_at(const Boxed& boxed, Address word) {
    auto after = std::ranges::upper_bound(boxed.objects, word, {}, &BoxedObject::object);
    if (after == boxed.objects.begin()) return nullptr;
    const BoxedObject& object = *(after - 1);
    return word < object.object + boxed.types[object.type].rtype.size ? &object : nullptr;
}

/// "main.theHolder" out of "data: *main.theHolder+0x8" would be guessing: the symbol is asked for at the base.
std::string own_symbol(const Locator& locator, Address base) {
    std::string symbol = locator.symbol(base);
    // A statically initialised struct has a made-up name; who points to it says more: "*main.theHolder".
    if (symbol.starts_with('*')) symbol.erase(0, 1);
    if (symbol.find("..stmp_") != std::string::npos || symbol.starts_with('.')) return {};
    return symbol;
}

/// Splits "main.blob+0x8" into the name and the offset.
std::uint64_t take_offset(std::string& symbol) {
    auto plus = symbol.rfind("+0x");
    if (plus == std::string::npos) return 0;
    std::uint64_t offset = std::strtoull(symbol.c_str() + plus + 3, nullptr, 16);
    symbol.resize(plus);
    return offset;
}

}  // namespace

Holder find_holder(const Locator& locator, const Boxed* boxed, Address word) {
    Holder holder;
    holder.word = holder.base = word;
    const Placement place = locator.place(word);
    holder.place = locator.describe(place);
    if (boxed != nullptr)
        if (const BoxedObject* object = boxed_at(*boxed, word)) {
            const Boxed::Type& type = boxed->types[object->type];
            holder.base = object->object;
            holder.type = type.rtype.name;
            const auto offset = static_cast<std::uint64_t>(word - holder.base);
            if (const go::AddressWord* field = word_at(type, offset)) holder.field = field->path;
            holder.evidence.push_back(
                {fmt::format("an interface value says that {:#x} is a {}", holder.base.value, holder.type),
                 object->named_by, "", "core", "interface value"});
        }
    switch (place.kind) {
        case PlaceKind::image: {
            std::string symbol = own_symbol(locator, holder.base);
            if (const std::uint64_t offset = take_offset(symbol); offset != 0 && !symbol.empty()) {
                if (holder.type.empty()) holder.base = word - offset;
            }
            holder.symbol = std::move(symbol);
            break;
        }
        case PlaceKind::go_object:
            if (holder.type.empty()) {
                holder.base = place.object.base;
                if (auto& context = locator.context(); context.object_type)
                    holder.type = context.object_type(place.object);
            }
            break;
        case PlaceKind::go_stack:
            holder.name = fmt::format("goroutine {}", place.goroutine.value_or(0));
            if (place.frame) {
                const Address bp = place.frame->cfa - 16;
                holder.symbol = place.frame->name();
                holder.name += fmt::format(", {}, bp{}{:#x}", holder.symbol, word < bp ? '-' : '+',
                                           word < bp ? bp.value - word.value : word.value - bp.value);
            }
            return holder;
        default: break;
    }
    const auto offset = static_cast<std::uint64_t>(word - holder.base);
    const std::string field = !holder.field.empty() ? "." + holder.field : std::string{};
    if (!holder.symbol.empty())
        holder.name = field.empty() ? with_offset(holder.symbol, offset) : holder.symbol + field;
    else if (!holder.type.empty())
        holder.name = fmt::format("{} of the {} at {:#x}",
                                  holder.field.empty() ? fmt::format("word {:#x}", offset) : "field " + holder.field,
                                  holder.type, holder.base.value);
    else
        holder.name = fmt::format("the word {:#x}", word.value);
    return holder;
}

}  // namespace incident
