// Go values printed from dead memory by their runtime types (rtypes), which stripped binaries keep too. For panic
// values and whatever else is held in an interface.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "go/binary/kind.h"
#include "go/binary/runtime.h"

namespace incident::go {

class Values {
public:
    Values(const Memory& memory, const Runtime& runtime) : memory_(memory), runtime_(runtime) {}

    /// `{type, data}` of an interface value: printed as the runtime prints a panic's argument. `exact` is cleared when
    /// the runtime would have called a method (Error, String) whose text we cannot know.
    std::string panic_argument(Address type, Address data, bool* exact = nullptr) const;
    /// Error() of the errors that everybody uses; nullopt: another type, or unreadable.
    std::optional<std::string> error_text(Address type, Address data, int depth = 0) const;
    /// A value at `at`, in short Go syntax: `{code: 42, text: "disk"}`.
    std::string value(Address type, Address at, int depth = 0) const;

    Kind kind(Address type) const;
    bool direct_interface(Address type) const;  ///< the interface's data word is the value itself
    bool has_method(Address type, std::string_view name) const;
    std::optional<std::string> string_at(Address header) const;

private:
    struct FieldOf {
        std::string name;
        Address type;
        std::uint64_t offset = 0;
    };
    std::vector<FieldOf> fields(Address type) const;
    std::string basic(Kind kind, Address at) const;
    std::string name_at(Address name) const;
    std::string bounds_error(Address at) const;
    std::string type_assertion_error(Address at) const;
    std::optional<std::string> interface_error(Address at, int depth) const;
    std::string type_text(Address type) const;

    const Memory& memory_;
    const Runtime& runtime_;
};

/// As the runtime's print does: "1.5"; up to Go 1.25 "+1.500000e+000". T: float, double.
template <class T>
std::string runtime_float(T value, const Version& version);

}  // namespace incident::go
