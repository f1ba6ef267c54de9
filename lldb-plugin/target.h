// What the debugger has open, as the engine wants to hear it: a core's path and, where known, the executable's.
#pragma once

#include <lldb/API/LLDB.h>

#include <functional>
#include <string>

namespace incident_lldb {

struct Target {
    lldb::SBProcess process;
    std::string core;
    std::string executable;  ///< empty: the engine looks for it by build-id
    bool live = false;       ///< the core was written by us
    std::string failure;     ///< empty, or why there is nothing to analyse
};

/// The selected target's core; of a live, stopped process a core that is written now, below session_folder().
Target selected_target(lldb::SBDebugger debugger, const std::function<bool()>& interrupted);

/// A folder of this session below $TMPDIR, made at the first call and removed when lldb ends; empty when that fails.
const std::string& session_folder();

}  // namespace incident_lldb
