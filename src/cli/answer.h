// The answer to one question to one core, as it is printed: by `incident COMMAND`, and by `incident serve` for each
// question.
#pragma once

#include <expected>
#include <optional>
#include <string>
#include <string_view>

#include "cli/invocation.h"
#include "report/renderers.h"
#include "triage/runbook.h"

namespace incident::cli {

/// What --runbook names; nothing when it names none.
std::expected<std::optional<triage::Runbook>, std::string> load_runbook(const Invocation& inv);

class Answer {
public:
    /// `report` gets the command's name; it and `runbook` outlive this.
    Answer(const Invocation& inv, report::Report& report, const std::optional<triage::Runbook>& runbook);
    /// `format` is one that the command has.
    void draw(std::string_view format, report::RenderOptions options, const report::Sink& sink) const;
    int exit_code() const;

private:
    const Invocation& inv_;
    const report::Report& report_;
    report::RunbookSteps steps_;
};

}  // namespace incident::cli
