// Findings with their evidence, and the detectors' outcomes.
#include <fmt/format.h>
#include <pybind11/stl.h>

#include "bind.h"
#include "report/report.h"

namespace incident::python {

using namespace report;

void bind_findings(py::module_& module) {
    Bound<Evidence>(module, "Evidence", "One fact behind a finding.")
        .value("what", &Evidence::what)
        .value("address", &Evidence::address)
        .value("value", &Evidence::value, "As read.")
        .value("origin", &Evidence::origin, "Where the bytes came from: 'core', 'file'.")
        .value("by", &Evidence::by, "Which reader found it.")
        .repr([](const Evidence& e) { return to_valid_utf8(fmt::format("Evidence {}: {}", e.what, e.value)); });
    bind_view<Evidence>(module, "EvidenceSequence");
    Bound<Subject>(module, "Subject", "What a finding is about.")
        .value("address", &Subject::address)
        .value("what", &Subject::what)
        .value("type", &Subject::type)
        .value("symbol", &Subject::symbol);
    Bound<Mark>(module, "Mark", "What of a finding every run, build and version of a program shares.")
        .value("fault", &Mark::fault, "What is wrong, when the kind leaves that open.")
        .value("holder", &Mark::holder, "With what, by type and field or by symbol.")
        .value("shape", &Mark::shape, "The same without names.");
    Bound<Verify>(module, "Verify", "How a person checks it by hand.")
        .value("tool", &Verify::tool)
        .value("command", &Verify::command)
        .repr([](const Verify& v) { return to_valid_utf8(fmt::format("Verify {}: {}", v.tool, v.command)); });
    bind_view<Verify>(module, "VerifySequence");
    Bound<Finding>(module, "Finding", "Something wrong, with the reasons to believe it.")
        .value("kind", &Finding::kind)
        .value("severity", &Finding::severity, "How harmful: 'error', 'warning' or 'info'.")
        .value("strength", &Finding::strength, "How sure: 'proved', 'likely' or 'possible'.")
        .value("title", &Finding::title)
        .value("where", &Finding::where)
        .value("why", &Finding::why)
        .part("subject", &Finding::subject)
        .part("mark", &Finding::mark)
        .value("explanation", &Finding::explanation)
        .view("evidence", &Finding::evidence)
        .value("goroutines", &Finding::goroutines)
        .value("threads", &Finding::threads)
        .view("snapshots", &Finding::snapshots)
        .value("innocent", &Finding::innocent, "Harmless explanations not ruled out.")
        .view("verify", &Finding::verify)
        .value("remedy", &Finding::remedy)
        .value("related", &Finding::related)
        .repr([](const Finding& f) { return to_valid_utf8(fmt::format("Finding {}: {}", f.kind, f.title)); });
    bind_view<Finding>(module, "FindingSequence");

    Bound<DetectorOutcome>(module, "DetectorOutcome", "What a detector looked at.")
        .value("id", &DetectorOutcome::id)
        .value("outcome", &DetectorOutcome::outcome, "'clean', 'found', 'partial', 'skipped' or 'not-applicable'.")
        .property("coverage",
                  [](const DetectorOutcome& d) {
                      py::dict coverage;
                      coverage["checked"] = d.checked;
                      coverage["unchecked"] = d.unchecked;
                      return coverage;
                  })
        .value("reason", &DetectorOutcome::reason)
        .repr(
            [](const DetectorOutcome& d) { return fmt::format("DetectorOutcome {} {}", d.id, to_string(d.outcome)); });
    bind_view<DetectorOutcome>(module, "DetectorOutcomeSequence");
}

}  // namespace incident::python
