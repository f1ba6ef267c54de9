// A core opened as the engine's passes open it, for tests over corpora.
#pragma once

#include <memory>
#include <string>

#include "core/core_file.h"
#include "core/memory.h"
#include "disasm/disasm.h"
#include "go/binary/runtime.h"
#include "go/stacks/walk.h"
#include "image/images.h"

namespace incident::go::testing {

struct OpenedCore {
    CoreFile core;
    std::unique_ptr<Memory> owned_memory;  // the runtime's tables keep a pointer to it
    Images images;
    Disassembler disassembler;
    Runtime runtime;
    GoroutineList goroutines;
    const Memory& memory = *owned_memory;

    static Result<std::unique_ptr<OpenedCore>> open(const std::string& core_path, const std::string& executable,
                                                    unsigned jobs = 2) {
        auto core = TRY(CoreFile::open(core_path));
        auto owned = std::make_unique<Memory>();
        Memory& memory = *owned;
        core.fill(memory);
        Memory core_only = memory;
        core_only.freeze();
        ImageOptions options;
        options.executable = executable;
        Images images = Images::match(core, core_only, options);
        images.splice_into(memory);
        memory.freeze();
        auto disassembler = TRY(Disassembler::create(core.machine()));
        auto runtime = TRY(Runtime::attach(core, memory, images, disassembler));
        auto goroutines = TRY(read_goroutines(core, memory, runtime, jobs));
        return std::unique_ptr<OpenedCore>(new OpenedCore{std::move(core), std::move(owned), std::move(images),
                                                          std::move(disassembler), std::move(runtime),
                                                          std::move(goroutines)});
    }
};

}  // namespace incident::go::testing
