// Result<T>: a value or an Error. Corruption is data: everything that reads the target returns one of these, and we
// throw nothing. The kinds are closed; what a caller can *do* differs by kind, the words are for people.
#pragma once

#include <expected>
#include <string>
#include <string_view>
#include <utility>

#include "base/address.h"

namespace incident {

enum class ErrorKind : std::uint8_t {
    unmapped,     ///< the target had nothing mapped there
    truncated,    ///< the target had it, the core file was cut before it
    absent,       ///< not in this input: not dumped, a field this runtime lacks, a missing file
    corrupt,      ///< it is there and contradicts itself
    unsupported,  ///< sound perhaps, but not something we read
    io,           ///< our own machine failed
};

constexpr std::string_view to_string(ErrorKind kind) {
    switch (kind) {
        case ErrorKind::unmapped: return "unmapped";
        case ErrorKind::truncated: return "truncated";
        case ErrorKind::absent: return "absent";
        case ErrorKind::corrupt: return "corrupt";
        case ErrorKind::unsupported: return "unsupported";
        case ErrorKind::io: return "io";
    }
    return "unknown";
}

struct Error {
    ErrorKind kind;
    std::string what;   ///< one clause for a person, no trailing full stop; may be empty on hot paths
    Address address{};  ///< where in the target; null when it is not about an address
};

template <class T>
using Result = std::expected<T, Error>;

inline std::unexpected<Error> fail(ErrorKind kind, std::string what, Address address = {}) {
    return std::unexpected<Error>(Error{kind, std::move(what), address});
}

/// "corrupt: span state 9 (at 0xc000010000)"
std::string describe(const Error& error);

}  // namespace incident

#define INCIDENT_JOIN2(a, b) a##b
#define INCIDENT_JOIN(a, b) INCIDENT_JOIN2(a, b)

/// `auto g = TRY(memory.load<T>(a));` yields the value, or returns the Error from the enclosing function. GNU statement
/// expression, as in SerenityOS: fallible code reads straight down.
#define TRY(expression)                                                               \
    __extension__({                                                                   \
        auto&& try_result = (expression);                                             \
        if (!try_result.has_value()) [[unlikely]]                                     \
            return std::unexpected<::incident::Error>(std::move(try_result).error()); \
        ::incident::detail::take(std::move(try_result));                              \
    })

namespace incident::detail {
template <class T>
T take(std::expected<T, Error>&& result) {
    if constexpr (!std::is_void_v<T>) return std::move(*result);
}
}  // namespace incident::detail
