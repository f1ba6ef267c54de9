// What a Go type is, by its descriptor.
#pragma once

#include <cstdint>

namespace incident::go {

/// reflect.Kind, as in the low five bits of a type's kind byte.
enum class Kind : std::uint8_t {
    invalid,
    boolean,
    int_,
    int8,
    int16,
    int32,
    int64,
    uint,
    uint8,
    uint16,
    uint32,
    uint64,
    uintptr,
    float32,
    float64,
    complex64,
    complex128,
    array,
    chan,
    func,
    interface,
    map,
    pointer,
    slice,
    string,
    struct_,
    unsafe_pointer,
};

}  // namespace incident::go
