// The executable and libraries of a dying process, by open file: their names may be gone, replaced, or in another mount
// namespace by the time they are copied.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace incident::triage {

struct MappedFile {
    int fd = -1;
    std::string path;      ///< as the process knew it
    std::string build_id;  ///< hex; empty: none
    bool main = false;     ///< the executable itself
    std::uint64_t size = 0;
};

class MappedFiles {
public:
    /// Opens what /proc/PID/exe and /proc/PID/maps name, within bounds.
    MappedFiles(const std::string& proc, std::int64_t pid);
    ~MappedFiles();
    MappedFiles(const MappedFiles&) = delete;
    MappedFiles& operator=(const MappedFiles&) = delete;

    const std::vector<MappedFile>& files() const { return files_; }

private:
    std::vector<MappedFile> files_;
};

/// Copies an open file to `path` by way of a temporary name, unless it is there; empty, or why not.
std::string keep_file(const MappedFile& file, const std::string& path, std::uint64_t min_free);

/// "ab/cdef…" of a build-id.
std::string build_id_path(const std::string& id);

std::uint64_t free_bytes(const std::string& folder);

}  // namespace incident::triage
