// native.pointer.freed, of a lock: a thread sleeps in libc on a futex word inside a malloc chunk that was freed.
//
// Proof: likely, by two witnesses that know nothing of each other. The registers of the system call name the word,
// malloc's own lists name the chunk, and every function of libc that sleeps so reads the lock again when it wakes up.
// Whether the word still has its value is not asked: free() writes its list's links just there. Innocent look-alikes,
// silent: a program's own futex (syscall(2)), which may live in memory that it never looks at again; the end of a
// joined thread, which lies in its stack.
#include "detect/native_freed_waits.h"

#include <algorithm>

#include <fmt/format.h>

#include "base/text.h"
#include "detect/native_locks.h"
#include "detect/telling.h"

namespace incident::detect {

using native::FutexCaller;
using native::FutexWait;

namespace {

constexpr std::size_t most_chunks = 16;
constexpr std::size_t most_evidence = 4;

}  // namespace

std::vector<FreedWait> find_freed_waits(const Process& process) {
    std::vector<FreedWait> found;
    if (!process.pthreads || !process.malloc) return found;
    const auto waits = process.pthreads->waits();
    for (std::uint32_t w = 0; w < waits.size(); ++w) {
        if (waits[w].caller != FutexCaller::libc || !process.malloc->contains(waits[w].word)) continue;
        auto chunk = process.malloc->find(waits[w].word);
        if (!chunk || !chunk->free() || !chunk->user.contains(waits[w].word)) continue;
        auto known = std::ranges::find(found, chunk->address, [](const FreedWait& f) { return f.chunk.address; });
        if (known != found.end())
            known->waits.push_back(w);
        else if (found.size() < most_chunks)
            found.push_back({*chunk, {w}});
    }
    return found;
}

report::Finding tell_freed_wait(const Process& process, const FreedWait& freed) {
    const PthreadTeller teller(process);
    const Locator& locator = *process.locator;
    const FutexWait& first = process.pthreads->waits()[freed.waits.front()];
    report::Finding finding;
    finding.kind = "native.pointer.freed";
    finding.severity = report::Severity::error;
    finding.strength = report::Strength::likely;
    finding.subject = {freed.chunk.user.begin, "malloc chunk", fmt::format("{} B", freed.chunk.user.size()), ""};
    finding.mark = {"lock freed under its waiters", "", fmt::format("a {} B chunk", freed.chunk.user.size())};
    finding.title =
        fmt::format("{} for a lock that was freed",
                    freed.waits.size() == 1 ? fmt::format("Thread {} waits", process.core.threads()[first.thread].tid)
                                            : fmt::format("{} threads wait", freed.waits.size()));
    const std::string asker = teller.asker(first.thread);
    if (!asker.empty()) finding.where = "asked for in " + asker;
    finding.why = fmt::format("the lock's word {:#x} lies in {}", first.word.value, locator.describe(first.word));
    for (std::uint32_t w : freed.waits) {
        const FutexWait& wait = process.pthreads->waits()[w];
        teller.add_actor(finding, wait.thread);
        if (finding.evidence.size() >= most_evidence) continue;
        finding.evidence.push_back(teller.wait_evidence(wait));
        if (!wait.function.empty()) finding.evidence.back().what += ", in " + wait.function;
        teller.add_snapshot(finding, wait.thread);
    }
    finding.evidence.push_back(
        {"where the word lies", first.word, locator.describe(first.word), "core", "malloc's chunks"});
    finding.verify.push_back(gdb_words(process, freed.chunk.user.begin - 16, 4));
    finding.remedy =
        "free the object only when nobody can wait for its lock any more: join the threads, or count who uses it";
    return finding;
}

}  // namespace incident::detect
