// Which files below the given paths are cores. A file that is named on the command line always counts; in a folder a
// file counts when its first bytes say so (an ELF core, or one inside a compressed file), or when only its name does: a
// core that is damaged at its very front must be accounted for too.
#pragma once

#include <cstdint>
#include <expected>
#include <string>
#include <vector>

namespace incident::triage {

struct CoreFileFound {
    std::string path;
    std::uint64_t size = 0;
    std::int64_t modified = 0;  ///< seconds since 1970
};

struct FoundCores {
    std::vector<CoreFileFound> cores;     ///< sorted by path; each file once, however it was named
    std::vector<std::string> complaints;  ///< folders and files that were not read
};

/// The error: a path that is not there. Folders are searched to the bottom. Links to folders are followed where they are
/// named, not where they are met: then a complaint says so, unless they lead to what is searched anyway.
std::expected<FoundCores, std::string> find_cores(const std::vector<std::string>& paths);

}  // namespace incident::triage
