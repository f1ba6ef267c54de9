// `incident collect`: the program behind core_pattern's pipe. The kernel starts it as root, writes the core to its
// stdin and keeps the dead process until the pipe is read or closed; so it must be bounded in bytes, disk and time, and
// when anything goes wrong it keeps what it has and lets go.
//
//   |/usr/local/bin/incident collect --dir=/var/lib/incident %P %s %t %e
//
// Leaves in the folder: core.NAME.UID.BOOT.PID.TIME.zst (systemd-coredump's name, so that both are read alike), the
// same with .json (what the kernel said, whether the core is whole), with .exe (the executable), and .build-id/ab/cdef…
// of every file that was mapped for execution.
#pragma once

#include <cstdint>
#include <expected>
#include <string>
#include <vector>

namespace incident::triage {

struct CollectOptions {
    std::string directory;
    std::uint64_t max_core = 0;      ///< unpacked bytes of one core
    std::uint64_t max_total = 0;     ///< bytes of all cores in the folder, packed; the oldest go
    std::uint64_t min_free = 0;      ///< bytes of the disk that stay free
    double seconds = 0;              ///< longest that the dying process is kept waiting
    std::vector<std::string> words;  ///< PID SIGNAL TIME NAME…, as %P %s %t %e
    std::string proc = "/proc";
    int input = 0;  ///< where the core comes from
};

struct Collected {
    std::string path;                      ///< of the core
    std::uint64_t bytes_in = 0;            ///< unpacked
    std::uint64_t bytes_out = 0;           ///< on disk
    std::string cut;                       ///< why it is not whole; empty: it is
    std::vector<std::string> executables;  ///< kept now or before
    std::vector<std::string> notes;        ///< what else went wrong
};

/// Fails when no core could be kept at all.
std::expected<Collected, std::string> collect(const CollectOptions& options);

/// Before anything else: 0, 1 and 2 are open (the kernel leaves 1 and 2 closed, and the first file opened would become
/// stderr), no core of our own, and an alarm that ends us even when a write hangs.
void prepare_as_handler(double seconds);

/// One line to the kernel's log and to stderr.
void log_as_handler(const std::string& line);

}  // namespace incident::triage
