#include "go/sync/frame_runs.h"

#include <array>

namespace incident::go {

namespace {

constexpr std::size_t most_kept = 4096, most_at_pc = 8;
constexpr std::size_t first_tries = 64;  // then one frame in eight must have been served

std::uint64_t bytes_of(const FrameRuns::Start& start) { return start.cfa.value - start.sp.value; }

}  // namespace

bool FrameRuns::worth_while(const AtPc& at) { return at.met <= first_tries || at.served >= at.met / 8; }

FrameRuns::FrameRuns(const Memory& memory, const Runtime& runtime) : memory_(memory) {
    for (const ModuleData& module : runtime.modules()) code_.push_back(module.text);
}

std::optional<Remaining> FrameRuns::find(const Start& start) {
    AtPc& at = by_pc_[start.pc.value];
    ++at.met;
    if (!worth_while(at)) return std::nullopt;
    const std::array<std::uint64_t, 2> inputs{start.g.value, start.bp.value_or(Address{}).value};
    for (std::size_t i = 0; i < at.runs.size(); ++i) {
        Run& run = *at.runs[i];
        if (run.has_bp != start.bp.has_value() || run.frame != bytes_of(start) || run.to_come != start.to_come)
            continue;
        if (!run.footprint.fits(start.stack, start.sp, std::span(inputs).first(run.has_bp ? 2 : 1))) continue;
        ++at.served;
        Remaining result = run.result;
        for (std::size_t r = 0; r < result.releases.size(); ++r)
            if (result.releases[r].address) result.releases[r].address = run.footprint.placed(run.released[r]);
        for (std::size_t b = 0; b < result.balances.size(); ++b)
            result.balances[b].address = run.footprint.placed(run.balanced[b]);
        if (i != 0) std::swap(at.runs[i], at.runs[i - 1]);  // the more often, the sooner
        return result;
    }
    return std::nullopt;
}

Footprint* FrameRuns::begin(const Start& start) {
    AtPc& at = by_pc_[start.pc.value];
    running_at_ = nullptr;
    if (at.met < 2 || kept_ >= most_kept || at.runs.size() >= most_at_pc || !worth_while(at)) return nullptr;
    running_at_ = &at;
    running_ = std::make_unique<Run>(Footprint(memory_, code_, start.stack, start.sp), start.bp.has_value(),
                                     bytes_of(start), start.to_come);
    return &running_->footprint;
}

void FrameRuns::end(const Remaining& result, const std::vector<Symbolic>& released,
                    const std::vector<Symbolic>& balanced) {
    if (running_at_ == nullptr || !running_->footprint.finish()) return;
    running_->result = result;
    running_->released = released;
    running_->balanced = balanced;
    running_at_->runs.push_back(std::move(running_));
    ++kept_;
}

}  // namespace incident::go
