// Session: one core, many questions. The Process of earlier questions is kept and serves every later one whose passes
// it covers; a question that needs more opens the core again with both sets of passes. For the debuggers' child
// (`incident serve`) and for Python, which ask again and again; a single command needs none.
#pragma once

#include <memory>

#include "analyze.h"
#include "process/process.h"

namespace incident {

class Session {
public:
    /// What every question shares: core_path, images, open, jobs, progress and log of `common`. Opens nothing yet.
    explicit Session(AnalyzeOptions common) : common_(std::move(common)) {}

    /// `question` as for analyze(), but for what is shared. Fails as analyze() does. Not thread-safe.
    Result<report::Report> ask(const AnalyzeOptions& question);
    /// A Process with at least these passes: the one at hand, or a new one.
    Result<std::shared_ptr<const Process>> process(const Passes& passes);

private:
    AnalyzeOptions common_;
    Passes passes_;                           // of process_
    std::shared_ptr<const Process> process_;  // null: not opened yet
};

}  // namespace incident
