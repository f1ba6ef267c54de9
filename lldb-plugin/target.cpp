#include "target.h"

#include <unistd.h>

#include <array>
#include <climits>
#include <cstdlib>
#include <filesystem>

#include "live_core.h"

namespace incident_lldb {
namespace {

std::string path_of(const lldb::SBFileSpec& file) {
    std::array<char, PATH_MAX> buffer{};
    if (!file.IsValid() || file.GetPath(buffer.data(), buffer.size()) == 0) return {};
    return buffer.data();
}

struct SessionFolder {
    std::string path;
    SessionFolder() {
        const char* base = std::getenv("TMPDIR");
        std::string pattern = std::string(base != nullptr && *base != 0 ? base : "/tmp") + "/incident-lldb-XXXXXX";
        if (mkdtemp(pattern.data()) != nullptr) path = pattern;
    }
    ~SessionFolder() {
        std::error_code ignored;
        if (!path.empty()) std::filesystem::remove_all(path, ignored);
    }
};

/// Written once for each stop of the process.
std::string live_core(lldb::SBProcess process, std::string& core, const std::function<bool()>& interrupted) {
    static std::string written;  // for what
    if (session_folder().empty()) return "no temporary folder can be made for the core of the live process";
    core = session_folder() + "/core";
    const auto stop = std::to_string(process.GetProcessID()) + ' ' + std::to_string(process.GetUniqueID()) + ' ' +
                      std::to_string(process.GetStopID(true));
    if (written == stop && access(core.c_str(), R_OK) == 0) return {};
    written.clear();
    unlink(core.c_str());  // a child may still have the old one mapped
    auto failure = write_live_core(process, core, interrupted);
    if (failure.empty()) written = stop;
    return failure;
}

}  // namespace

const std::string& session_folder() {
    static const SessionFolder folder;
    return folder.path;
}

Target selected_target(lldb::SBDebugger debugger, const std::function<bool()>& interrupted) {
    Target result;
    auto target = debugger.GetSelectedTarget();
    result.process = target.GetProcess();
    if (!result.process.IsValid()) {
        result.failure = "no core is open: target create EXE --core CORE";
        return result;
    }
    result.core = path_of(result.process.GetCoreFile());
    if (result.core.empty()) {
        result.live = true;
        result.failure = live_core(result.process, result.core, interrupted);
        if (!result.failure.empty()) return result;
    }
    result.executable = path_of(target.GetExecutable());
    // lldb also takes a file that is not there any more, or the path that the core names on another machine.
    if (!result.executable.empty() && access(result.executable.c_str(), R_OK) != 0) result.executable.clear();
    return result;
}

}  // namespace incident_lldb
