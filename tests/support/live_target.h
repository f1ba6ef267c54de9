// Programs that a test builds with the machine's compiler, runs, and takes a core of. The core comes from the kernel
// when the machine writes cores into the working directory, else from gdb; where neither is possible the test says so
// and skips.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

namespace incident {

struct BuildOptions {
    std::vector<std::string> flags;  ///< "-O2", "-static", …; sources are compiled as C, or as C++ by their ending
    std::filesystem::path sysroot;   ///< other headers and libraries
};

/// Compiles tests/<source> once per test process and set of flags. Empty: it failed, and a test failure was added.
std::filesystem::path build_target(const std::string& source, const BuildOptions& options = {});

/// Another libc than the machine's: `loader --library-path libraries program`.
struct OtherLibc {
    std::string version;         ///< "2.41"
    std::filesystem::path root;  ///< an unpacked libc6 package, with headers where the machine's are too new
    std::filesystem::path loader, libraries;
    bool has_headers = false;
};
/// What lies in $INCIDENT_GLIBC_DIR/<version>/; empty when that is not set.
std::vector<OtherLibc> other_libcs();

struct TargetRun {
    std::filesystem::path directory;  ///< its working directory, removed with the test process
    std::filesystem::path core;       ///< empty: no core could be taken
    std::string why_no_core;
};

struct RunOptions {
    std::vector<std::string> arguments;
    const OtherLibc* libc = nullptr;
    std::vector<std::string> environment;  ///< "NAME=VALUE", added
    bool by_gdb = false;                   ///< run under gdb and let it write the core
};
TargetRun run_to_core(const std::filesystem::path& program, const RunOptions& options);

}  // namespace incident
