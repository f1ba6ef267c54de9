// The Python module incident._core: the Report's structs under the JSON's names, and the two ways in, analyze and open.
// No logic here: incident/__init__.py holds what is Python's own, the engine everything else.
#include <pybind11/pybind11.h>

#include "bind.h"
#include "bind_heap.h"

PYBIND11_MODULE(_core, module) {
    module.doc() = "The engine of incident. Import the package `incident`, not this.";
    using namespace incident::python;
    bind_frames(module);
    bind_parts(module);
    bind_findings(module);
    bind_report(module);
    bind_heap(module);
    bind_process(module);
}
