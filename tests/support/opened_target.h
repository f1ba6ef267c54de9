// A core opened the way the engine opens one, for tests of the layers above image/: core, spliced memory, images,
// disassembler. Header only: it belongs to tests whose folder links image and disasm.
#pragma once

#include <gtest/gtest.h>

#include <memory>
#include <string>

#include "core/core_file.h"
#include "core/memory.h"
#include "disasm/disasm.h"
#include "image/images.h"
#include "support/corpora.h"

namespace incident::test {

struct OpenedTarget {
    CoreFile core;
    std::unique_ptr<Images> images;
    std::unique_ptr<Memory> memory;
    std::unique_ptr<Disassembler> disassembler;
};

/// `executable` empty: whatever matching finds.
inline Result<OpenedTarget> open_target(const std::string& core_path, const std::string& executable) {
    OpenedTarget target{TRY(CoreFile::open(core_path)), nullptr, std::make_unique<Memory>(), nullptr};
    Memory bare;
    target.core.fill(bare);
    bare.freeze();
    ImageOptions options;
    options.executable = executable;
    target.images = std::make_unique<Images>(Images::match(target.core, bare, options));
    target.core.fill(*target.memory);
    target.images->splice_into(*target.memory);
    target.memory->freeze();
    target.disassembler = std::make_unique<Disassembler>(TRY(Disassembler::create(target.core.machine())));
    return target;
}

inline Result<OpenedTarget> open_target(const Probe& probe) { return open_target(probe.core, probe.executable); }

}  // namespace incident::test
