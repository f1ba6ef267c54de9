// A file that no core maps, for tools and tests: at bias 0, unverified.
#include "image/image_state.h"

namespace incident {

Result<Image> Image::open(const std::string& path) {
    auto state = std::make_unique<State>(TRY(ElfFile::open(path)));
    state->path = state->found_at = path;
    state->debug_paths = std::make_shared<DebugPaths>();
    fill_static_tables(*state);
    return Image(std::move(state));
}

}  // namespace incident
