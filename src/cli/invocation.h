// Invocation: the command line, understood. Parsing has no effect on the world, so that tests can do it.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "analyze.h"
#include "cli/commands.h"
#include "cli/triage_cli.h"
#include "report/renderers.h"

namespace incident::cli {

struct Invocation {
    const CommandRow* row = nullptr;
    AnalyzeOptions analyze;
    report::RenderOptions render;  ///< all, group, stacks, min_severity; width and colour follow the output
    std::string format = "terminal";
    std::string output;       ///< -o; empty: stdout
    std::string json_output;  ///< --json
    std::string color = "auto";
    std::string progress = "auto";
    std::string kind;     ///< explain
    std::string runbook;  ///< --runbook
    TriageArguments triage;
};

/// Either an invocation, or what to print and the exit code (--help, --version, a usage error).
struct Parsed {
    Invocation invocation;
    std::optional<int> exit;
    std::string out, err;
};

Parsed parse(const std::vector<std::string>& arguments);

}  // namespace incident::cli
