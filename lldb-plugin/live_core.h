// The ELF core of a live, stopped process, for the engine to read: LLDB's own SaveCore writes minidumps on Linux, and
// gcore cannot attach where lldb has attached already.
//
// What is dumped is what the kernel would dump: memory that the process wrote, and the first page of each mapped file,
// whose build-id tells the engine which file it is. Only for processes of this machine: the rest comes from /proc.
#pragma once

#include <lldb/API/LLDB.h>

#include <functional>
#include <string>

namespace incident_lldb {

/// Writes to `path`. Empty, or why not; then there is no file.
std::string write_live_core(lldb::SBProcess process, const std::string& path, const std::function<bool()>& interrupted);

}  // namespace incident_lldb
