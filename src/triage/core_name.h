// What the name of a core file says: systemd-coredump's "core.COMM.UID.BOOT.PID.TIME[.zst]" (TIME in microseconds), the
// kernel's "core", "core.PID", "core.COMM.PID", and the patterns that people write into core_pattern with time stamps.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace incident::triage {

struct CoreName {
    std::string program;  ///< COMM, unescaped; empty: unknown
    std::optional<std::int64_t> pid;
    std::optional<std::int64_t> uid;
    std::string boot;       ///< 32 hex digits
    std::int64_t time = 0;  ///< seconds since 1970; 0: not in the name
    bool looks_like_core = false;
};

CoreName parse_core_name(std::string_view file_name);

/// The name that `incident collect` gives: systemd-coredump's, so that both are read alike.
std::string make_core_name(std::string_view program, std::int64_t uid, std::string_view boot, std::int64_t pid,
                           std::int64_t seconds);

}  // namespace incident::triage
