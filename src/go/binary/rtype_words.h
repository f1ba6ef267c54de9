// Words of a Go type that hold addresses, from its rtype: there in stripped binaries too, for every type that an
// interface, reflection or the allocator names. Only three kinds of words count as addresses: pointers (of whatever
// kind), unsafe.Pointer and uintptr; other integers never do.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "go/binary/runtime.h"

namespace incident::go {

struct RType {
    Address at;
    std::string name;             ///< "main.holder"
    std::uint64_t size = 0;       ///< bytes
    std::uint64_t ptr_bytes = 0;  ///< the collector looks at no word behind them
    std::uint8_t kind = 0;        ///< reflect.Kind
    Address elem;                 ///< of pointers; null for others

    bool pointer() const { return kind == 22; }  // reflect.Ptr
    /// An interface holds the value itself, not its address.
    bool direct() const { return kind == 18 || kind == 19 || kind == 21 || kind == 22 || kind == 26; }
};

struct AddressWord {
    enum class Kind : std::uint8_t { pointer, unsafe_pointer, uintptr };
    std::uint64_t offset = 0;  ///< bytes from the start of the object
    Kind kind = Kind::pointer;
    std::string path;  ///< "where", "data[3]", "list.head"; empty: the object itself
};

/// nullopt: `at` cannot be a type descriptor. [any thread]
std::optional<RType> read_rtype(const Runtime& runtime, Address at);

/// Every such word, at most `limit`, lowest offset first; arrays are unrolled. [any thread]
std::vector<AddressWord> address_words(const Runtime& runtime, const RType& type, std::size_t limit = 1024);

}  // namespace incident::go
