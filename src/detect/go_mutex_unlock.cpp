// go.mutex.bad-unlock: the runtime's own word: "sync: unlock of unlocked mutex" and its sisters.
//
// Proof: the fatal error and the frame that called Unlock. The lock's address is believed only when its word is what
// such an Unlock leaves behind: -1. Innocent look-alikes: none.
#include <fmt/format.h>

#include <algorithm>

#include "detect/locks.h"
#include "detect/telling.h"
#include "process/snapshot.h"

namespace incident::detect {

namespace {

struct Word {
    std::string_view message, type, call;
    std::uint64_t offset;  ///< of the counter that the bad release left below zero
    bool minus_one;
};

/// Words of the stack that may be the lock's address, innermost first, and what the code before each return loads
/// rip-relative.
std::optional<Address> find_lock(const Process& process, const go::GoStack& stack, std::size_t caller,
                                 const Word& word) {
    auto matches = [&](Address at) {
        auto value = process.memory.load<std::uint32_t>(at + word.offset);
        if (!value || !at.is_aligned(4)) return false;
        return word.minus_one ? *value == 0xffffffffu : *value >= (1u << 30) && *value < 0x80000000u;
    };
    const Address begin = stack.physical.front().sp;
    const Address end = std::min(stack.physical[caller].cfa + 256, begin + 65536);
    // The nearest to the Unlock's own frames wins.
    for (std::size_t f = caller + 1; f-- > 0;) {
        const auto& frame = stack.physical[f];
        if (frame.owner != go::StackOwner::goroutine || frame.sp.is_null() || frame.cfa.is_null()) continue;
        for (Address at = frame.sp.align_down(8); at < frame.cfa + 32 && at < frame.sp + 4096; at += 8)
            if (auto value = process.memory.load_address(at); value && value->value > 4096 && matches(*value))
                return *value;
        if (process.disassembler && frame.func() != nullptr)
            for (auto& i : process.disassembler->decode_range(
                     process.memory, {frame.func()->entry, std::min(frame.pc, frame.func()->end)}, 4096))
                for (auto& m : i.memory)
                    if (m.absolute &&
                        (matches(*m.absolute) || (word.offset != 0 && matches(*m.absolute - word.offset))))
                        return matches(*m.absolute) ? *m.absolute : *m.absolute - word.offset;
    }
    // Else an object around the lock: its fields, for a receiver that only the caller still has.
    for (Address at = begin.align_down(8); at < end; at += 8) {
        auto value = process.memory.load_address(at);
        if (!value || value->value <= 4096) continue;
        for (std::uint64_t field = 0; field < 256; field += 4)
            if (matches(*value + field) && process.memory.load<std::uint32_t>(*value + field + 4).value_or(1) == 0)
                return *value + field;
    }
    return std::nullopt;
}

}  // namespace

Detection detect_bad_unlock(const Process& process) {
    Detection detection;
    const CrashContext& crash = *process.crash;
    detection.checked = 1;
    if (crash.kind != report::CrashKind::go_fatal || !crash.message) return detection;
    const auto reader = static_cast<std::uint64_t>(std::max(process.go->layout().sync_RWMutex.readerCount.offset, 16));
    const Word known[] = {{"sync: unlock of unlocked mutex", "sync.Mutex", "Unlock", 0, true},
                          {"sync: RUnlock of unlocked RWMutex", "sync.RWMutex", "RUnlock", reader, true},
                          {"sync: Unlock of unlocked RWMutex", "sync.RWMutex", "Unlock", reader, false}};
    auto word =
        std::ranges::find_if(known, [&](const Word& w) { return crash.message->find(w.message) != std::string::npos; });
    if (word == std::end(known)) return detection;
    report::Finding finding;
    finding.kind = "go.mutex.bad-unlock";
    finding.severity = report::Severity::error;
    finding.strength = report::Strength::proved;
    const auto& stack = crash.stack;
    std::size_t caller = 0;
    for (; caller < stack.frames.size(); ++caller) {
        const report::Frame& frame = stack.frames[caller];
        if (frame.kind == report::FrameKind::go && !is_go_machinery(frame.function)) break;
    }
    const Locator& locator = *process.locator;
    std::string where = "an unknown function";
    if (caller < stack.frames.size()) {
        const auto& frame = stack.frames[caller];
        where = place_in_source(frame);
        finding.evidence.push_back(
            {fmt::format("{} called {}", frame.function, word->call), frame.pc, where, "core", "stack"});
        if (auto at = find_lock(process, stack, stack.frame_of[caller], *word)) {
            finding.subject.address = *at;
            if (locator.place(*at).kind == PlaceKind::image) finding.subject.symbol = locator.symbol(*at);
            auto value = process.memory.load<std::uint32_t>(*at + word->offset).value_or(0);
            finding.evidence.push_back({word->offset == 0 ? "the mutex's state went below zero"
                                                          : "readerCount after a release that nobody owed",
                                        *at + word->offset, fmt::format("{:#x}", value), "core",
                                        "words of the frames"});
            finding.verify.push_back(gdb_check(process, {fmt::format("x/6wx {:#x}", at->value)}));
        }
        if (!stack.frames[caller].inlined) add_snapshot(process, finding, stack, caller, crash.goid);
    }
    finding.subject.what = "lock";
    finding.subject.type = word->type;
    finding.title = fmt::format("An unlocked lock was unlocked: {}", *crash.message);
    finding.where = where;
    finding.why = "the runtime stops a process that gives back what nobody holds";
    finding.evidence.insert(finding.evidence.begin(), {"the runtime's fatal error", std::nullopt, *crash.message,
                                                       "core", "frame of " + crash.runtime_function});
    if (crash.goid) finding.goroutines.push_back(*crash.goid);
    if (crash.tid) finding.threads.push_back(*crash.tid);
    finding.remedy = fmt::format(
        "look for an {0} both deferred and explicit, two of them on one path, or a lock that was copied by value",
        word->call);
    detection.findings.push_back(std::move(finding));
    return detection;
}

}  // namespace incident::detect
