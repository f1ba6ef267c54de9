// Inside of Runtime: what attach found, and the steps that find it.
#pragma once

#include "go/binary/build_info.h"
#include "go/binary/globals.h"
#include "go/binary/module_data.h"
#include "go/binary/runtime.h"

namespace incident::go {

struct RuntimeState {
    const Memory* memory = nullptr;
    Version version;
    LayoutVariant variant;
    RuntimeLayout layout;
    Globals globals;
    std::vector<ModuleData> modules;
    std::vector<std::unique_ptr<Memory>> file_memories;  ///< of images whose data the core lost
    report::GoRuntime description;
    std::vector<report::Gap> gaps;
    bool cgo = false;
};

struct Runtime::State : RuntimeState {};

/// The text of a name record (of a type or a field), which begins with its flag byte.
std::optional<std::string_view> read_type_name_at(const Memory& memory, const Version& version, Address name);
/// Name of the type at `at`, from its rtype. go1.27 src/internal/abi/type.go.
std::optional<std::string> read_type_name(const Memory& memory, const RuntimeLayout& layout, const Version& version,
                                          std::span<const ModuleData> modules, Address at);

}  // namespace incident::go
