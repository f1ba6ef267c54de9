// Goroutines of a core against the program's own runtime.Stack(all).
#pragma once

#include <fmt/format.h>

#include <set>
#include <string>
#include <vector>

#include "go/stacks/opened_core.h"
#include "go/stacks/truth.h"

namespace incident::go::testing {

struct Comparison {
    std::size_t goroutines = 0, frames = 0;  ///< compared
    std::vector<std::string> differences;
};

inline std::vector<TruthFrame> printed_frames(const GoStack& stack, std::uint32_t physical_limit = ~0u) {
    std::vector<TruthFrame> frames;
    for (std::size_t i = 0; i < stack.frames.size() && stack.frame_of[i] < physical_limit; ++i) {
        const auto& frame = stack.frames[i];
        if (frame.runtime_internal || frame.kind != report::FrameKind::go) continue;
        frames.push_back({.function = std::string(frame.function),
                          .file = std::string(frame.file),
                          .line = frame.line,
                          .inlined = frame.inlined});
    }
    return frames;
}

inline std::string text_of(const TruthFrame& f) {
    return fmt::format("{}{} {}:{}", f.function, f.inlined ? "(...)" : "", f.file, f.line);
}

/// Goroutines that could run when the text was taken ran on until the core was: the one that wrote it, busy loops,
/// those that a later signal woke. Of them only the creator and the function they began with can be compared.
inline bool could_run(const TruthGoroutine& truth) { return truth.state == "running" || truth.state == "runnable"; }

/// Made by oneNewExtraM: it has no go statement.
inline bool runtime_made(const Runtime& runtime, const Goroutine& g) {
    auto creator = runtime.find_func(g.gopc);
    return !creator || creator->name.starts_with("runtime.");
}

inline void compare_frames(const Version& version, const TruthGoroutine& truth, const GoStack& stack,
                           Comparison& result) {
    // Up to 1.20 the text ends after 100 physical frames, and does not always say so.
    auto frames = printed_frames(stack, version.at_least(21) ? ~0u : 100);
    if (truth.elided_at) {
        // The runtime prints the first and, from 1.21 on, the last of a deep stack.
        std::size_t head = *truth.elided_at, tail = truth.frames.size() - head;
        if (truth.elided && frames.size() != truth.frames.size() + *truth.elided) {
            result.differences.push_back(fmt::format("goroutine {}: {} frames, expected {} and {} elided", truth.id,
                                                     frames.size(), truth.frames.size(), *truth.elided));
            return;
        }
        if (frames.size() >= head + tail)
            frames.erase(frames.begin() + static_cast<std::ptrdiff_t>(head),
                         frames.end() - static_cast<std::ptrdiff_t>(tail));
    }
    for (std::size_t i = 0; i < std::max(frames.size(), truth.frames.size()); ++i) {
        ++result.frames;
        if (i < frames.size() && i < truth.frames.size() && frames[i] == truth.frames[i]) continue;
        result.differences.push_back(
            fmt::format("goroutine {} [{}] frame {}: got {}, expected {}; walk ended: {}", truth.id, truth.state, i,
                        i < frames.size() ? text_of(frames[i]) : "none",
                        i < truth.frames.size() ? text_of(truth.frames[i]) : "none", stack.end));
        return;
    }
}

inline Comparison compare_stacks(OpenedCore& opened, const Truth& truth,
                                 std::span<const UnwindStep> native_steps = {}) {
    Comparison result;
    StackWalker walker(opened.core, opened.memory, opened.runtime, opened.goroutines);
    std::set<std::int64_t> expected;
    for (const auto& want : truth.goroutines) {
        expected.insert(want.id);
        const Goroutine* g = opened.goroutines.find(want.id);
        ++result.goroutines;
        if (g == nullptr) {
            if (!could_run(want))
                result.differences.push_back(fmt::format("goroutine {} [{}] is missing", want.id, want.state));
            continue;
        }
        GoStack stack = walker.walk(*g, native_steps, &opened.images);
        auto origin = origin_of(opened.runtime, opened.goroutines, *g);
        TruthFrame created{.function = std::string(origin.created_by),
                           .file = std::string(origin.created_at.file),
                           .line = static_cast<std::uint32_t>(origin.created_at.line),
                           .inlined = false};
        if (origin.created_by.empty() != !want.created || (want.created && created != *want.created) ||
            origin.created_by_goroutine != want.created_in) {
            result.differences.push_back(fmt::format("goroutine {}: created by {}", want.id, text_of(created)));
        }
        if (g->locked_to_thread != want.locked)
            result.differences.push_back(
                fmt::format("goroutine {}: locked to thread {}", want.id, g->locked_to_thread));
        if (g->system) result.differences.push_back(fmt::format("goroutine {} is no system goroutine", want.id));
        if (could_run(want)) {
            auto frames = printed_frames(stack);
            if (frames.empty() || frames.back().function != want.frames.back().function) {
                result.differences.push_back(fmt::format("goroutine {} began with {}, expected {}; walk ended: {}",
                                                         want.id, frames.empty() ? "nothing" : text_of(frames.back()),
                                                         text_of(want.frames.back()), stack.end));
            }
            continue;
        }
        if (g->state_words() != want.state)
            result.differences.push_back(
                fmt::format("goroutine {}: [{}], expected [{}]", want.id, g->state_words(), want.state));
        compare_frames(opened.runtime.version(), want, stack, result);
        if (!stack.complete)
            result.differences.push_back(fmt::format("goroutine {}: walk ended: {}", want.id, stack.end));
    }
    for (const auto& g : opened.goroutines.all) {
        if (g.system || expected.contains(g.goid)) continue;
        // The probe starts three goroutines after it took the text, and never lets them run.
        if (g.status == Status::runnable && origin_of(opened.runtime, opened.goroutines, g).start == "main.neverRan") {
            auto frames = printed_frames(walker.walk(g, native_steps, &opened.images));
            if (frames.size() == 1 && frames[0].function == "main.neverRan" && frames[0].line != 0) continue;
        }
        // A signal on a thread of C takes an extra m and its goroutine (runtime.needm).
        if (g.status == Status::syscall && g.locked_to_thread && runtime_made(opened.runtime, g)) continue;
        result.differences.push_back(fmt::format("goroutine {} [{}] is not in the truth", g.goid, g.state_words()));
    }
    return result;
}

}  // namespace incident::go::testing
