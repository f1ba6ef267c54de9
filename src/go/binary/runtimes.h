// A process may hold several Go runtimes: each c-shared library brings its own, with scheduler, heap and locks of its
// own. One of them is read, the others are named. Plugins and shared Go packages (-linkshared) have no runtime of
// their own: they hang on the chain of the program's modules.
#pragma once

#include <vector>

#include "core/core_file.h"
#include "go/binary/module_data.h"
#include "image/images.h"

namespace incident::go {

/// The images that Go code may be in; first the one whose runtime is to be read: the executable, where Go made it, else
/// the library that the dying thread is in, as its pc and the words of its stack tell, else the first that is mapped.
std::vector<const Image*> go_images(const CoreFile& core, const Memory& memory, const Images& images);

/// Takes the modules of other runtimes than the first module's out of `modules`.
std::vector<ModuleData> split_off_other_runtimes(const Memory& memory, const RuntimeLayout& layout,
                                                 std::vector<ModuleData>& modules);

}  // namespace incident::go
