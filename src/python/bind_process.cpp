// The two ways in. An Engine is a Session behind a mutex: the GIL is released while the engine works, and two Python
// threads may share it.
#include <fmt/format.h>
#include <pybind11/stl.h>

#include <algorithm>
#include <mutex>
#include <string>
#include <vector>

#include "bind.h"
#include "bind_heap.h"
#include "process/process.h"
#include "report/explain.h"
#include "session.h"

namespace incident::python {

namespace {

/// incident.Error; set once by bind_process.
PyObject* error_type = nullptr;

[[noreturn]] void raise(const Error& error) {
    PyErr_SetString(error_type, describe(error).c_str());
    throw py::error_already_set();
}

std::vector<std::string> paths(const py::object& given) {
    std::vector<std::string> result;
    auto os_fspath = py::module_::import("os").attr("fspath");
    if (py::isinstance<py::str>(given) || py::hasattr(given, "__fspath__")) return {py::str(os_fspath(given))};
    for (auto item : given) result.push_back(py::str(os_fspath(item)));
    return result;
}

struct Question {
    const char* name;
    Command command;
};
constexpr Question questions[] = {
    {"analyze", Command::analyze}, {"crash", Command::crash},         {"goroutines", Command::goroutines},
    {"threads", Command::threads}, {"goroutine", Command::goroutine}, {"thread", Command::thread},
    {"locks", Command::locks},     {"heap", Command::heap},           {"maps", Command::maps},
    {"locate", Command::locate},   {"read", Command::read},
};

class Engine {
public:
    explicit Engine(const AnalyzeOptions& common) : common_(common), session_(common) {}

    report::Report ask(const std::string& question, std::uint64_t argument, std::size_t words, bool stacks,
                       bool retained, bool summary, bool held, const std::optional<std::uint64_t>& roots,
                       const std::optional<std::uint64_t>& object, const std::vector<std::string>& only,
                       const std::vector<std::string>& skip) {
        AnalyzeOptions options = common_;
        auto row = std::ranges::find(questions, question, [](auto& q) { return std::string_view(q.name); });
        if (row == std::end(questions)) throw py::value_error("there is no question '" + question + "'");
        options.command = row->command;
        options.stacks = stacks;
        options.retained = retained;
        options.summary = summary;
        options.held = held;
        if (roots) options.roots = Address{*roots};
        if (object) options.object = Address{*object};
        options.words = words;
        for (const auto* kinds : {&only, &skip})
            for (const auto& kind : *kinds)
                if (!report::names_a_kind(kind)) throw py::value_error("no finding kind is called '" + kind + "'");
        options.only = only;
        options.skip = skip;
        if (row->command == Command::goroutine) options.goroutine = static_cast<std::int64_t>(argument);
        if (row->command == Command::thread) options.thread = static_cast<std::int32_t>(argument);
        options.address = Address{argument};
        auto report = [&] {
            py::gil_scoped_release release;
            std::scoped_lock lock(mutex_);
            return session_.ask(options);
        }();
        if (!report) raise(report.error());
        return std::move(*report);
    }

    py::object objects() {
        auto options = common_;
        options.command = Command::heap;
        auto process = [&] {
            py::gil_scoped_release release;
            std::scoped_lock lock(mutex_);
            return session_.process(passes_for(options));
        }();
        if (!process) raise(process.error());
        return heap_objects(*process);
    }

    py::bytes memory(std::uint64_t address, std::size_t count) {
        auto process = [&] {
            py::gil_scoped_release release;
            std::scoped_lock lock(mutex_);
            return session_.any();
        }();
        if (!process) raise(process.error());
        // In pieces: a huge count fails at the first hole instead of being allocated.
        std::string bytes;
        while (bytes.size() < count) {
            auto piece = (*process)->memory.view_up_to(Address{address + bytes.size()}, count - bytes.size());
            if (!piece) raise(piece.error());
            bytes.append(reinterpret_cast<const char*>(piece->data()), piece->size());
        }
        return py::bytes(bytes);
    }

private:
    AnalyzeOptions common_;
    std::mutex mutex_;
    Session session_;
};

}  // namespace

void bind_process(py::module_& module) {
    auto error = py::exception<std::runtime_error>(module, "Error");
    error.attr("__module__") = "incident";
    error.attr("__doc__") = "The core cannot be read at all, or memory that was asked for is not in it.";
    error_type = error.release().ptr();

    py::class_<Engine>(module, "Engine")
        .def(py::init([](const py::object& core, const py::object& exe, const py::object& sysroot,
                         const py::object& debug_dir, bool allow_mismatch, bool debuginfod, unsigned jobs) {
                 AnalyzeOptions common;
                 common.core_path = paths(core).front();
                 if (!exe.is_none()) common.images.executable = paths(exe).front();
                 common.images.sysroots = paths(sysroot);
                 common.images.debug_dirs = paths(debug_dir);
                 common.images.allow_mismatch = allow_mismatch;
                 common.images.debuginfod = debuginfod;
                 common.jobs = jobs;
                 return std::make_unique<Engine>(common);
             }),
             py::arg("core"), py::arg("exe") = py::none(), py::kw_only(), py::arg("sysroot") = py::tuple(),
             py::arg("debug_dir") = py::tuple(), py::arg("allow_mismatch") = false, py::arg("debuginfod") = false,
             py::arg("jobs") = 0)
        .def("ask", &Engine::ask, py::arg("question"), py::kw_only(), py::arg("argument") = 0, py::arg("words") = 16,
             py::arg("stacks") = false, py::arg("retained") = false, py::arg("summary") = false,
             py::arg("held") = false, py::arg("roots") = py::none(), py::arg("object") = py::none(),
             py::arg("only") = std::vector<std::string>{}, py::arg("skip") = std::vector<std::string>{})
        .def("objects", &Engine::objects)
        .def("memory", &Engine::memory, py::arg("address"), py::arg("count"));
    module.attr("__version__") = INCIDENT_VERSION;
}

}  // namespace incident::python
