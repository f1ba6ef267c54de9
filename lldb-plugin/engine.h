// Runs the `incident` command as a child of the debugger: nothing that a corrupt core does to the engine can reach
// lldb. Questions to a core go to one child, `incident serve`, which is kept: what one question made it read serves the
// next. It is started anew when the core or the executable changed, and after anything went wrong.
//
// The child has a wall-clock limit ($INCIDENT_TIMEOUT seconds, default 600) and a memory limit ($INCIDENT_MEMORY MiB,
// default half of the machine's memory). The latter is RLIMIT_DATA and not RLIMIT_AS: the engine maps the whole core,
// read-only, and a 40 GB core is no 40 GB of memory.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

namespace incident_lldb {

struct EngineRun {
    int exit_code = -1;   ///< meaningful when `failure` is empty
    std::string out;      ///< stdout: the report
    std::string err;      ///< stderr: notes, or why not
    std::string failure;  ///< empty, or one sentence: not found, killed by a signal, limit, interrupted
};

/// The executable: $INCIDENT, else beside this plugin or one folder up (a build tree), else ../bin (an installation),
/// else PATH. Empty when there is none.
std::string find_engine();

/// One question to a core: `arguments` is the command line without CORE and EXE (empty: the engine looks for it).
/// Otherwise as run_engine.
EngineRun ask_engine(const std::string& core, const std::string& executable, const std::vector<std::string>& arguments,
                     unsigned columns, const std::function<bool()>& interrupted);

/// Runs it to its end, for what is no question to a core. `interrupted` is asked ten times a second; when it says yes,
/// the child is killed. `columns` > 0 is the width for its output.
EngineRun run_engine(const std::vector<std::string>& arguments, unsigned columns,
                     const std::function<bool()>& interrupted);

/// What run.failure or a refusal (exit code 2) says to the user; empty when there is a result (exit codes 0, 1 and 3).
std::string failure_of(const EngineRun& run);

}  // namespace incident_lldb
