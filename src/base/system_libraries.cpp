#include "base/system_libraries.h"

#include <algorithm>

#include "base/text.h"

namespace incident {

namespace {

struct Row {
    std::string_view start;  ///< of the file name; the first that fits counts
    SystemLibrary library;
};
constexpr Row rows[] = {
    {"libc.so.6", SystemLibrary::glibc},
    {"libc-2.", SystemLibrary::glibc},  // up to 2.33 libc.so.6 was a link to it
    {"libc.so", SystemLibrary::musl},
    {"libc.musl-", SystemLibrary::musl},
    {"ld-musl-", SystemLibrary::musl},  // loader and libc in one
    {"libpthread.so", SystemLibrary::pthread},
    {"libpthread-2.", SystemLibrary::pthread},
    {"ld-linux", SystemLibrary::loader},
    {"ld-2.", SystemLibrary::loader},
    {"libm.so", SystemLibrary::math},
    {"libm-2.", SystemLibrary::math},
    {"libstdc++.so", SystemLibrary::cxx},
    {"libc++.so", SystemLibrary::cxx},
    {"libc++abi.so", SystemLibrary::cxx},
    {"libgcc_s.so", SystemLibrary::unwinder},
    {"libunwind.so", SystemLibrary::unwinder},
    {"libasan.so", SystemLibrary::sanitizer},
    {"libtsan.so", SystemLibrary::sanitizer},
    {"libubsan.so", SystemLibrary::sanitizer},
    {"liblsan.so", SystemLibrary::sanitizer},
    {"linux-vdso", SystemLibrary::vdso},
    {"[vdso]", SystemLibrary::vdso},
};

}  // namespace

SystemLibrary system_library(std::string_view path) {
    const std::string_view name = base_name(path);
    const auto* row = std::ranges::find_if(rows, [&](const Row& r) { return name.starts_with(r.start); });
    return row == std::end(rows) ? SystemLibrary::none : row->library;
}

bool holds_libc(std::string_view path) {
    const auto library = system_library(path);
    return library == SystemLibrary::glibc || library == SystemLibrary::musl || library == SystemLibrary::pthread;
}

bool in_cxx_headers(std::string_view function, std::string_view file) {
    return (file.contains("/include/") && file.contains("/c++/")) || function.starts_with("std::") ||
           function.starts_with("__gnu_cxx::");
}

}  // namespace incident
