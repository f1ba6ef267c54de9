#include "cli/answer.h"

#include "report/verdict.h"
#include "triage/record.h"

namespace incident::cli {

std::expected<std::optional<triage::Runbook>, std::string> load_runbook(const Invocation& inv) {
    if (inv.runbook.empty()) return std::nullopt;
    auto book = triage::Runbook::load(inv.runbook);
    if (!book) return std::unexpected(book.error());
    return std::optional(std::move(*book));
}

Answer::Answer(const Invocation& inv, report::Report& report, const std::optional<triage::Runbook>& runbook)
    : inv_(inv), report_(report) {
    if (runbook) steps_ = runbook->steps_for(report);
    if (report.command.empty()) report.command = inv.row->name;
}

void Answer::draw(std::string_view format, report::RenderOptions options, const report::Sink& sink) const {
    if (inv_.row->name == "signature") {
        const auto signature = triage::sign(report_);
        if (format == "json") return triage::render_verdict(report_, signature, inv_.analyze.min_severity, sink);
        if (format == "markdown") return triage::explain_signature_markdown(report_, signature, sink);
        return triage::explain_signature(report_, signature, options, sink);
    }
    options.runbook = &steps_;
    report::find_renderer(format)->render(report_, options, sink);
}

int Answer::exit_code() const { return report::exit_code(report_, inv_.analyze.min_severity); }

}  // namespace incident::cli
