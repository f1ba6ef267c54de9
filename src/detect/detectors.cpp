// The table of detectors, and the loop that runs it.
#include <algorithm>
#include <iterator>
#include <unordered_map>
#include <unordered_set>

#include "base/text.h"
#include "detect/crash.h"
#include "detect/detector.h"
#include "detect/go_goroutine_leaked.h"
#include "detect/go_headers.h"
#include "detect/go_map.h"
#include "detect/go_pool.h"
#include "detect/locks.h"
#include "detect/native.h"
#include "detect/native_locks.h"
#include "detect/pointers.h"
#include "detect/telling.h"

namespace incident::detect {

namespace {

constexpr unsigned no_needs = 0;

constexpr Detector table[] = {
    {"crash", "what the process died of", crash_kinds, no_needs | Need::crash, detect_crash},
    {"go.mutex.bad-unlock", "unlock of an unlocked lock", bad_unlock_kinds, Need::crash | Need::go, detect_bad_unlock},
    {"lock.cycle", "goroutines and threads that wait for each other in a circle", cycle_kinds,
     no_needs | Need::wait_graph, detect_lock_cycles},
    {"go.mutex", "locks that nobody can release, and goroutines that wait for themselves", mutex_kinds,
     no_needs | Need::locks, detect_mutexes},
    {"go.rwmutex", "read locks that nobody gives back", rwmutex_kinds, no_needs | Need::locks, detect_rwmutexes},
    {"go.waitgroup", "WaitGroups that nobody brings to zero", waitgroup_kinds, no_needs | Need::locks,
     detect_waitgroups},
    {"go.goroutine.leaked", "goroutines blocked on what no goroutine that can run will ever reach", leaked_kinds,
     Need::goroutines | Need::stacks | Need::heap | Need::leaks, detect_leaked_goroutines},
    {"go.map.concurrent-access", "the runtime's own word about a map in two goroutines", map_race_kinds,
     Need::crash | Need::go, detect_map_race},
    {"go.map", "every map of the heap against its own invariants, and maps used after they were freed", map_kinds,
     Need::goroutines | Need::stacks | Need::spans, detect_maps, Need::heap | Need::heap_types},
    {"go.pool", "objects that stand twice in a sync.Pool", pool_kinds, Need::go | Need::spans, detect_pool_duplicates},
    {"go.header", "slices, strings and interfaces against what they point to", header_kinds,
     Need::go | Need::goroutines | Need::stacks | Need::heap | Need::heap_types, detect_bad_headers},
    {"native.heap", "malloc's structures, and what it died of", heap_fault_kinds, no_needs | Need::malloc,
     detect_heap_faults},
    {"native.pointer", "live memory that leads into freed chunks", native_pointer_kinds, no_needs | Need::malloc,
     detect_native_pointers},
    {"native.mutex", "pthread mutexes whose owner is gone or waits for itself", native_mutex_kinds,
     Need::threads | Need::pthreads, detect_native_mutexes},
    {"native.rwlock", "pthread rwlocks whose writer is gone", native_rwlock_kinds, Need::threads | Need::pthreads,
     detect_native_rwlocks},
    {"go.frame-chain", "return addresses and saved frame pointers that cannot be one", frame_chain_kinds,
     Need::goroutines | Need::stacks, detect_broken_chains},
    {"go.pointer.bad", "the collector's own word about a bad pointer", bad_pointer_kinds, Need::crash | Need::go,
     detect_bad_pointer, no_needs | Need::heap},
    {"go.pointer", "pointers to what was freed, and into frames that are gone", pointer_kinds,
     Need::goroutines | Need::stacks | Need::spans, detect_pointers, Need::heap | Need::heap_types},
    {"native.frame-pointer", "variables that lead into stack frames that are gone", native_frame_kinds,
     no_needs | Need::threads, detect_native_frames},
    {"cgo.pointer", "C memory that keeps Go objects which Go has given up", cgo_pointer_kinds,
     Need::go | Need::spans | Need::goroutines | Need::malloc, detect_cgo_pointers, no_needs | Need::heap},
    {"native.frame-chain", "return addresses that are none", native_chain_kinds, no_needs | Need::threads,
     detect_native_chains},
};

bool matches(std::string_view kind, std::string_view pattern) {
    return kind == pattern || (kind.starts_with(pattern) && (pattern.ends_with('.') || kind[pattern.size()] == '.'));
}

bool selected(std::string_view kind, std::span<const std::string> only, std::span<const std::string> skip) {
    auto names = [&](const std::string& pattern) { return matches(kind, pattern); };
    return (only.empty() || std::ranges::any_of(only, names)) && std::ranges::none_of(skip, names);
}

bool selected(const Detector& detector, std::span<const std::string> only, std::span<const std::string> skip) {
    return std::ranges::any_of(detector.kinds, [&](std::string_view kind) { return selected(kind, only, skip); });
}

/// Empty when every need is met; else the outcome to report instead.
std::optional<report::DetectorOutcome> unmet(const Process& process, const Detector& detector) {
    auto needs = [&](Need need) { return (detector.needs & static_cast<unsigned>(need)) != 0; };
    auto outcome = [&](report::Outcome kind, std::string reason) {
        return report::DetectorOutcome{std::string(detector.id), kind, 0, 0, std::move(reason)};
    };
    bool wants_go =
        needs(Need::go) || needs(Need::goroutines) || needs(Need::stacks) || needs(Need::spans) || needs(Need::locks);
    if (wants_go && !process.go) {
        if (process.go_expected) return outcome(report::Outcome::skipped, process.go_absent);
        return outcome(report::Outcome::not_applicable, "no Go in this process");
    }
    if (needs(Need::crash) && !process.crash) return outcome(report::Outcome::skipped, "the crash was not looked at");
    if (needs(Need::goroutines) && !process.goroutines)
        return outcome(report::Outcome::skipped, "the goroutines could not be read");
    if (needs(Need::stacks) && process.stacks.empty() && process.goroutines && !process.goroutines->all.empty())
        return outcome(report::Outcome::skipped, "no goroutine's stack was walked");
    if (needs(Need::spans) && !process.spans)
        return outcome(report::Outcome::skipped, "the Go heap's spans could not be read");
    if (needs(Need::wait_graph) && !process.locks && process.go_expected)
        return outcome(report::Outcome::skipped, process.go_absent);
    if ((needs(Need::locks) || needs(Need::wait_graph)) && !process.locks)
        return outcome(report::Outcome::skipped, "the locks could not be looked at");
    if (needs(Need::threads) && process.threads.empty())
        return outcome(report::Outcome::skipped, "no thread was unwound");
    if (needs(Need::heap) && !process.heap)
        return outcome(report::Outcome::skipped, "the objects of the Go heap were not looked at");
    if (needs(Need::heap_types) && !process.heap_types)
        return outcome(report::Outcome::skipped, "the types of the Go heap's objects were not looked at");
    if (needs(Need::malloc) && process.go && !process.go->cgo())
        return outcome(report::Outcome::not_applicable, "no C in this Go program");
    if (needs(Need::leaks) && !process.leaks)
        return outcome(report::Outcome::skipped, "what goroutines wait for could not be read");
    if (needs(Need::malloc) && !process.malloc)
        return outcome(report::Outcome::skipped, "malloc's heaps were not looked at");
    if (needs(Need::pthreads) && !process.pthreads)
        return outcome(report::Outcome::skipped, "the pthread locks were not looked at");
    return std::nullopt;
}

/// malloc's abort, or a fault on freed memory, is told by the finding about that memory.
void give_way_to_memory(std::vector<report::Finding>& findings) {
    for (std::string_view death : {"crash.abort", "crash.fault", "crash.fatal"}) {
        auto tells = [&](const report::Finding& f) {
            return f.severity == report::Severity::error && std::ranges::find(f.related, death) != f.related.end();
        };
        if (std::ranges::any_of(findings, tells))
            std::erase_if(findings, [&](const report::Finding& f) { return f.kind == death; });
    }
}

/// Precedence between kinds that see the same fault: `general` gives way to `special` when `same` says that it is one.
struct Precedence {
    std::string_view special, general;
    bool (*same)(const report::Finding& special, const report::Finding& general);
};

bool same_subject(const report::Finding& a, const report::Finding& b) {
    return a.subject.address && a.subject.address == b.subject.address;
}
/// They lead to the same object or word: an address that both name in their evidence.
bool share_an_address(const report::Finding& a, const report::Finding& b) {
    return same_subject(a, b) || std::ranges::any_of(a.evidence, [&](const report::Evidence& mine) {
               return mine.address && std::ranges::any_of(b.evidence, [&](const report::Evidence& other) {
                          return other.address == mine.address;
                      });
           });
}
/// The same freed map, seen from the word that leads to it and from a frame that uses it: the word says more.
bool names_the_holder(const report::Finding& word, const report::Finding& frame) {
    return word.subject.what != "map" && frame.subject.what == "map" && share_an_address(word, frame);
}
/// Who ranges over a map sets its flags, in whatever has the memory by now.
bool lies_in_the_header(const report::Finding& map, const report::Finding& words) {
    return std::ranges::any_of(map.evidence, [&](const report::Evidence& header) {
        return header.address && std::ranges::any_of(words.evidence, [&](const report::Evidence& other) {
                   return other.address && *other.address < *header.address + 48 &&
                          *header.address < *other.address + 24;
               });
    });
}
/// The runtime's last words were about just this.
bool said_bad_pointer(const report::Finding&, const report::Finding& crash) {
    return crash.title.find("found bad pointer in Go heap") != std::string::npos;
}
bool said_bad_caller(const report::Finding&, const report::Finding& crash) {
    return crash.title.find("unknown caller pc") != std::string::npos ||
           crash.title.find("unexpected return pc") != std::string::npos;
}

/// What free() refused was read out of a freed chunk: free() itself had written it there.
bool was_read_from_freed(const report::Finding& freed, const report::Finding& refused) {
    return freed.mark.fault == "followed" && refused.subject.address &&
           std::ranges::any_of(freed.evidence, [&](const report::Evidence& e) {
               return e.value == hex(refused.subject.address->value);
           });
}

/// Most special first.
constexpr Precedence precedence[] = {
    {"go.pointer.bad", "crash.fatal", said_bad_pointer},
    {"go.frame-chain.broken", "crash.fatal", said_bad_caller},
    {"go.pointer.bad", "go.pointer.freed", share_an_address},
    {"go.map.freed", "go.map.freed", names_the_holder},
    {"go.map.freed", "go.pointer.freed", share_an_address},
    {"go.map.freed", "go.map.concurrent-access", share_an_address},  // its flags are what the memory holds now
    {"go.map.freed", "go.slice.bad", lies_in_the_header},
    {"go.map.freed", "go.string.bad", lies_in_the_header},
    {"go.map.freed", "go.interface.bad", lies_in_the_header},
    {"cgo.pointer.outlived", "go.pointer.freed", share_an_address},
    {"cgo.pointer.outlived", "go.pointer.offheap-only", share_an_address},
    {"go.pointer.freed", "go.pointer.offheap-only", share_an_address},
    {"native.pointer.freed", "native.heap.bad-free", was_read_from_freed},
};

void give_way_by_table(std::vector<report::Finding>& findings) {
    std::vector<bool> gone(findings.size());
    for (const Precedence& row : precedence)
        for (std::size_t s = 0; s < findings.size(); ++s) {
            if (findings[s].kind != row.special || gone[s]) continue;
            for (std::size_t g = 0; g < findings.size(); ++g) {
                if (g == s || gone[g] || findings[g].kind != row.general || !row.same(findings[s], findings[g]))
                    continue;
                gone[g] = true;
                if (findings[g].kind == findings[s].kind) continue;
                std::vector<std::string>& related = findings[s].related;
                related.push_back(findings[g].kind);
                for (const std::string& kind : findings[g].related)
                    if (std::ranges::find(related, kind) == related.end()) related.push_back(kind);
            }
        }
    std::size_t at = 0;
    std::erase_if(findings, [&](const report::Finding&) { return gone[at++]; });
}

/// A goroutine that a finding about a lock or WaitGroup explains is not told again as leaked; nor is a holder who
/// waits for ever, nor who waits behind one of these.
void give_way_to_locks(const Process& process, std::vector<report::Finding>& findings) {
    const auto leaked = [](const report::Finding& f) { return f.kind == "go.goroutine.leaked"; };
    if (std::ranges::none_of(findings, leaked)) return;
    std::unordered_map<std::int64_t, std::size_t> told_by;
    for (std::size_t i = 0; i < findings.size(); ++i) {
        const report::Finding& f = findings[i];
        if (f.kind.starts_with("go.mutex.") || f.kind.starts_with("go.rwmutex.") || f.kind == "go.waitgroup.stuck" ||
            f.kind == "lock.cycle")
            for (std::int64_t id : f.goroutines) told_by.try_emplace(id, i);
        const bool writer = f.kind == "go.mutex.orphaned", reader = f.kind == "go.rwmutex.reader-leaked";
        if ((!writer && !reader) || !process.locks || !f.subject.address) continue;
        if (const GoLock* lock = process.locks->find(*f.subject.address))
            for (const LockHolderRow& holder : lock->holders)
                if (holder.kind == (writer ? go::HoldKind::exclusive : go::HoldKind::shared))
                    told_by.try_emplace(process.goroutines->all[holder.goroutine].goid, i);
    }
    std::unordered_set<std::int64_t> explained;
    for (const auto& f : findings)
        if (leaked(f))
            for (std::int64_t id : f.goroutines)
                if (told_by.contains(id)) explained.insert(id);
    if (explained.empty()) return;
    auto told = tell_leaks(process, explained);
    std::vector<std::size_t> lines(findings.size());
    for (auto& [by, goroutine, evidence] : told.behind) {
        constexpr std::size_t most_lines = 4;
        const std::size_t i = told_by.at(by);
        findings[i].goroutines.push_back(goroutine);
        if (++lines[i] <= most_lines) findings[i].evidence.push_back(std::move(evidence));
    }
    std::erase_if(findings, leaked);
    std::ranges::move(told.findings, std::back_inserter(findings));
}

/// One fault, one finding: the runtime's fatal error about a lock is told by the finding about that lock.
void give_way(std::vector<report::Finding>& findings) {
    give_way_by_table(findings);
    auto lock = std::ranges::find(findings, std::string_view("go.mutex.bad-unlock"), &report::Finding::kind);
    if (lock == findings.end()) {
        // "all goroutines are asleep": which lock, cycle or group it was says more.
        auto stuck = [](const report::Finding& f) {
            return f.severity == report::Severity::error && !f.kind.starts_with("crash.");
        };
        lock = std::ranges::find_if(findings, stuck);
        auto asleep = [](const report::Finding& f) {
            return f.kind == "crash.fatal" && f.title.find("all goroutines are asleep") != std::string::npos;
        };
        if (lock == findings.end() || std::ranges::none_of(findings, asleep)) return;
    }
    std::string kind = lock->kind;
    for (auto& finding : findings)
        if (finding.kind == kind) finding.related.push_back("crash.fatal");
    std::erase_if(findings, [](const report::Finding& f) { return f.kind == "crash.fatal"; });
}

}  // namespace

std::span<const Detector> detectors() { return table; }

bool reads(Need what, std::span<const std::string> only, std::span<const std::string> skip) {
    return std::ranges::any_of(table, [&](const Detector& detector) {
        return ((detector.needs | detector.uses) & static_cast<unsigned>(what)) != 0 && selected(detector, only, skip);
    });
}

DetectorRun run_detectors(const Process& process, std::span<const std::string> only,
                          std::span<const std::string> skip) {
    DetectorRun run;
    for (const Detector& detector : detectors()) {
        if (!selected(detector, only, skip)) {
            run.outcomes.push_back(
                {std::string(detector.id), report::Outcome::skipped, 0, 0, "skipped by --only or --skip"});
            continue;
        }
        if (auto outcome = unmet(process, detector)) {
            run.outcomes.push_back(std::move(*outcome));
            continue;
        }
        Detection detection = detector.run(process);
        std::erase_if(detection.findings, [&](const report::Finding& f) { return !selected(f.kind, only, skip); });
        auto outcome = !detection.findings.empty() ? report::Outcome::found
                       : detection.reason.empty()  ? report::Outcome::clean
                                                   : report::Outcome::partial;
        run.outcomes.push_back(
            {std::string(detector.id), outcome, detection.checked, detection.unchecked, detection.reason});
        std::ranges::move(detection.findings, std::back_inserter(run.findings));
    }
    give_way(run.findings);
    give_way_to_locks(process, run.findings);
    give_way_to_memory(run.findings);
    if (const auto unpack = unpack_check(process))
        for (report::Finding& finding : run.findings)
            if (!finding.verify.empty()) finding.verify.insert(finding.verify.begin(), *unpack);
    // What the process died of stays before equals: it is what the reader came for.
    auto tells_death = [](const report::Finding& f) {
        return f.kind.starts_with("crash.") ||
               std::ranges::any_of(f.related, [](const std::string& kind) { return kind.starts_with("crash."); });
    };
    std::ranges::stable_sort(run.findings, [&](auto& a, auto& b) {
        if (a.severity != b.severity) return a.severity > b.severity;
        return a.strength != b.strength ? a.strength > b.strength : tells_death(a) && !tells_death(b);
    });
    return run;
}

}  // namespace incident::detect
