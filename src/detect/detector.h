// Detector: a row in a table and a pure function over the frozen Process. It prints nothing, throws nothing, keeps no
// state. To add one: a file in detect/ that opens with its claim, its proof rule and its innocent look-alikes; a row in
// detectors.cpp; two corpus cases, the sick one and its healthy twin.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "process/process.h"
#include "report/report.h"

namespace incident::detect {

/// What a detector reads. Unmet needs are reported by the runner, not by the detector.
enum class Need : std::uint16_t {
    crash = 1,  ///< Process::crash
    go = 2,     ///< a Go runtime; without one the detector is not applicable
    goroutines = 4,
    stacks = 8,
    spans = 16,
    threads = 32,
    locks = 64,         ///< Process::locks
    heap = 128,         ///< Process::heap
    heap_types = 256,   ///< Process::heap_types
    malloc = 512,       ///< Process::malloc; without a malloc that we read the detector is not applicable
    pthreads = 1024,    ///< Process::pthreads
    wait_graph = 2048,  ///< Process::locks, of a process without Go too
    leaks = 4096,       ///< Process::leaks
};
constexpr unsigned operator|(Need a, Need b) { return static_cast<unsigned>(a) | static_cast<unsigned>(b); }
constexpr unsigned operator|(unsigned a, Need b) { return a | static_cast<unsigned>(b); }

struct Detection {
    std::vector<report::Finding> findings;
    std::uint64_t checked = 0;
    std::uint64_t unchecked = 0;
    std::string reason;  ///< what was not checked, and why; makes the outcome `partial`
};

struct Detector {
    std::string_view id;  ///< "crash", "go.mutex"
    std::string_view title;
    std::span<const std::string_view> kinds;  ///< finding kinds that it may return
    unsigned needs;                           ///< Needs, or-ed
    Detection (*run)(const Process&);
    unsigned uses = 0;  ///< Needs, or-ed: what it can do without, and says less or doubts more then
};

std::span<const Detector> detectors();

/// Whether a detector that passes --only and --skip needs or uses this.
bool reads(Need what, std::span<const std::string> only, std::span<const std::string> skip);

struct DetectorRun {
    std::vector<report::Finding> findings;  ///< most severe first
    std::vector<report::DetectorOutcome> outcomes;
};

/// Runs every detector whose kinds pass --only and --skip (a kind or a prefix of one: "go.mutex").
DetectorRun run_detectors(const Process& process, std::span<const std::string> only, std::span<const std::string> skip);

}  // namespace incident::detect
