// Child processes under limits: one core each. A child that grows beyond its memory or runs beyond its time is killed
// with its whole process group and takes nothing with it (a pool of worker processes does not have that property: there
// one dead worker breaks the pool). Children die with this process, so that a killed triage leaves nothing running.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "triage/record.h"

namespace incident::triage {

struct ChildLimits {
    double seconds = 900;            ///< wall clock
    std::uint64_t memory_bytes = 0;  ///< anonymous memory: mapped cores do not count; 0: unlimited
};

struct ChildEnd {
    Outcome outcome = Outcome::failed;  ///< analysed: exit code 0, 1 or 3, and whole output
    int exit = -1;
    std::string output;
    std::string reason;
    double seconds = 0, cpu_seconds = 0;
    std::uint64_t peak_bytes = 0;
};

class Children {
public:
    explicit Children(ChildLimits limits);
    ~Children();  ///< kills those that still run
    Children(const Children&) = delete;
    Children& operator=(const Children&) = delete;

    std::size_t running() const;
    /// `token` comes back with the end. A failure to start is an end, too.
    void start(std::size_t token, const std::vector<std::string>& arguments);
    /// The next end; nothing when none came within `milliseconds`.
    std::optional<std::pair<std::size_t, ChildEnd>> wait(int milliseconds);

private:
    struct Child;
    std::optional<std::pair<std::size_t, ChildEnd>> take_finished();
    void watch(Child& child);

    ChildLimits limits_;
    std::vector<std::unique_ptr<Child>> children_;
};

}  // namespace incident::triage
