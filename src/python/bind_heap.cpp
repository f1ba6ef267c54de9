// Every object of the Go heap, for Python: one flat column each for address, size, type and whether it is reachable.
// Columns speak the buffer protocol, so numpy.asarray(objects.sizes) or memoryview(objects.sizes) copies nothing; an
// object becomes a Python object only when it is asked for.
#include "bind_heap.h"

#include <fmt/format.h>

#include "go/heap/heap_types.h"
#include "process/process.h"

namespace incident::python {

namespace {

/// Numbers in a row, owned by whoever holds the column.
template <class T>
struct Column {
    std::vector<T> values;
};

template <class T>
void bind_column(py::module_& module, const char* name, const char* doc) {
    py::class_<Column<T>, std::shared_ptr<Column<T>>>(module, name, py::buffer_protocol(), doc)
        .def_buffer([](Column<T>& column) {
            return py::buffer_info(column.values.data(), static_cast<py::ssize_t>(column.values.size()), true);
        })
        .def("__len__", [](const Column<T>& column) { return column.values.size(); })
        .def("__getitem__",
             [](const Column<T>& column, py::ssize_t index) {
                 auto size = static_cast<py::ssize_t>(column.values.size());
                 if (index < 0) index += size;
                 if (index < 0 || index >= size) throw py::index_error("index out of range");
                 return column.values[static_cast<std::size_t>(index)];
             })
        .def("__repr__", [name](const Column<T>& column) {
            return fmt::format("<incident.{}, {} elements>", name, column.values.size());
        });
}

struct HeapObject {
    std::uint64_t address = 0, size = 0;
    std::string type;
    bool live = false;
};

struct HeapObjects {
    std::shared_ptr<const Process> process;  // keeps what the columns were made from
    std::shared_ptr<Column<std::uint64_t>> addresses = std::make_shared<Column<std::uint64_t>>();
    std::shared_ptr<Column<std::uint64_t>> sizes = std::make_shared<Column<std::uint64_t>>();
    std::shared_ptr<Column<std::uint32_t>> types = std::make_shared<Column<std::uint32_t>>();
    std::shared_ptr<Column<std::uint8_t>> live = std::make_shared<Column<std::uint8_t>>();
    std::vector<std::string> names;

    HeapObject at(std::size_t index) const {
        return {addresses->values[index], sizes->values[index], names[types->values[index]], live->values[index] != 0};
    }
};

HeapObjects collect(std::shared_ptr<const Process> process) {
    HeapObjects objects;
    const auto& graph = *process->heap;
    const auto& types = *process->heap_types;
    std::unordered_map<std::uint32_t, std::uint32_t> index_of;
    graph.slots().for_each_slot([&](go::SlotId slot) {
        if (!graph.slots().allocated(slot)) return;
        auto [at, fresh] = index_of.try_emplace(types.key_of(slot), static_cast<std::uint32_t>(objects.names.size()));
        if (fresh) objects.names.push_back(types.name_of_key(at->first));
        objects.addresses->values.push_back(graph.slots().base(slot).value);
        objects.sizes->values.push_back(graph.slots().size(slot));
        objects.types->values.push_back(at->second);
        objects.live->values.push_back(graph.live(slot) ? 1 : 0);
    });
    objects.process = std::move(process);
    return objects;
}

}  // namespace

py::object heap_objects(const std::shared_ptr<const Process>& process) {
    if (process->heap == nullptr || process->heap_types == nullptr) return py::none();
    return py::cast([&] {
        py::gil_scoped_release release;
        return collect(process);
    }());
}

void bind_heap(py::module_& module) {
    bind_column<std::uint64_t>(module, "Numbers64", "A column of 64-bit numbers; speaks the buffer protocol.");
    bind_column<std::uint32_t>(module, "Numbers32", "A column of 32-bit numbers; speaks the buffer protocol.");
    bind_column<std::uint8_t>(module, "Flags", "A column of bytes, 0 or 1; speaks the buffer protocol.");

    Bound<HeapObject>(module, "HeapObject", "One object of the Go heap.")
        .value("address", &HeapObject::address)
        .value("size", &HeapObject::size, "Bytes of its slot.")
        .value("type", &HeapObject::type,
               "'main.node', '[]int', 'func main.serve.func1'; '?scan-64' where nothing tells.")
        .value("live", &HeapObject::live, "Reachable; else garbage that was not collected yet.")
        .repr([](const HeapObject& o) {
            return to_valid_utf8(
                fmt::format("HeapObject {:#x} {} {} B{}", o.address, o.type, o.size, o.live ? "" : ", garbage"));
        });

    Bound<HeapObjects> objects(module, "HeapObjects", "Every allocated object of the Go heap, by address.");
    objects.property(
               "addresses", [](const HeapObjects& o) { return o.addresses; }, "Column of 64-bit numbers.")
        .property(
            "sizes", [](const HeapObjects& o) { return o.sizes; }, "Column of bytes.")
        .property(
            "types", [](const HeapObjects& o) { return o.types; }, "Column of indices into type_names.")
        .property(
            "live", [](const HeapObjects& o) { return o.live; }, "Column of 1 (reachable) and 0 (garbage).")
        .property("type_names", [](const HeapObjects& o) { return to_python(o.names); })
        .repr([](const HeapObjects& o) { return fmt::format("HeapObjects, {} objects", o.addresses->values.size()); });
    objects.python()
        .def("__len__", [](const HeapObjects& o) { return o.addresses->values.size(); })
        .def("__getitem__", [](const HeapObjects& o, py::ssize_t index) {
            auto size = static_cast<py::ssize_t>(o.addresses->values.size());
            if (index < 0) index += size;
            if (index < 0 || index >= size) throw py::index_error("index out of range");
            return o.at(static_cast<std::size_t>(index));
        });
}

}  // namespace incident::python
