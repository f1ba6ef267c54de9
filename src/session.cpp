#include "session.h"

#include <algorithm>

namespace incident {

namespace {
constexpr std::size_t most_kept = 3;  // a big heap's graph takes hundreds of megabytes
}

Result<std::shared_ptr<const Process>> Session::process(const Passes& passes) {
    auto found = std::ranges::find(kept_, passes, &Kept::passes);
    if (found == kept_.end()) {
        ProcessOptions open{.core_path = common_.core_path,
                            .open = common_.open,
                            .images = common_.images,
                            .passes = passes,
                            .jobs = common_.jobs,
                            .trace = common_.trace,
                            .log = common_.log,
                            .progress = common_.progress};
        if (kept_.size() == most_kept) kept_.pop_back();  // before the new one: never more at once
        auto opened = TRY(open_process(open));
        kept_.push_back({passes, std::move(opened)});
        found = kept_.end() - 1;
    }
    std::rotate(kept_.begin(), found, found + 1);
    return kept_.front().process;
}

Result<std::shared_ptr<const Process>> Session::any() {
    if (!kept_.empty()) return kept_.front().process;
    return process({});
}

Result<report::Report> Session::ask(const AnalyzeOptions& question) {
    auto target = TRY(process(passes_for(question)));
    return report_on(target, question);
}

}  // namespace incident
