// native.frame-chain.broken: the return address of a C or C++ frame was overwritten.
//
// Proof rule: unwind data (CFI) say where the frame's return address stands, and what stands there is no code. Proved
// when the thread died on the way through it (a fault at the return itself), else likely. Innocent look-alikes: code
// without unwind data and hand-written assembly have no rule and are not judged, nor is any frame under one that was
// found by scan; the outermost frame's is undefined or zero, and the walk ends there.
#include <fmt/format.h>

#include <algorithm>

#include "base/text.h"
#include "detect/native.h"
#include "detect/telling.h"
#include "go/binary/module_data.h"
#include "process/native_threads.h"
#include "process/snapshot.h"

namespace incident::detect {

namespace {

using report::Finding;

/// Certainly no code: nothing there, or a stack or heap. Files and other mappings may hold code that their permissions
/// in the core do not show (node's built-in functions, cored by gcore).
bool never_code(const Placement& place) {
    switch (place.kind) {
        case PlaceKind::null:
        case PlaceKind::small_number:
        case PlaceKind::non_canonical:
        case PlaceKind::unmapped:
        case PlaceKind::native_stack:
        case PlaceKind::malloc_chunk:
        case PlaceKind::malloc_heap: return true;
        default: return false;
    }
}

/// Go's own assembly (runtime.clone at the bottom of a thread's stack, whose frame the new thread writes over;
/// runtime.mcall, which changes stacks) is judged by go.frame-chain.broken, which knows the runtime's ways.
bool in_go_text(const Process& process, Address pc) {
    return process.go && std::ranges::any_of(process.go->modules(), [&](auto& m) { return m.text.contains(pc); });
}

/// Of a Go runtime that is not read (a further one, an unknown version) nobody knows which code is Go's.
bool in_unread_go(const Process& process, Address pc) {
    const Image* image = process.images->find(pc);
    if (image == nullptr || !go::has_go_sections(*image)) return false;
    return !process.go || std::ranges::none_of(process.go->modules(), [&](auto& m) { return m.image == image; });
}

}  // namespace

Detection detect_native_chains(const Process& process) {
    Detection detection;
    const Locator& locator = *process.locator;
    UnwindStep cfi = cfi_step(process.memory, *process.images);
    for (const NativeThread& thread : process.threads) {
        const auto& physical = thread.stack.physical;
        for (std::size_t i = 0; i < physical.size(); ++i) {
            const auto& frame = physical[i];
            if (frame.kind != report::FrameKind::native || frame.native >= thread.stack.native.size()) continue;
            if (in_go_text(process, frame.pc)) continue;
            // What unwind data say of a guessed frame's callers is no better than the guess (node: code made at run
            // time is passed by scan, and a frame that returned long ago is taken up).
            if (frame.trust >= report::Trust::frame_pointer) break;
            ++detection.checked;
            // Whose caller was found in another way, or not at all.
            bool guessed = i + 1 == physical.size() || physical[i + 1].trust >= report::Trust::frame_pointer;
            if (!guessed) continue;
            const UnwindState& state = thread.stack.native[frame.native].state;
            auto sp = state.registers.sp();
            if (!sp) continue;
            StepResult step = cfi.step(state, stack_range(process.memory, *sp));
            if (!step.bad_return || !step.cfa || !never_code(locator.place(Address{*step.bad_return}))) continue;
            if (in_unread_go(process, frame.pc)) continue;
            Finding finding;
            finding.kind = "native.frame-chain.broken";
            Address slot = *step.cfa - 8;
            bool died = i == 0 && process.crash && process.crash->kind == report::CrashKind::signal &&
                        process.crash->tid == thread.state->tid && slot == *sp;
            finding.severity = report::Severity::error;
            finding.strength = died ? report::Strength::proved : report::Strength::likely;
            std::string where = "an unknown function";
            for (std::size_t f = 0; f < thread.stack.frames.size(); ++f)
                if (thread.stack.frame_of[f] == i) where = place_in_source(thread.stack.frames[f]);
            finding.title = fmt::format("the return address of {} was overwritten: {:#x}", where, *step.bad_return);
            finding.where = fmt::format("{}, thread {}", where, thread.state->tid);
            finding.why = fmt::format("its slot {:#x} holds {:#x}, {}", slot.value, *step.bad_return,
                                      locator.describe(Address{*step.bad_return}));
            finding.subject = {slot, "return address", "", ""};
            finding.mark.fault = "return address";
            finding.threads.push_back(thread.state->tid);
            auto add = [&](std::string what, Address at, std::uint64_t value) {
                finding.evidence.push_back({std::move(what), at, hex(value) + text_in(value), "core", "unwind data"});
            };
            add("the slot of the return address", slot, *step.bad_return);
            if (auto below = process.memory.load<std::uint64_t>(slot - 8)) add("the word below it", slot - 8, *below);
            if (auto above = process.memory.load<std::uint64_t>(slot + 8)) add("the word above it", slot + 8, *above);
            if (process.disassembler)
                for (std::size_t f = 0; f < thread.stack.frames.size(); ++f)
                    if (thread.stack.frame_of[f] == i && !thread.stack.frames[f].inlined) {
                        auto snapshot = Snapshots(locator, &*process.disassembler).frame(thread.stack, f);
                        snapshot.thread = thread.state->tid;
                        finding.snapshots.push_back(std::move(snapshot));
                    }
            if (died) finding.related.push_back("crash.fault");
            finding.verify.push_back(gdb_words(process, slot - 16, 4));
            finding.remedy = fmt::format("look for writes beyond a local array in {} and what it calls", where);
            detection.findings.push_back(std::move(finding));
            break;  // what lies above is guessed
        }
    }
    return detection;
}

}  // namespace incident::detect
