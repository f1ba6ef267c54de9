// Finding moduledata: the linker's description of one Go module (the program, a c-shared library, each plugin). Word 0
// is the address of the pclntab header, so a search of the image's writable data for that word finds it, stripped or
// not.
#pragma once

#include <span>
#include <vector>

#include "go/binary/runtime.h"

namespace incident::go {

/// Pclntab headers in one image: by section name, else by magic in its read-only data.
std::vector<Address> find_pclntabs(const Memory& memory, const Image& image);

/// Does the image look as if the Go linker (or a C linker given Go's objects) made it?
bool has_go_sections(const Image& image);

/// Reads and checks the moduledata at `at`.
Result<ModuleData> read_module(const Memory& memory, const RuntimeLayout& layout, const Version& version, Address at,
                               const Image* image);

/// All modules of the image, with what went wrong for candidates that were refused.
std::vector<ModuleData> find_modules(const Memory& memory, const Image& image, const RuntimeLayout& layout,
                                     const Version& version, std::vector<Error>& refused);
/// Without the file: where the function table lies in relocated data (a PIE up to Go 1.25, c-shared), it is in the core
/// itself.
std::vector<ModuleData> find_modules(const Memory& memory, std::span<const AddressRange> data,
                                     const RuntimeLayout& layout, const Version& version, std::vector<Error>& refused);

}  // namespace incident::go
