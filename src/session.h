// Session: one core, many questions. What the passes of earlier questions found is kept for later ones that need the
// same passes: exactly the same, so that an answer is always what the command would have said, whatever was asked
// before. For the debuggers' child (`incident serve`) and for Python, which ask again and again; a single command needs
// none.
#pragma once

#include <memory>
#include <vector>

#include "analyze.h"
#include "process/process.h"

namespace incident {

class Session {
public:
    /// What every question shares: core_path, images, open, jobs, progress and log of `common`. Opens nothing yet.
    explicit Session(AnalyzeOptions common) : common_(std::move(common)) {}

    /// `question` as for analyze(), but for what is shared. Fails as analyze() does. Not thread-safe.
    Result<report::Report> ask(const AnalyzeOptions& question);
    /// The Process with these passes.
    Result<std::shared_ptr<const Process>> process(const Passes& passes);
    /// Any Process: for the core's memory, which all of them share.
    Result<std::shared_ptr<const Process>> any();

private:
    struct Kept {
        Passes passes;
        std::shared_ptr<const Process> process;
    };
    AnalyzeOptions common_;
    std::vector<Kept> kept_;  // latest first, a few
};

}  // namespace incident
