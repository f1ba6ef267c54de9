// `incident doctor`: would this machine leave cores that can be read? Each check reads one setting, says what it found
// and what to change. Everything is read below a root folder, so that a container can look at its host and a test at a
// made-up machine.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "report/renderers.h"

namespace incident::triage {

enum class Health : std::uint8_t { good, unknown, warning, bad };
std::string_view to_string(Health health);

struct Check {
    std::string name;  ///< "core_pattern"
    Health health = Health::unknown;
    std::string found;   ///< as read
    std::string means;   ///< one sentence
    std::string change;  ///< what to do; empty: nothing
};

struct DoctorOptions {
    std::string root;                 ///< empty: /
    std::optional<std::int64_t> pid;  ///< a process whose own limits and environment count
    /// Free bytes of the disk that holds a folder; a test's own. Null: statvfs.
    std::optional<std::uint64_t> (*free_bytes)(const std::string& folder) = nullptr;
};

std::vector<Check> examine(const DoctorOptions& options);

void render_checks(const std::vector<Check>& checks, std::string_view format, std::string_view version,
                   const report::RenderOptions& options, const report::Sink& sink);

/// 0: cores would be left; 1: something stands in the way or makes them poor.
int exit_code(const std::vector<Check>& checks);

}  // namespace incident::triage
