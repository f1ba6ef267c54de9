// The engine's one public entry: a core file in, a Report out. Every front-end calls this and renders what it returns.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "core/core_file.h"
#include "image/images.h"
#include "report/report.h"

namespace incident {

struct Passes;
struct Process;

enum class Command : std::uint8_t {
    analyze,
    crash,
    goroutines,
    goroutine,
    threads,
    thread,
    locks,
    heap,
    maps,
    locate,
    read
};

struct AnalyzeOptions {
    Command command = Command::analyze;
    std::string core_path;  ///< "-": stdin
    ImageOptions images;
    OpenOptions open;
    unsigned jobs = 0;                    ///< 0: as many as there are processors
    std::vector<std::string> only, skip;  ///< finding kinds or prefixes: "go.mutex"
    report::Severity min_severity = report::Severity::warning;
    bool trace = false;                     ///< every rejected frame and field, with its reason, to `log`
    bool stacks = false;                    ///< goroutines: with frames
    bool summary = false;                   ///< maps: one account of memory instead of the mappings
    bool held = false;                      ///< locks: those that only types name too; reads the Go heap
    std::optional<std::int64_t> goroutine;  ///< goroutine ID
    std::optional<std::int32_t> thread;     ///< thread TID
    std::optional<Address> address;         ///< locate, read
    std::size_t words = 16;                 ///< read
    bool retained = false;                  ///< heap: dominators
    std::optional<Address> roots, object;   ///< heap: who keeps it alive; what it is
    std::string pprof_path;                 ///< heap: write a profile there; empty: none
    std::function<void(std::string_view phase, std::uint64_t done, std::uint64_t total)> progress;
    std::function<void(std::string_view line)> log;
};

/// Fails only when there can be no report at all: the core cannot be opened, or is no core of a machine we read.
/// Everything else that goes wrong becomes a Gap in the Report.
Result<report::Report> analyze(const AnalyzeOptions& options);

/// The two halves of analyze(), for who asks several questions of one core (Session): which passes a question needs,
/// and the report of a Process that has at least those.
Passes passes_for(const AnalyzeOptions& options);
report::Report report_on(const std::shared_ptr<const Process>& process, const AnalyzeOptions& options);

}  // namespace incident
