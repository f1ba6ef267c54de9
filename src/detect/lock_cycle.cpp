// lock.cycle: goroutines and threads that wait for each other in a circle, over Go's locks, channels, pthread locks and
// pthread_join.
//
// Proof: every edge has its own basis: the waiter's semaphore, channel or system call, and the holder's pending defer
// or remaining code, or the owner written in the pthread lock. A goroutine on a channel counts only when everybody who
// could serve the channel is stuck as well. Innocent look-alikes: a lock with several possible holders; a channel that
// somebody else may serve; a wait with a time limit; a goroutine on the owner thread that is not locked to it. Those
// make no cycle, or one that is only possible. Threads and pthread locks alone: proved. Threads that join each other:
// likely, since one of them may be cancelled.
#include <fmt/format.h>

#include <algorithm>
#include <unordered_map>
#include <unordered_set>

#include "base/text.h"
#include "detect/locks.h"
#include "detect/native_locks.h"
#include "detect/telling.h"

namespace incident::detect {

namespace {

constexpr std::size_t most_others = 4;  // lines of evidence for who is not in the circle that is told
constexpr std::size_t most_alike = 8;   // circles in the same places that are each a finding: then they are counted

/// One cycle; either teller may be missing: there may be no Go, or nothing that waits in C.
struct CycleTeller {
    const Process& process;
    const LockTeller* go;
    const PthreadTeller* native;

    bool in_c(const BlockEdge& edge) const { return edge.wait != SIZE_MAX && native != nullptr; }
    const native::FutexWait& wait_of(const BlockEdge& edge) const { return process.pthreads->waits()[edge.wait]; }
    std::string who(std::uint32_t node) const {
        const auto actor = actor_of(process, node);
        return actor.goroutine ? fmt::format("goroutine {}", *actor.goroutine)
                               : fmt::format("thread {}", *actor.thread);
    }
    std::string what(const BlockEdge& edge) const {
        if (edge.lock != SIZE_MAX && go != nullptr) return go->name(process.locks->locks[edge.lock]);
        if (edge.pthread != SIZE_MAX && in_c(edge)) return native->name(process.pthreads->locks()[edge.pthread]);
        return edge.what;
    }
    const report::Frame* asking(const BlockEdge& edge) const {
        if (in_c(edge)) {
            const auto* named = native->naming_frame(wait_of(edge).thread);
            return named != nullptr ? named : native->asking_frame(wait_of(edge).thread);
        }
        return go != nullptr ? go->asking_frame(edge.from) : nullptr;
    }
    /// Where each of the circle asks for what it waits for, without repeats.
    std::vector<std::string> places(const std::vector<std::size_t>& cycle) const {
        std::vector<std::string> all;
        for (auto e : cycle)
            if (auto* frame = asking(process.locks->edges[e]); frame != nullptr)
                if (std::string text = place_in_source(*frame); std::ranges::find(all, text) == all.end())
                    all.push_back(std::move(text));
        return all;
    }
    report::Evidence evidence(const BlockEdge& edge) const {
        std::string text = fmt::format("{} waits for {}; {}: {}", who(edge.from), what(edge), who(edge.to), edge.basis);
        if (edge.pthread != SIZE_MAX)
            return {text, edge.object, fmt::format("{:#x}", process.pthreads->locks()[edge.pthread].raw()), "core",
                    "registers of the system call, " + process.pthreads->basis()};
        if (in_c(edge)) return {text, edge.object, "", "core", "registers of the system call"};
        if (edge.lock == SIZE_MAX) return {text, edge.object, "", "core", "g.waiting and disassembly"};
        return {text, edge.object, fmt::format("{:#x}", process.locks->locks[edge.lock].state.raw), "core",
                "semtable, defers and disassembly"};
    }
    void add_actor(report::Finding& finding, const BlockEdge& edge) const {
        if (in_c(edge))
            native->add_actor(finding, wait_of(edge).thread);
        else if (auto actor = actor_of(process, edge.from); actor.goroutine)
            finding.goroutines.push_back(*actor.goroutine);
    }
    /// Who waits for something in a circle is stuck with it, in another circle through the same thing or behind it.
    void add_others(const std::unordered_map<Address, std::size_t>& told,
                    std::vector<report::Finding>& findings) const {
        struct Told {
            std::unordered_set<std::int64_t> goroutines, threads;
            std::size_t others = 0;
        };
        std::vector<Told> by_finding;
        for (const auto& f : findings)
            by_finding.push_back({{f.goroutines.begin(), f.goroutines.end()}, {f.threads.begin(), f.threads.end()}, 0});
        for (const BlockEdge& edge : process.locks->edges) {
            const auto known = told.find(edge.object);
            if (known == told.end()) continue;
            Told& already = by_finding[known->second];
            const auto actor = actor_of(process, edge.from);
            if (!(actor.goroutine ? already.goroutines.insert(*actor.goroutine) : already.threads.insert(*actor.thread))
                     .second)
                continue;
            report::Finding& finding = findings[known->second];
            if (++already.others <= most_others) finding.evidence.push_back(evidence(edge));
            add_actor(finding, edge);
        }
        for (std::size_t f = 0; f < findings.size(); ++f)
            if (by_finding[f].others > most_others)
                findings[f].evidence.push_back(
                    {fmt::format("{} more wait for the same", by_finding[f].others - most_others), std::nullopt, "",
                     "core", "what each waits for"});
    }
    void snapshot(report::Finding& finding, const BlockEdge& edge) const {
        if (in_c(edge))
            native->add_snapshot(finding, wait_of(edge).thread);
        else if (go != nullptr)
            go->add_snapshot(finding, edge.from);
    }
};

}  // namespace

Detection detect_lock_cycles(const Process& process) {
    Detection detection;
    const LockPicture& picture = *process.locks;
    detection.checked = picture.edges.size();
    if (picture.cycles.empty()) return detection;
    std::optional<LockTeller> go_teller;
    std::optional<PthreadTeller> native_teller;
    if (process.go) go_teller.emplace(process);
    if (process.pthreads) native_teller.emplace(process);
    const CycleTeller teller{process, go_teller ? &*go_teller : nullptr, native_teller ? &*native_teller : nullptr};
    std::unordered_map<Address, std::size_t> told;  // what is waited for → its finding
    struct Alike {
        std::size_t finding = 0, told = 0;
    };
    std::unordered_map<std::string, Alike> by_places;
    for (auto& cycle : picture.cycles) {
        const GoLock* first = nullptr;
        const native::PthreadLock* first_native = nullptr;
        bool certain = true, only_native = true;
        std::optional<std::size_t> again;
        std::size_t threads = 0;
        for (auto e : cycle) {
            const BlockEdge& edge = picture.edges[e];
            certain &= edge.certain;
            if (const auto known = told.find(edge.object); known != told.end()) again = known->second;
            only_native &= edge.wait != SIZE_MAX;
            threads += actor_of(process, edge.from).thread.has_value();
            if (edge.lock != SIZE_MAX && (first == nullptr || edge.object < first->state.address))
                first = &picture.locks[edge.lock];
            if (edge.pthread != SIZE_MAX && (first_native == nullptr || edge.object < first_native->address))
                first_native = &process.pthreads->locks()[edge.pthread];
        }
        const bool joins = first == nullptr && first_native == nullptr;
        if (joins && (!native_teller || threads != cycle.size() || !only_native)) continue;
        const std::vector<std::string> places = teller.places(cycle);
        std::vector<std::string> sorted = places;
        std::ranges::sort(sorted);
        Alike& alike = by_places[fmt::format("{} {} {}", cycle.size(), certain, fmt::join(sorted, "\n"))];
        const bool fold = !again && alike.told >= most_alike;
        const std::size_t index = again ? *again : fold ? alike.finding : detection.findings.size();
        for (auto e : cycle) told.try_emplace(picture.edges[e].object, index);
        if (again) continue;
        if (fold) {
            ++detection.findings[index].count;
            for (auto e : cycle) teller.add_actor(detection.findings[index], picture.edges[e]);
            continue;
        }
        if (alike.told++ == 0) alike.finding = index;
        auto finding = first != nullptr          ? go_teller->start(*first, "lock.cycle")
                       : first_native != nullptr ? native_teller->start(*first_native, "lock.cycle")
                                                 : report::Finding{};
        finding.kind = "lock.cycle";
        finding.strength = !certain                                           ? report::Strength::possible
                           : only_native && threads == cycle.size() && !joins ? report::Strength::proved
                                                                              : report::Strength::likely;
        finding.severity = certain ? report::Severity::error : report::Severity::warning;
        finding.goroutines.clear();
        finding.threads.clear();
        finding.evidence.clear();
        for (auto e : cycle) {
            const BlockEdge& edge = picture.edges[e];
            teller.add_actor(finding, edge);
            finding.evidence.push_back(teller.evidence(edge));
            if (teller.in_c(edge) && native_teller)
                finding.evidence.push_back(native_teller->wait_evidence(teller.wait_of(edge)));
            teller.snapshot(finding, edge);
        }
        finding.title = fmt::format("{} {} wait for each other in a circle", cycle.size(),
                                    threads == 0              ? "goroutines"
                                    : threads == cycle.size() ? "threads"
                                                              : "goroutines and threads");
        finding.where = places.size() == 1 && cycle.size() > 1 ? "all of them in " + places.front()
                                                               : fmt::format("{}", fmt::join(places, " and "));
        finding.why =
            joins ? "each waits for the end of the next (pthread_join)" : "each holds what the one before it wants";
        if (!certain)
            finding.innocent.push_back(
                "one of the waits has a time limit, or one of the holders may have been held for somebody else");
        if (first != nullptr) go_teller->add_verify(finding, *first);
        if (first_native != nullptr) native_teller->add_verify(finding, *first_native);
        if (joins) {
            finding.subject.what = "thread";
            finding.innocent.push_back(
                "somebody outside of the circle may cancel one of them: pthread_join is a point of cancellation");
            finding.verify.push_back(gdb_check(process, {"thread apply all bt"}));
            finding.remedy = "let one thread, their creator, join them all";
            detection.findings.push_back(std::move(finding));
            continue;
        }
        finding.remedy =
            "take the locks in one agreed order everywhere, or hold only one at a time; never wait on a channel or "
            "join a "
            "thread with a lock that the other side needs";
        detection.findings.push_back(std::move(finding));
    }
    for (report::Finding& finding : detection.findings) {
        if (finding.count == 1) continue;
        finding.title += fmt::format(", and {} more alike", finding.count - 1);
        finding.evidence.push_back(
            {fmt::format("the same is true of {} in the same places", count_of(finding.count - 1, "more circle")),
             std::nullopt, "", "core", "the command locks lists them all"});
    }
    teller.add_others(told, detection.findings);
    return detection;
}

}  // namespace incident::detect
