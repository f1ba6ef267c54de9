// The libraries below a program, known by their file names: one table for everybody who asks whether a mapped file is
// libc, or whether a frame is the program's own. A static program has no such file: there only functions tell
// (process/own_frames.h).
#pragma once

#include <cstdint>
#include <string_view>

namespace incident {

enum class SystemLibrary : std::uint8_t {
    none,  ///< the program's own, or a library that somebody chose
    glibc,
    musl,
    pthread,  ///< glibc before 2.34
    loader,
    math,
    cxx,
    unwinder,
    sanitizer,
    vdso,
};

/// `path`: as the target knew it.
SystemLibrary system_library(std::string_view path);
/// glibc, musl, and what older glibcs keep in libpthread.
bool holds_libc(std::string_view path);
/// Code of the C++ library's headers, compiled into the program. `file`: its source, empty when unknown.
bool in_cxx_headers(std::string_view function, std::string_view file);

}  // namespace incident
