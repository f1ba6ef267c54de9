// incident: parse, analyze, render, exit code. Nothing else happens here.
#include <fmt/format.h>
#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <iostream>
#include <optional>
#include <string>
#include <vector>

#include "analyze.h"
#include "base/text.h"
#include "cli/invocation.h"
#include "cli/output.h"
#include "cli/progress.h"
#include "cli/serve.h"
#include "report/explain.h"
#include "report/renderers.h"
#include "report/verdict.h"
#include "triage/record.h"
#include "triage/runbook.h"

namespace incident::cli {
namespace {

int explain(const Invocation& inv) {
    auto output = Output::open("");
    if (!output) return complain(output.error());
    if (!report::explain(inv.kind, options_for(inv, *output), output->sink()))
        return complain(fmt::format("there is no finding kind '{}'; 'incident explain' lists them", inv.kind));
    auto failure = output->finish();
    return failure.empty() ? report::exit_nothing : complain(failure);
}

/// False: this command's result has no such format.
bool render(const Invocation& inv, std::string_view format, const report::Report& report, Output& output) {
    auto options = options_for(inv, output);
    if (inv.row->name == "signature") {
        auto signature = triage::sign(report);
        if (format == "json")
            triage::render_verdict(report, signature, inv.analyze.min_severity, output.sink());
        else if (format == "markdown")
            triage::explain_signature_markdown(report, signature, output.sink());
        else if (format == "terminal")
            triage::explain_signature(report, signature, options, output.sink());
        else
            return false;
        return true;
    }
    const auto* renderer = report::find_renderer(format);
    if (renderer != nullptr) renderer->render(report, options, output.sink());
    return renderer != nullptr;
}

int run(Invocation& inv) {
    if (inv.row->name == "explain") return explain(inv);
    if (inv.row->name == "serve") return serve(inv, std::cin, std::cout);
    if (!inv.row->command) return run_triage_command(inv);
    std::optional<triage::Runbook> runbook;
    if (!inv.runbook.empty()) {
        auto book = triage::Runbook::load(inv.runbook);
        if (!book) return complain(book.error());
        runbook = std::move(*book);
    }
    if (auto no = overwrites(inv); !no.empty()) return complain(no);

    Progress progress(inv.progress == "auto" && ::isatty(STDERR_FILENO) == 1);
    inv.analyze.progress = [&](std::string_view phase, std::uint64_t done, std::uint64_t total) {
        progress.show(phase, done, total);
    };
    inv.analyze.open.progress = [&](std::uint64_t done, std::uint64_t total) {
        progress.show("decompressing", done, total);
    };
    inv.analyze.log = [&](std::string_view line) {
        progress.clear();
        auto text = escape_for_terminal(line) + "\n";
        std::fwrite(text.data(), 1, text.size(), stderr);
    };
    auto report = analyze(inv.analyze);
    progress.clear();
    if (!report) return complain(fmt::format("{}: {}", inv.analyze.core_path, describe(report.error())));

    report::RunbookSteps steps;
    if (runbook) {
        steps = runbook->steps_for(*report);
        inv.render.runbook = &steps;
    }
    if (report->command.empty()) report->command = inv.row->name;

    // Files are opened only now: a core that cannot be read leaves an earlier report alone.
    if (!inv.json_output.empty()) {
        auto json = Output::open(inv.json_output);
        if (!json) return complain(json.error());
        render(inv, "json", *report, *json);
        if (auto failure = json->finish(); !failure.empty()) return complain(failure);
    }
    auto output = Output::open(inv.output);
    if (!output) return complain(output.error());
    if (!render(inv, inv.format, *report, *output))
        return complain(fmt::format("{} has no format '{}'", inv.row->name, inv.format));
    if (auto failure = output->finish(); !failure.empty()) return complain(failure);
    return report::exit_code(*report, inv.analyze.min_severity);
}

}  // namespace
}  // namespace incident::cli

int main(int argc, char** argv) {
    std::signal(SIGPIPE, SIG_IGN);
    auto parsed = incident::cli::parse(std::vector<std::string>(argv + 1, argv + argc));
    if (parsed.exit) {
        std::fwrite(parsed.out.data(), 1, parsed.out.size(), stdout);
        std::fwrite(parsed.err.data(), 1, parsed.err.size(), stderr);
        return *parsed.exit;
    }
    return incident::cli::run(parsed.invocation);
}
