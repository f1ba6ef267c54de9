// Inside of Runtime: what attach found, and the steps that find it.
#pragma once

#include "go/binary/build_info.h"
#include "go/binary/globals.h"
#include "go/binary/module_data.h"
#include "go/binary/rtypes.h"
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

}  // namespace incident::go
