// Values of variables. Type names decide, since they are all that DWARF's reader hands on and all that a person sees; a
// name that we do not know shows as hex, never as a guess.
#include "process/snapshot_values.h"

#include <algorithm>
#include <bit>

#include <fmt/format.h>

#include "base/text.h"
#include "go/binary/rtypes.h"

namespace incident {

namespace {

constexpr std::size_t shown_text = 48;  // bytes of a string

enum class Scalar : std::uint8_t { none, integer, natural, boolean, real, address };

Scalar scalar_of(std::string_view type, bool pointer) {
    if (pointer || type == "uintptr" || type == "unsafe.Pointer" || type == "uintptr_t" || type == "intptr_t")
        return Scalar::address;
    if (type == "bool" || type == "_Bool") return Scalar::boolean;
    if (type == "float32" || type == "float64" || type == "float" || type == "double") return Scalar::real;
    if (type.starts_with("uint") || type == "byte" || type == "size_t" || type.starts_with("unsigned") ||
        type.starts_with("long unsigned") || type.starts_with("short unsigned") ||
        type.starts_with("long long unsigned"))
        return Scalar::natural;
    if (type.starts_with("int") || type == "rune" || type == "long" || type.starts_with("long int") ||
        type.starts_with("short") || type == "char" || type == "signed char" || type == "ssize_t" ||
        type.starts_with("long long"))
        return Scalar::integer;
    return Scalar::none;
}

std::string scalar_text(Scalar scalar, std::uint64_t value, std::uint64_t size) {
    unsigned bits = size >= 1 && size < 8 ? static_cast<unsigned>(size) * 8 : 64;
    if (bits < 64) value &= (std::uint64_t{1} << bits) - 1;
    switch (scalar) {
        case Scalar::boolean: return value == 0 ? "false" : value == 1 ? "true" : hex(value);
        case Scalar::integer: return std::to_string(static_cast<std::int64_t>(value << (64 - bits)) >> (64 - bits));
        case Scalar::natural: return std::to_string(value);
        case Scalar::real:
            return bits == 32 ? fmt::format("{}", std::bit_cast<float>(static_cast<std::uint32_t>(value)))
                              : fmt::format("{}", std::bit_cast<double>(value));
        case Scalar::none: return value < 4096 ? std::to_string(value) : hex(value);  // enumerations, named numbers
        case Scalar::address: break;
    }
    return hex(value);
}

bool printable(std::string_view text) {
    return std::ranges::all_of(
               text, [](char c) { return static_cast<unsigned char>(c) >= 0x20 || c == '\n' || c == '\t'; }) &&
           is_valid_utf8(text);
}

bool show_string(const Locator& locator, Address at, report::Slot& slot) {
    const Memory& memory = locator.context().memory;
    auto data = memory.load_address(at);
    auto length = memory.load<std::uint64_t>(at + 8);
    if (!data || !length) return false;
    slot.points_to = locator.describe(*data);
    if (*length == 0)
        slot.value = "\"\"";
    else if (auto text = quoted_text(memory, *data, *length))
        slot.value = *length > shown_text ? fmt::format("{} (len {})", *text, *length) : *text;
    else
        slot.value = fmt::format("{} len {}", hex(data->value), *length);
    if (*length == 0) slot.points_to.clear();
    return true;
}

bool show_slice(const Locator& locator, Address at, report::Slot& slot) {
    const Memory& memory = locator.context().memory;
    auto data = memory.load_address(at);
    auto length = memory.load<std::int64_t>(at + 8), capacity = memory.load<std::int64_t>(at + 16);
    if (!data || !length || !capacity) return false;
    if (data->is_null() && *length == 0 && *capacity == 0) {
        slot.value = "nil";
        return true;
    }
    slot.value = fmt::format("{} len {} cap {}", hex(data->value), *length, *capacity);
    if (*length > *capacity || *length < 0) slot.value += " (impossible)";
    slot.points_to = locator.describe(*data);
    return true;
}

/// An interface names its dynamic type in the first word: *_type (any), or *itab with the type at +8.
bool show_interface(const Locator& locator, Address at, report::Slot& slot) {
    const auto& context = locator.context();
    auto word = context.memory.load_address(at), data = context.memory.load_address(at + 8);
    if (!word || !data || context.runtime == nullptr) return false;
    bool empty = slot.type == "interface {}" || slot.type == "any";
    if (word->is_null() && data->is_null() && (empty || slot.type == "error" || slot.type.starts_with("interface"))) {
        slot.value = "nil";
        return true;
    }
    std::optional<std::string> type;
    if (!empty)
        if (auto of_itab = context.memory.load_address(*word + 8)) type = context.runtime->type_name(*of_itab);
    if (!type) type = context.runtime->type_name(*word);
    if (!type) return false;
    slot.value = fmt::format("({}) {}", escape_for_terminal(*type), hex(data->value));
    slot.points_to = locator.describe(*data);
    return true;
}

}  // namespace

std::optional<std::string> quoted_text(const Memory& memory, Address a, std::optional<std::uint64_t> length) {
    std::string_view text;
    bool cut = false;
    if (length) {
        std::size_t shown = static_cast<std::size_t>(std::min<std::uint64_t>(*length, shown_text));
        const std::byte* bytes = memory.data_at(a, shown);
        if (bytes == nullptr) return std::nullopt;
        text = {reinterpret_cast<const char*>(bytes), shown};
        cut = *length > shown;
        // A cut may fall inside a UTF-8 sequence.
        for (int i = 0; cut && i < 3 && !text.empty() && !is_valid_utf8(text); ++i) text.remove_suffix(1);
    } else {
        auto found = memory.view_cstring(a, 256);
        if (!found) return std::nullopt;
        text = found->substr(0, shown_text);
        cut = found->size() > shown_text;
    }
    if (text.empty() || !printable(text)) return std::nullopt;
    return fmt::format("\"{}{}\"", escape_for_terminal(text), cut ? "…" : "");
}

void describe_pointer(const Locator& locator, std::uint64_t value, report::Slot& slot) {
    slot.value = hex(value);
    slot.points_to = locator.describe(Address{value});
}

void describe_variable(const Locator& locator, const Variable& variable, report::Slot& slot) {
    const Memory& memory = locator.context().memory;
    slot.name = escape_for_terminal(variable.name);
    slot.type = escape_for_terminal(go::as_written(variable.type));
    slot.by = "dwarf";
    Scalar scalar = scalar_of(variable.type, variable.pointer);
    if (variable.value) {
        if (scalar == Scalar::address) {
            slot.value = hex(*variable.value);
            // An integer that may be an address is remarked on only when it is one; a typed pointer always.
            slot.points_to =
                variable.pointer ? locator.describe(Address{*variable.value}) : locator.points_to(*variable.value);
            if (variable.type == "char *" || variable.type == "const char *")
                if (auto text = quoted_text(memory, Address{*variable.value}, std::nullopt)) slot.value += " " + *text;
        } else {
            slot.value = scalar_text(scalar, *variable.value, variable.size);
        }
        return;
    }
    if (!variable.address) {
        slot.value = variable.place;
        return;
    }
    bool done = false;
    if (variable.type == "string" && variable.size == 16)
        done = show_string(locator, *variable.address, slot);
    else if (variable.type.starts_with("[]") && variable.size == 24)
        done = show_slice(locator, *variable.address, slot);
    else if (variable.size == 16)
        done = show_interface(locator, *variable.address, slot);
    if (done) return;
    if (variable.size == 0) return;
    slot.value = fmt::format("{{{} B}}", variable.size);
    if (!memory.load<std::uint8_t>(*variable.address)) slot.value.clear();  // unreadable
}

}  // namespace incident
