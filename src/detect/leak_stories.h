// Of goroutines that are blocked forever, who waits for whom: who waits for what another of them would have to give
// back, send, receive or close is part of that one's story.
#pragma once

#include <array>
#include <optional>
#include <vector>

#include "process/process.h"

namespace incident::detect {

/// Numbers are indices into `left`. The work is a look at each of them, once for each lock at its holders, and once at
/// the edges of the wait-for graph.
class LeakStories {
public:
    static constexpr std::size_t nobody = SIZE_MAX;

    /// `process` outlives it.
    LeakStories(const Process& process, const std::vector<BlockedForever>& left);
    /// Whose story `waiter` belongs to: its own, often. Of a circle it is one of them.
    std::size_t of(std::size_t waiter) const { return story_[waiter]; }
    /// For whom `waiter` waits; nobody: that is not known.
    std::size_t before(std::size_t waiter) const { return before_[waiter]; }
    /// What that one would have to do: "release a lock", "call Done", "send to a channel or close it".
    std::string_view owed(std::size_t waiter) const;

private:
    /// The first two that surely hold it: nobody waits for himself.
    using Holders = std::array<std::size_t, 2>;
    Holders holders_of(const GoLock& lock, const std::vector<std::size_t>& of_goroutine) const;
    void ask_locks(const std::vector<std::size_t>& of_goroutine);
    void ask_channels(const std::vector<std::size_t>& of_goroutine);
    void follow();

    const Process& process_;
    const std::vector<BlockedForever>& left_;
    std::vector<std::size_t> before_, story_;
};

/// Of a program in which nobody can run: the goroutine behind which most others wait, directly or not.
struct DeadlockRoot {
    std::uint32_t goroutine = 0;
    std::size_t behind = 0;  ///< how many others
};
/// nullopt: nobody is known to wait behind another, or somebody may run.
std::optional<DeadlockRoot> root_of_deadlock(const Process& process);

}  // namespace incident::detect
