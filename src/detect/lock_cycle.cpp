// lock.cycle: goroutines that wait for each other in a circle, over locks and channels.
//
// Proof: every edge has its own basis: the waiter's semaphore or channel, and the holder's pending defer or remaining
// code. A goroutine on a channel counts only when everybody who could serve the channel is stuck as well. Innocent
// look-alikes: a lock with several possible holders; a channel that somebody else may serve. Those make no cycle.
#include <fmt/format.h>

#include <set>

#include "detect/locks.h"

namespace incident::detect {

Detection detect_lock_cycles(const Process& process) {
    Detection detection;
    const LockPicture& picture = *process.locks;
    detection.checked = picture.edges.size();
    if (picture.cycles.empty()) return detection;
    LockTeller teller(process);
    std::set<Address> told;
    for (auto& cycle : picture.cycles) {
        const GoLock* first = nullptr;
        bool certain = true, again = false;
        for (auto e : cycle) {
            const BlockEdge& edge = picture.edges[e];
            certain &= edge.certain;
            again |= told.contains(edge.object);
            if (edge.lock != SIZE_MAX && (first == nullptr || edge.object < first->state.address))
                first = &picture.locks[edge.lock];
        }
        if (first == nullptr || again) continue;
        for (auto e : cycle) told.insert(picture.edges[e].object);
        auto finding = teller.start(*first, "lock.cycle");
        finding.strength = certain ? report::Strength::likely : report::Strength::possible;
        finding.severity = certain ? report::Severity::error : report::Severity::warning;
        finding.goroutines.clear();
        finding.evidence.clear();
        for (auto e : cycle) {
            const BlockEdge& edge = picture.edges[e];
            finding.goroutines.push_back(teller.goid(edge.from));
            const std::string what = edge.lock != SIZE_MAX ? teller.name(picture.locks[edge.lock]) : edge.what;
            finding.evidence.push_back(
                {fmt::format("goroutine {} waits for {}; goroutine {}: {}", teller.goid(edge.from), what,
                             teller.goid(edge.to), edge.basis),
                 edge.object, edge.lock != SIZE_MAX ? fmt::format("{:#x}", picture.locks[edge.lock].state.raw) : "",
                 "core", edge.lock != SIZE_MAX ? "semtable, defers and disassembly" : "g.waiting and disassembly"});
            teller.add_snapshot(finding, edge.from);
        }
        finding.title = fmt::format("{} goroutines wait for each other in a circle", cycle.size());
        std::string where;
        for (auto e : cycle)
            if (auto* frame = teller.asking_frame(picture.edges[e].from))
                where += (where.empty() ? "" : " and ") + fmt::format("{} ({}:{})", frame->function,
                                                                      frame->file.substr(frame->file.rfind('/') + 1),
                                                                      frame->line);
        finding.where = where;
        finding.why = "each holds what the one before it wants";
        teller.add_verify(finding, *first);
        finding.remedy =
            "take the locks in one agreed order everywhere, or hold only one at a time; never wait on a channel with a "
            "lock that the other side needs";
        detection.findings.push_back(std::move(finding));
    }
    return detection;
}

}  // namespace incident::detect
