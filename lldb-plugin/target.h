// What the debugger has open, as the engine wants to hear it: a core's path and, where known, the executable's.
#pragma once

#include <lldb/API/LLDB.h>

#include <string>

namespace incident_lldb {

struct Target {
    lldb::SBProcess process;
    std::string core;
    std::string executable;  ///< empty: the engine looks for it by build-id
    std::string failure;     ///< empty, or why there is nothing to analyse
};

/// The selected target's core. A live process has none: it is refused, in words.
Target selected_target(lldb::SBDebugger debugger);

/// A folder of this session below $TMPDIR, made at the first call and removed when lldb ends; empty when that fails.
const std::string& session_folder();

}  // namespace incident_lldb
