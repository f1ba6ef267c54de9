// The objects of the Go heap: bindings, and the way to them from an open core.
#pragma once

#include <memory>

#include "bind.h"

namespace incident {
struct Process;
}

namespace incident::python {

void bind_heap(py::module_& module);
/// A HeapObjects; None when the heap was not read (then a gap says why).
py::object heap_objects(const std::shared_ptr<const Process>& process);

}  // namespace incident::python
