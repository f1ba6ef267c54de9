// The Report, and its renderings.
#include <fmt/format.h>
#include <pybind11/stl.h>

#include <string>

#include "bind.h"
#include "report/renderers.h"
#include "report/report.h"
#include "report/verdict.h"

namespace incident::python {

using namespace report;

namespace {

py::str rendered(const Report& report, std::string_view format, const RenderOptions& options) {
    const Renderer* renderer = find_renderer(format);
    if (renderer == nullptr) throw py::value_error(fmt::format("there is no format '{}'", format));
    std::string text;
    {
        py::gil_scoped_release release;
        renderer->render(report, options, [&](std::string_view piece) { return text += piece, true; });
    }
    return to_str(text);
}

Severity severity_named(const std::string& word) {
    for (auto s : {Severity::info, Severity::warning, Severity::error})
        if (to_string(s) == word) return s;
    throw py::value_error(fmt::format("a severity is 'info', 'warning' or 'error', not '{}'", word));
}

}  // namespace

void bind_report(py::module_& module) {
    Bound<Report> bound(module, "Report",
                        "What the engine found out about one core. Its attributes bear the JSON's names.");
    bound.value("command", &Report::command, "The question it answers.")
        .part("tool", &Report::tool)
        .part("input", &Report::input)
        .part("runtime", &Report::runtime)
        .part("crash", &Report::crash)
        .view("threads", &Report::threads)
        .view("goroutines", &Report::goroutines)
        .view("locks", &Report::locks)
        .part("wait_graph", &Report::wait_graph)
        .part("heap", &Report::heap)
        .view("maps", &Report::maps)
        .part("memory", &Report::memory)
        .view("findings", &Report::findings, "Most severe first.")
        .view("detectors", &Report::detectors)
        .view("gaps", &Report::gaps, "What is unknown, and why.")
        .part("location", &Report::location)
        .view("words", &Report::words)
        .repr([](const Report& r) {
            return to_valid_utf8(
                fmt::format("Report {} of {}, {} findings", r.command, r.input.core.path, r.findings.size()));
        });
    bound.python()
        .def_property_readonly_static("schema", [](const py::object&) { return to_str(schema); })
        .def(
            "to_json", [](const Report& r) { return rendered(r, "json", {}); }, "The JSON of `--format json`.")
        .def(
            "to_text",
            [](const Report& r, unsigned width, bool color, bool all, bool stacks, bool group) {
                RenderOptions options{.width = width, .color = color, .all = all, .group = group, .stacks = stacks};
                return rendered(r, "terminal", options);
            },
            py::kw_only(), py::arg("width") = 100, py::arg("color") = false, py::arg("all") = false,
            py::arg("stacks") = false, py::arg("group") = false, "The report as on a terminal; width in columns.")
        .def("to_markdown", [](const Report& r) { return rendered(r, "markdown", {}); })
        .def(
            "to_html", [](const Report& r) { return rendered(r, "html", {.color = true}); }, "A page of its own.")
        .def(
            "exit_code",
            [](const Report& r, const std::string& severity) { return exit_code(r, severity_named(severity)); },
            py::arg("min_severity") = "warning", "What the command would exit with: 0, 1 or 3.");
}

}  // namespace incident::python
