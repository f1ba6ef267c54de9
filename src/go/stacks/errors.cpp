// Error() of the errors that programs panic with most, from their fields: the runtime's own, errors.New, fmt.Errorf and
// a few of the standard library's structs.
#include <fmt/format.h>

#include <array>

#include "go/stacks/values.h"

namespace incident::go {

namespace {

constexpr int max_error_depth = 16;  // wrapped errors wrap errors

/// strconv.Quote for what numbers look like; other bytes are left to the renderer.
std::string quoted(const std::string& text) {
    std::string out = "\"";
    for (char c : text) {
        if (c == '"' || c == '\\') out += '\\';
        out += c;
    }
    return out + "\"";
}

}  // namespace

/// Error() of the error interface at `at`; "<nil>" as fmt prints a nil one.
std::optional<std::string> Values::interface_error(Address at, int depth) const {
    auto itab = memory_.load_address(at);
    auto data = memory_.load_address(at + 8);
    if (!itab || !data) return std::nullopt;
    if (itab->is_null()) return "<nil>";
    auto type = StructView(memory_, *itab).get(runtime_.layout().itab.type);
    if (!type) return std::nullopt;
    return error_text(*type, *data, depth + 1);
}

std::string Values::bounds_error(Address at) const {
    // go1.27 src/runtime/error.go, boundsErrorFmts; x int64, y int, signed bool, code uint8.
    struct Words {
        std::string_view both, negative;
    };
    static constexpr std::array<Words, 9> words = {{
        {"index out of range [%x] with length %y", "index out of range [%x]"},
        {"slice bounds out of range [:%x] with length %y", "slice bounds out of range [:%x]"},
        {"slice bounds out of range [:%x] with capacity %y", "slice bounds out of range [:%x]"},
        {"slice bounds out of range [%x:%y]", "slice bounds out of range [%x:]"},
        {"slice bounds out of range [::%x] with length %y", "slice bounds out of range [::%x]"},
        {"slice bounds out of range [::%x] with capacity %y", "slice bounds out of range [::%x]"},
        {"slice bounds out of range [:%x:%y]", "slice bounds out of range [:%x:]"},
        {"slice bounds out of range [%x:%y:]", "slice bounds out of range [%x::]"},
        {"cannot convert slice with length %y to array or pointer to array with length %x",
         "cannot convert slice with length %y to array or pointer to array with length %x"},
    }};
    auto x = memory_.load<std::int64_t>(at);
    auto y = memory_.load<std::int64_t>(at + 8);
    auto is_signed = memory_.load<std::uint8_t>(at + 16);
    auto code = memory_.load<std::uint8_t>(at + 17);
    if (!x || !y || !is_signed || !code || *code >= words.size()) return "runtime error: bounds (unreadable)";
    std::string text = "runtime error: ";
    std::string_view format = *is_signed != 0 && *x < 0 ? words[*code].negative : words[*code].both;
    // Go 1.17–1.19 said "cannot convert slice with length %x to pointer to array with length %y".
    if (*code == 8 && !runtime_.version().at_least(20))
        format = "cannot convert slice with length %x to pointer to array with length %y";
    for (std::size_t i = 0; i < format.size(); ++i) {
        if (format[i] != '%') {
            text += format[i];
        } else if (format[++i] == 'x') {
            text += *is_signed != 0 ? fmt::format("{}", *x) : fmt::format("{}", static_cast<std::uint64_t>(*x));
        } else {
            text += fmt::format("{}", *y);
        }
    }
    return text;
}

std::string Values::type_assertion_error(Address at) const {
    // {_interface, concrete, asserted *_type; missingMethod string}
    auto type_at = [&](std::uint64_t offset) { return memory_.load_address(at + offset).value_or(Address{}); };
    const Address interface = type_at(0), concrete = type_at(8), asserted = type_at(16);
    const std::string missing = string_at(at + 24).value_or("");
    const std::string inter = interface.is_null() ? "interface" : type_text(interface);
    const std::string as = type_text(asserted);
    if (concrete.is_null()) return "interface conversion: " + inter + " is nil, not " + as;
    const std::string cs = type_text(concrete);
    if (!missing.empty()) return "interface conversion: " + cs + " is not " + as + ": missing method " + missing;
    std::string text = "interface conversion: " + inter + " is " + cs + ", not " + as;
    if (cs == as) text += " (types from different scopes)";
    return text;
}

std::optional<std::string> Values::error_text(Address type, Address data, int depth) const {
    if (depth > max_error_depth || type.is_null()) return std::nullopt;
    auto name = runtime_.type_name(type);
    if (!name) return std::nullopt;
    auto text_at = [&](std::uint64_t offset) { return string_at(data + offset); };
    auto prefixed = [&](std::string_view prefix, std::optional<std::string> text) -> std::optional<std::string> {
        if (!text) return std::nullopt;
        return std::string(prefix) + *text;
    };
    if (*name == "runtime.errorString" || *name == "runtime.errorAddressString")
        return prefixed("runtime error: ", text_at(0));
    if (*name == "runtime.plainError") return text_at(0);
    if (*name == "runtime.boundsError") return bounds_error(data);
    if (*name == "*runtime.TypeAssertionError") return type_assertion_error(data);
    if (*name == "*runtime.PanicNilError") return "panic called with nil argument (use GODEBUG=panicnil=1 to disable)";
    if (*name == "*errors.errorString" || *name == "*fmt.wrapError" || *name == "*fmt.wrapErrors") return text_at(0);
    if (*name == "context.deadlineExceededError") return "context deadline exceeded";
    if (*name == "*errors.joinError") {
        auto errors = memory_.load_address(data);
        auto count = memory_.load<std::uint64_t>(data + 8);
        if (!errors || !count || *count > 64) return std::nullopt;
        std::string joined;
        for (std::uint64_t i = 0; i < *count; ++i) {
            auto text = interface_error(*errors + i * 16, depth);
            if (!text) return std::nullopt;
            joined += (i > 0 ? "\n" : "") + *text;
        }
        return joined;
    }
    if (*name == "*strconv.NumError") {  // {Func, Num string; Err error}
        auto func = text_at(0), number = text_at(16), error = interface_error(data + 32, depth);
        if (!func || !number || !error) return std::nullopt;
        return "strconv." + *func + ": parsing " + quoted(*number) + ": " + *error;
    }
    if (*name == "*io/fs.PathError" || *name == "*os.PathError") {  // {Op, Path string; Err error}
        auto op = text_at(0), path = text_at(16), error = interface_error(data + 32, depth);
        if (!op || !path || !error) return std::nullopt;
        return *op + " " + *path + ": " + *error;
    }
    if (*name == "*os.SyscallError") {  // {Syscall string; Err error}
        auto call = text_at(0), error = interface_error(data + 16, depth);
        if (!call || !error) return std::nullopt;
        return *call + ": " + *error;
    }
    return std::nullopt;
}

}  // namespace incident::go
