#include "native/exceptions.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>

#include "image/image.h"

namespace incident::native {

namespace {

// Offsets from __cxa_exception, behind what libc++abi has in front. Its last member is the _Unwind_Exception of 32
// bytes; the object follows.
constexpr std::uint64_t type_at = 0, next_at = 32, catch_temp_at = 64, class_at = 80, object_at = 112;
constexpr std::uint64_t llvm_lead = 16;          // {void* reserve; size_t referenceCount}
constexpr std::uint64_t static_tls = 256 << 10;  // below fs_base; where thread-local variables of many libraries lie
constexpr std::size_t most_exceptions = 16, longest_name = 4096, longest_text = 1024, most_bases = 64;

/// exception_class is the characters from the top byte on; the lowest byte tells a dependent exception (rethrown by
/// exception_ptr) from a primary one.
constexpr std::uint64_t gnu_class = 0x474e5543432b2b, llvm_class = 0x434c4e47432b2b;  // GNUCC++, CLNGC++

bool is_text(std::string_view text) {
    return std::ranges::all_of(text, [](unsigned char c) { return c >= 0x20 || c == '\n' || c == '\t'; });
}

/// A type's mangled name: "10ParseError"; empty: this is no std::type_info {vptr, const char* name}.
std::string_view type_name(const Memory& memory, Address type) {
    auto name = memory.load_address(type + 8);
    auto text = name ? memory.view_cstring(*name, longest_name) : fail(ErrorKind::absent, "");
    if (!text || text->empty()) return {};
    std::string_view mangled = *text;
    if (mangled.starts_with('*')) mangled.remove_prefix(1);  // compared by address
    bool sound = !mangled.empty() && std::ranges::all_of(mangled, [](unsigned char c) {
        return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || c == '_' || c == '.';
    });
    return sound ? mangled : std::string_view();
}

std::optional<std::string> c_string(const Memory& memory, Address at) {
    auto text = memory.view_cstring(at, 64 << 10);
    if (!text || !is_text(*text)) return std::nullopt;
    return std::string(text->substr(0, longest_text));
}

/// libstdc++'s std::string {char* data; size_t size; union {char local[16]; size_t capacity;}}.
std::optional<std::string> cxx_string(const Memory& memory, Address at) {
    auto data = memory.load_address(at);
    auto size = memory.load<std::uint64_t>(at + 8), capacity = memory.load<std::uint64_t>(at + 16);
    if (!data || !size || !capacity || *size > 64 << 10) return std::nullopt;
    if (*data == at + 16 ? *size > 15 : *capacity < *size || *capacity > std::uint64_t{1} << 40) return std::nullopt;
    auto bytes = memory.view(*data, *size + 1);
    if (!bytes || bytes->back() != std::byte{0}) return std::nullopt;
    std::string_view text(reinterpret_cast<const char*>(bytes->data()), *size);
    if (!is_text(text)) return std::nullopt;
    return std::string(text.substr(0, longest_text));
}

/// Looks for `wanted` among the type and its bases and calls `found` with the place of that subobject. By structure:
/// __si_class_type_info has its one base at +16, __vmi_class_type_info flags and a count there, then {base, offset}.
class Bases {
public:
    explicit Bases(const Memory& memory) : memory_(memory) {}

    template <class Wanted>
    std::optional<Address> find(Address type, Address object, Wanted wanted) {
        auto name = type_name(memory_, type);
        if (name.empty() || ++visited_ > most_bases) return std::nullopt;
        if (wanted(name)) return object;
        auto word = memory_.load_address(type + 16);
        if (!word) return std::nullopt;
        if (!type_name(memory_, *word).empty()) return find(*word, object, wanted);
        const auto count = word->value >> 32;
        constexpr std::uint64_t most_direct = 16;
        if ((word->value & 0xffffffff) > 3 || count == 0 || count > most_direct) return std::nullopt;
        for (std::uint64_t i = 0; i < count; ++i) {
            auto base = memory_.load_address(type + 24 + 16 * i);
            auto offset_flags = memory_.load<std::int64_t>(type + 32 + 16 * i);
            if (!base || !offset_flags) return std::nullopt;
            if (*offset_flags & 1) continue;  // a virtual base: its offset stands in the vtable
            if (auto at = find(*base, object + static_cast<std::uint64_t>(*offset_flags >> 8), wanted)) return at;
        }
        return std::nullopt;
    }

private:
    const Memory& memory_;
    std::size_t visited_ = 0;
};

template <class T>
std::string number(const Memory& memory, Address at) {
    auto value = memory.load<T>(at);
    return value ? fmt::format("{}", *value) : std::string();
}

/// Objects that are no classes, by their mangled type.
std::optional<std::string> plain_value(const Memory& memory, std::string_view type, Address object) {
    if (type == "i") return number<std::int32_t>(memory, object);
    if (type == "j") return number<std::uint32_t>(memory, object);
    if (type == "l" || type == "x") return number<std::int64_t>(memory, object);
    if (type == "m" || type == "y") return number<std::uint64_t>(memory, object);
    if (type == "d") return number<double>(memory, object);
    if (type == "b") return number<bool>(memory, object);
    if (type == "PKc" || type == "Pc") {
        auto text = memory.load_address(object);
        return text ? c_string(memory, *text) : std::nullopt;
    }
    if (type == "NSt7__cxx1112basic_stringIcSt11char_traitsIcESaIcEEE") return cxx_string(memory, object);
    return std::nullopt;
}

std::string demangled_type(std::string_view mangled) {
    constexpr std::string_view prefix = "typeinfo name for ";
    std::string text = demangle(fmt::format("_ZTS{}", mangled));
    return text.starts_with(prefix) ? text.substr(prefix.size()) : std::string(mangled);
}

}  // namespace

std::string exception_text(const Memory& memory, Address type, Address object) {
    auto name = type_name(memory, type);
    if (name.empty()) return {};
    if (auto value = plain_value(memory, name, object)) return *value;
    // Both families hold a pointer to their text behind the vptr (libstdc++'s __cow_string, libc++'s __refstring).
    auto family = Bases(memory).find(
        type, object, [](std::string_view base) { return base == "St13runtime_error" || base == "St11logic_error"; });
    if (family) {
        auto text = memory.load_address(*family + 8);
        return text ? c_string(memory, *text).value_or("") : std::string();
    }
    // Classes derived from std::exception itself keep what they say in a string of their own, first of all members.
    auto exception = Bases(memory).find(type, object, [](std::string_view base) { return base == "St9exception"; });
    return exception ? cxx_string(memory, *exception + 8).value_or("") : std::string();
}

std::vector<CxxException> handled_exceptions(const Memory& memory, const ThreadState& thread) {
    std::vector<CxxException> found;
    auto base = thread.registers.get("fs_base");
    if (!base || *base % 8 != 0 || *base <= static_tls) return found;
    /// What lies in front of the members that both runtimes have; nullopt: no header is there.
    auto lead_of = [&](Address at) -> std::optional<std::uint64_t> {
        auto gnu = memory.load<std::uint64_t>(at + class_at),
             llvm = memory.load<std::uint64_t>(at + llvm_lead + class_at);
        if (gnu && *gnu >> 8 == gnu_class) return 0;
        if (llvm && *llvm >> 8 == llvm_class) return llvm_lead;
        return std::nullopt;
    };
    // __cxa_eh_globals {__cxa_exception* caught; unsigned uncaught}: nearest to the descriptor first.
    MemoryCursor cursor(memory);
    Address at{};
    std::uint64_t word = 0;
    for (Address slot{*base - 8}; slot.value >= *base - static_tls && cursor.load(slot, word); slot.value -= 8)
        if (word % 8 == 0 && word != 0 && lead_of(Address{word})) {
            at = Address{word};
            break;
        }
    while (!at.is_null() && found.size() < most_exceptions) {
        const auto lead = lead_of(at);
        if (!lead || std::ranges::any_of(found, [&](auto& e) { return e.header == at; })) break;
        const Address header = at + *lead;
        CxxException exception{.header = at, .object = header + object_at, .type = {}, .text = {}, .handled = false};
        // A dependent exception holds the primary object's address: libstdc++'s where that one's type stands,
        // libc++abi's where that one counts its references.
        auto kind = memory.load<std::uint64_t>(header + class_at);
        auto first = memory.load_address(header + type_at);
        if (kind && (*kind & 0xff) == 1) {
            auto primary = *lead == 0 ? first : memory.load_address(header - 8);
            if (!primary) break;
            exception.object = *primary;
            first = memory.load_address(*primary - object_at + type_at);
        }
        auto name = first ? type_name(memory, *first) : std::string_view();
        if (name.empty()) break;
        exception.type = demangled_type(name);
        exception.text = exception_text(memory, *first, exception.object);
        // catchTemp is the landing pad once one was found, also that of the default terminate handler, which throws
        // the exception again and catches it to print what it says.
        exception.handled = memory.load<std::uint64_t>(header + catch_temp_at).value_or(0) != 0;
        found.push_back(std::move(exception));
        at = memory.load_address(header + next_at).value_or(Address{});
    }
    return found;
}

}  // namespace incident::native
