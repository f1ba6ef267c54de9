// What the bindings share. A vector of the Report becomes a Sequence: a view that makes a Python object for an element
// only when it is asked for, so that 10^5 goroutines or 10^7 words cost nothing until they are looked at. Every object
// keeps its parent alive, up to the Report or Process that owns the memory.
//
// Conventions, the same as in the JSON: what is unknown is None (an empty text, an address nobody knows); addresses are
// ints; text that is not UTF-8 becomes U+FFFD.
#pragma once

#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/address.h"
#include "base/text.h"
#include "report/frame_list.h"

namespace incident::python {

namespace py = pybind11;

inline py::str to_str(std::string_view text) {
    auto decoded = PyUnicode_DecodeUTF8(text.data(), static_cast<Py_ssize_t>(text.size()), "replace");
    if (decoded == nullptr) throw py::error_already_set();
    return py::reinterpret_steal<py::str>(decoded);
}

inline py::object to_python(std::string_view text) {
    if (text.empty()) return py::none();
    return to_str(text);
}
inline py::object to_python(const std::string& text) { return to_python(std::string_view(text)); }
inline py::object to_python(Address a) { return py::int_(a.value); }
inline py::object to_python(bool value) { return py::bool_(value); }
template <class T>
    requires std::is_integral_v<T>
py::object to_python(T value) {
    return py::int_(value);
}
template <class T>
    requires std::is_enum_v<T>
py::object to_python(T value) {
    return to_str(to_string(value));
}
template <class T>
py::object to_python(const std::optional<T>& value) {
    if (!value) return py::none();
    return to_python(*value);
}
template <class T>
    requires std::is_integral_v<T>
py::object to_python(const std::vector<T>& values) {
    py::list list;
    for (auto value : values) list.append(value);
    return list;
}
inline py::object to_python(const std::vector<std::string>& values) {
    py::list list;
    for (const auto& value : values) list.append(to_str(value));
    return list;
}

/// A view of a vector that belongs to the object it was asked of, or to itself.
template <class T>
struct View {
    const std::vector<T>* items;
    std::shared_ptr<const std::vector<T>> own = nullptr;
};

template <class T>
void bind_view(py::module_& module, const char* name) {
    py::class_<View<T>>(module, name)
        .def("__len__", [](const View<T>& view) { return view.items->size(); })
        .def(
            "__getitem__",
            [](const View<T>& view, Py_ssize_t index) -> const T& {
                auto size = static_cast<Py_ssize_t>(view.items->size());
                if (index < 0) index += size;
                if (index < 0 || index >= size) throw py::index_error("index out of range");
                return (*view.items)[static_cast<std::size_t>(index)];
            },
            py::return_value_policy::reference_internal)
        .def("__getitem__",
             [](const py::object& self, const py::slice& slice) {
                 const auto& view = self.cast<const View<T>&>();
                 py::ssize_t start = 0, stop = 0, step = 0, length = 0;
                 if (!slice.compute(static_cast<py::ssize_t>(view.items->size()), &start, &stop, &step, &length))
                     throw py::error_already_set();
                 py::list list;
                 for (; length > 0; --length, start += step)
                     list.append(py::cast((*view.items)[static_cast<std::size_t>(start)],
                                          py::return_value_policy::reference_internal, self));
                 return list;
             })
        .def(
            "__iter__",
            [](const View<T>& view) {
                return py::make_iterator<py::return_value_policy::reference_internal>(view.items->begin(),
                                                                                      view.items->end());
            },
            py::keep_alive<0, 1>())
        .def("__repr__", [name](const View<T>& view) {
            return "<incident." + std::string(name) + ", " + std::to_string(view.items->size()) + " elements>";
        });
}

/// py::class_ with properties by the JSON's names.
template <class T>
class Bound {
public:
    Bound(py::module_& module, const char* name, const char* doc) : class_(module, name, doc) {}

    /// A plain value: number, text, flag, enumeration, address, or a list of such.
    template <class M>
    Bound& value(const char* name, M T::* member, const char* doc = "") {
        class_.def_property_readonly(name, [member](const T& self) { return to_python(self.*member); }, doc);
        return *this;
    }
    /// A struct inside this one.
    template <class M>
    Bound& part(const char* name, M T::* member, const char* doc = "") {
        class_.def_property_readonly(
            name, [member](const T& self) -> const M& { return self.*member; },
            py::return_value_policy::reference_internal, doc);
        return *this;
    }
    /// The same, None when it is not known.
    template <class M>
    Bound& part(const char* name, std::optional<M> T::* member, const char* doc = "") {
        class_.def_property_readonly(
            name, [member](const T& self) { return self.*member ? &*(self.*member) : nullptr; },
            py::return_value_policy::reference_internal, doc);
        return *this;
    }
    template <class M>
    Bound& view(const char* name, std::vector<M> T::* member, const char* doc = "") {
        kept(name, [member](const T& self) { return View<M>{&(self.*member)}; }, doc);
        return *this;
    }
    /// None: not known or not computed. An empty sequence: looked, and there is none.
    template <class M>
    Bound& view(const char* name, std::optional<std::vector<M>> T::* member, const char* doc = "") {
        kept(
            name,
            [member](const T& self) -> std::optional<View<M>> {
                if (!(self.*member)) return std::nullopt;
                return View<M>{&*(self.*member)};
            },
            doc);
        return *this;
    }
    Bound& view(const char* name, report::FrameList T::* member, const char* doc = "") {
        kept(
            name,
            [member](const T& self) {
                auto frames = std::make_shared<const std::vector<report::Frame>>((self.*member).load());
                return View<report::Frame>{frames.get(), frames};
            },
            doc);
        return *this;
    }
    template <class F>
    Bound& property(const char* name, F function, const char* doc = "") {
        class_.def_property_readonly(name, function, doc);
        return *this;
    }
    template <class F>
    Bound& repr(F function) {
        class_.def("__repr__", [function](const T& self) { return "<incident." + function(self) + ">"; });
        return *this;
    }
    py::class_<T>& python() { return class_; }

private:
    /// The result keeps `self` alive. def_property_readonly ignores call policies among its extras: they belong to the
    /// getter.
    template <class F>
    void kept(const char* name, F function, const char* doc) {
        class_.def_property_readonly(name, py::cpp_function(function, py::keep_alive<0, 1>()), doc);
    }

    py::class_<T> class_;
};

void bind_frames(py::module_& module);
void bind_parts(py::module_& module);
void bind_findings(py::module_& module);
void bind_report(py::module_& module);
void bind_process(py::module_& module);

}  // namespace incident::python
