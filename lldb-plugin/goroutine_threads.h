// Goroutines as LLDB threads, through LLDB's operating-system plugin hook, which takes Python only: we write a small
// generic script and the engine's JSON into the session's folder and point target.process.python-os-plugin-path at it.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "engine.h"
#include "target.h"

namespace incident_lldb {

struct ThreadsShown {
    std::string message;  ///< one line for the user
    std::string instead;  ///< too many: goroutines grouped by equal stacks, and no threads
    std::string failure;
};

using Ask = std::function<EngineRun(std::vector<std::string>)>;

ThreadsShown goroutine_threads_on(lldb::SBDebugger& debugger, const Ask& ask);
std::string goroutine_threads_off(lldb::SBDebugger& debugger);
bool select_goroutine_thread(lldb::SBDebugger& debugger, std::uint64_t id);

}  // namespace incident_lldb
