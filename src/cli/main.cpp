// incident: parse, analyze, render, exit code. Nothing else happens here.
#include <fmt/format.h>
#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <functional>
#include <iostream>
#include <string>
#include <vector>

#include "analyze.h"
#include "base/text.h"
#include "cli/answer.h"
#include "cli/invocation.h"
#include "cli/output.h"
#include "cli/progress.h"
#include "cli/serve.h"
#include "report/explain.h"
#include "report/verdict.h"

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

int run(Invocation& inv) {
    if (inv.row->name == "explain") return explain(inv);
    if (inv.row->name == "serve") return serve(inv, std::cin, std::cout);
    if (!inv.row->command) return run_triage_command(inv);
    const auto runbook = load_runbook(inv);
    if (!runbook) return complain(runbook.error());
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

    const Answer answer(inv, *report, *runbook);
    // Files are opened only now: a core that cannot be read leaves an earlier report alone.
    auto failure = write_result(inv, std::bind_front(&Answer::draw, &answer));
    return failure.empty() ? answer.exit_code() : complain(failure);
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
