// The build-info blob that every Go linker since 1.13 writes at the start of the writable data, so that it is in the
// core itself. Layout: go1.18 src/debug/buildinfo/buildinfo.go. Before 1.18 it holds pointers to string headers, and
// the text of the version lies in read-only data, which a kernel core leaves out.
#pragma once

#include <optional>
#include <string>

#include "core/core_file.h"
#include "core/memory.h"
#include "image/images.h"

namespace incident::go {

struct BuildInfo {
    Address at;
    std::optional<std::string> version;  ///< "go1.26.8"; nullopt: its bytes are not in the input
    std::size_t version_length = 0;      ///< bytes; known even when the text is not
    bool inline_strings = false;         ///< Go 1.18 and later
    std::string module_info;             ///< path, dependencies and build settings, as `go version -m` prints them
};

std::optional<BuildInfo> read_build_info(const Memory& memory, Address at);
/// The blob of one image: by its section, or by searching its data.
std::optional<BuildInfo> find_build_info(const Memory& memory, const Image& image);
/// Without any image: searches the dumped parts of the mapped files.
std::optional<BuildInfo> find_build_info(const CoreFile& core, const Memory& memory);

}  // namespace incident::go
