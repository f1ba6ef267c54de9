// Values by rtype. All lengths come from the core and are bounded; text is returned raw, renderers escape it.
#include "go/stacks/values.h"

#include <fmt/format.h>

#include <array>
#include <charconv>
#include <cmath>
#include <cstdlib>

#include "base/byte_reader.h"
#include "go/binary/rtypes.h"

namespace incident::go {

namespace {

constexpr std::uint64_t max_string = 4096;
constexpr std::uint64_t max_fields = 64;
constexpr std::uint64_t max_elements = 8;
constexpr int max_depth = 3;

/// go1.26–1.27 src/internal/strconv/ftoa.go, AppendFloat(v, 'g', -1, bits): as few digits as read back as the same
/// number, an exponent when it is below -4 or above 5.
template <class T>
std::string shortest(T value) {
    std::array<char, 64> text;
    const auto write = [&](std::chars_format format) {
        const auto end = std::to_chars(text.data(), text.data() + text.size(), value, format).ptr;
        return std::string(text.data(), end);
    };
    const std::string scientific = write(std::chars_format::scientific);
    const int exponent = std::atoi(scientific.c_str() + scientific.find('e') + 1);
    return exponent < -4 || exponent > 5 ? scientific : write(std::chars_format::fixed);
}

/// go1.16–1.25 src/runtime/print.go, printfloat: sign, one digit, point, six digits, e, sign, three digits.
std::string of_fixed_width(double value) {
    std::string text = fmt::format("{:+.6e}", value);
    auto e = text.find('e');
    std::string digits = text.substr(e + 2);
    while (digits.size() < 3) digits.insert(digits.begin(), '0');
    return text.substr(0, e + 2) + digits;
}

}  // namespace

template <class T>
std::string runtime_float(T value, const Version& version) {
    if (std::isnan(value)) return "NaN";
    if (std::isinf(value)) return value > 0 ? "+Inf" : "-Inf";
    return version.at_least(26) ? shortest(value) : of_fixed_width(static_cast<double>(value));
}
template std::string runtime_float(float, const Version&);
template std::string runtime_float(double, const Version&);

Kind Values::kind(Address type) const {
    auto byte = StructView(memory_, type).get(runtime_.layout().type.kind);
    if (!byte || (*byte & 0x1f) > static_cast<unsigned>(Kind::unsafe_pointer)) return Kind::invalid;
    return static_cast<Kind>(*byte & 0x1f);
}

bool Values::direct_interface(Address type) const {
    StructView view(memory_, type);
    // kindDirectIface, bit 5 of kind; since 1.26 TFlagDirectIface, bit 5 of tflag.
    if (runtime_.version().at_least(26)) return (view.get(runtime_.layout().type.tflag).value_or(0) & 1 << 5) != 0;
    return (view.get(runtime_.layout().type.kind).value_or(0) & 1 << 5) != 0;
}

std::optional<std::string> Values::string_at(Address header) const {
    auto data = memory_.load_address(header);
    auto length = memory_.load<std::uint64_t>(header + 8);
    if (!data || !length || *length > 1u << 30) return std::nullopt;
    if (*length == 0) return std::string();
    auto bytes = memory_.view(*data, std::min(*length, max_string));
    if (!bytes) return std::nullopt;
    std::string text(reinterpret_cast<const char*>(bytes->data()), bytes->size());
    if (*length > max_string) text += fmt::format("… ({} bytes)", *length);
    return text;
}

std::string Values::type_text(Address type) const {
    return runtime_.type_name(type).value_or(fmt::format("type at {:#x}", type.value));
}

std::string Values::name_at(Address name) const {
    return std::string(read_type_name_at(memory_, runtime_.version(), name).value_or(""));
}

std::vector<Values::FieldOf> Values::fields(Address type) const {
    const auto& layout = runtime_.layout();
    StructView view(memory_, type);
    auto data = view.get(layout.structtype.fields_data);
    auto count = view.get(layout.structtype.fields_len);
    std::vector<FieldOf> result;
    if (!data || !count || *count > max_fields || layout.structfield.size == 0) return result;
    for (std::uint64_t i = 0; i < *count; ++i) {
        StructView field(memory_, *data + i * layout.structfield.size);
        auto name = field.get(layout.structfield.name);
        auto typ = field.get(layout.structfield.typ);
        auto offset = field.get(layout.structfield.offset);
        if (!offset) {
            offset = field.get(layout.structfield.offsetAnon);
            if (offset) *offset >>= 1;
        }
        if (!name || !typ || !offset) break;
        result.push_back({name_at(*name), *typ, *offset});
    }
    return result;
}

bool Values::has_method(Address type, std::string_view name) const {
    const auto& layout = runtime_.layout();
    auto flags = StructView(memory_, type).get(layout.type.tflag);
    const std::uint64_t offset = size_before_uncommon(layout, kind(type));
    if (!flags || (*flags & 1) == 0 || offset == 0) return false;  // tflagUncommon
    StructView uncommon(memory_, type + offset);
    auto count = uncommon.get(layout.uncommontype.xcount);
    auto methods = uncommon.get(layout.uncommontype.moff);
    if (!count || !methods || *count > 4096) return false;
    for (const auto& module : runtime_.modules()) {
        if (!module.types.contains(type)) continue;
        for (unsigned i = 0; i < *count; ++i) {
            auto offset_of_name = memory_.load<std::int32_t>(type + offset + *methods + i * 16ull);
            if (offset_of_name && name_at(module.types.begin + static_cast<std::uint64_t>(*offset_of_name)) == name)
                return true;
        }
    }
    return false;
}

std::string Values::basic(Kind kind, Address at) const {
    auto number = [&]<class T>(T) -> std::string {
        auto value = memory_.load<T>(at);
        if (!value) return "?";
        if constexpr (std::is_floating_point_v<T>) {
            return runtime_float(*value, runtime_.version());
        } else {
            return fmt::format("{}", *value);
        }
    };
    auto complex = [&]<class T>(T) -> std::string {
        auto real = memory_.load<T>(at), imaginary = memory_.load<T>(at + sizeof(T));
        if (!real || !imaginary) return "?";
        std::string second = runtime_float(*imaginary, runtime_.version());
        // go1.26 src/internal/strconv/ctoa.go
        if (runtime_.version().at_least(26) && second.front() != '+' && second.front() != '-')
            second.insert(second.begin(), '+');
        return fmt::format("({}{}i)", runtime_float(*real, runtime_.version()), second);
    };
    switch (kind) {
        case Kind::boolean: {
            auto value = memory_.load<std::uint8_t>(at);
            return !value ? "?" : *value != 0 ? "true" : "false";
        }
        case Kind::int_:
        case Kind::int64: return number(std::int64_t{});
        case Kind::int8: return number(std::int8_t{});
        case Kind::int16: return number(std::int16_t{});
        case Kind::int32: return number(std::int32_t{});
        case Kind::uint:
        case Kind::uint64:
        case Kind::uintptr: return number(std::uint64_t{});
        case Kind::uint8: return number(std::uint8_t{});
        case Kind::uint16: return number(std::uint16_t{});
        case Kind::uint32: return number(std::uint32_t{});
        case Kind::float32: return number(float{});
        case Kind::float64: return number(double{});
        case Kind::complex64: return complex(float{});
        case Kind::complex128: return complex(double{});
        default: return {};
    }
}

std::string Values::value(Address type, Address at, int depth) const {
    const Kind k = kind(type);
    if (std::string text = basic(k, at); !text.empty()) return text;
    auto word = memory_.load<std::uint64_t>(at);
    switch (k) {
        case Kind::string: {
            auto text = string_at(at);
            return text ? '"' + *text + '"' : "?";
        }
        case Kind::struct_: {
            if (depth > max_depth) return "{…}";
            std::string text = "{";
            for (const auto& field : fields(type)) {
                if (text.size() > 1) text += ", ";
                text += field.name + ": " + value(field.type, at + field.offset, depth + 1);
            }
            return text + "}";
        }
        case Kind::array: {
            StructView view(memory_, type);
            auto length = view.get(runtime_.layout().arraytype.len);
            auto elem = view.get(runtime_.layout().arraytype.elem);
            auto size = elem ? StructView(memory_, *elem).get(runtime_.layout().type.size_)
                             : Result<std::uint64_t>(std::unexpected(elem.error()));
            if (!length || !size || depth > max_depth) return "[…]";
            std::string text = "[";
            for (std::uint64_t i = 0; i < std::min(*length, max_elements); ++i)
                text += (i > 0 ? " " : "") + value(*elem, at + i * *size, depth + 1);
            return text + (*length > max_elements ? " …]" : "]");
        }
        case Kind::slice: {
            auto length = memory_.load<std::uint64_t>(at + 8);
            return word && length ? fmt::format("{} of {} at {:#x}", type_text(type), *length, *word) : "?";
        }
        case Kind::interface: {
            if (!word) return "?";
            if (*word == 0) return "nil";
            auto data = memory_.load_address(at + 8);
            StructView view(memory_, type);
            // An interface with methods holds an itab, interface{} the type itself.
            auto methods = view.get(runtime_.layout().interfacetype.methods_len);
            Address dynamic{*word};
            if (methods && *methods > 0) {
                auto from_itab = StructView(memory_, dynamic).get(runtime_.layout().itab.type);
                if (!from_itab) return "?";
                dynamic = *from_itab;
            }
            if (!data) return "?";
            if (auto text = error_text(dynamic, *data, depth + 1)) return '"' + *text + '"';
            if (depth > max_depth || direct_interface(dynamic))
                return fmt::format("({}) {:#x}", type_text(dynamic), data->value);
            return fmt::format("{}({})", type_text(dynamic), value(dynamic, *data, depth + 1));
        }
        case Kind::pointer: {
            if (!word) return "?";
            if (*word == 0) return "nil";
            auto elem = StructView(memory_, type).get(runtime_.layout().ptrtype.elem);
            if (elem && depth < 1 && kind(*elem) == Kind::struct_) return "&" + value(*elem, Address{*word}, depth + 1);
            return fmt::format("{:#x}", *word);
        }
        default: return !word ? "?" : *word == 0 ? "nil" : fmt::format("{:#x}", *word);
    }
}

std::string Values::panic_argument(Address type, Address data, bool* exact) const {
    if (exact != nullptr) *exact = true;
    if (type.is_null()) return "nil";
    const std::string name = type_text(type);
    const Kind k = kind(type);
    if (auto text = error_text(type, data)) return *text;
    if (name == "string") return string_at(data).value_or("(string, unreadable)");
    const bool by_method = has_method(type, "Error") || has_method(type, "String");
    if (exact != nullptr && by_method) *exact = false;
    if (std::string text = basic(k, data); !text.empty()) {
        // Built-in types are printed bare, others with their name: main.Code(7); complex ones bring their own
        // parentheses.
        const bool built_in = name.find('.') == std::string::npos;
        if (built_in || text.starts_with('(')) return built_in ? text : name + text;
        return name + "(" + text + ")";
    }
    if (k == Kind::string) return fmt::format("{}(\"{}\")", name, string_at(data).value_or("?"));
    std::string text = fmt::format("({}) {:#x}", name, data.value);
    if (k == Kind::pointer && !data.is_null()) {
        auto elem = StructView(memory_, type).get(runtime_.layout().ptrtype.elem);
        if (elem && kind(*elem) == Kind::struct_) text += " " + value(*elem, data, 1);
    } else if (k == Kind::struct_ && !direct_interface(type)) {
        text += " " + value(type, data, 1);
    }
    return text;
}

}  // namespace incident::go
