// A core with its images matched and its memory spliced: what most tests above core/ start from.
#pragma once

#include "image/images.h"

namespace incident {

struct OpenedCore {
    CoreFile core;
    Images images;
    Memory memory;

    static Result<OpenedCore> open(const std::string& path, const ImageOptions& options = {}) {
        auto core = TRY(CoreFile::open(path));
        Memory dumped;
        core.fill(dumped);
        dumped.freeze();
        auto images = Images::match(core, dumped, options);
        Memory memory;
        core.fill(memory);
        images.splice_into(memory);
        memory.freeze();
        return OpenedCore{std::move(core), std::move(images), std::move(memory)};
    }
};

}  // namespace incident
