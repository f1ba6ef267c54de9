#include "session.h"

namespace incident {

Result<std::shared_ptr<const Process>> Session::process(const Passes& passes) {
    if (process_ != nullptr && passes_.covers(passes)) return process_;
    auto both = passes_.with(passes);
    ProcessOptions open{.core_path = common_.core_path,
                        .open = common_.open,
                        .images = common_.images,
                        .passes = both,
                        .jobs = common_.jobs,
                        .trace = common_.trace,
                        .log = common_.log,
                        .progress = common_.progress};
    auto opened = TRY(open_process(open));
    process_ = std::move(opened);
    passes_ = both;
    return process_;
}

Result<report::Report> Session::ask(const AnalyzeOptions& question) {
    auto target = TRY(process(passes_for(question)));
    return report_on(target, question);
}

}  // namespace incident
