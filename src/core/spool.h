// Input: a path, or "-", becomes a file descriptor that can be mapped. A plain regular file is used as it is;
// compressed files, pipes and devices are written to an unlinked, sparse file below $TMPDIR.
#pragma once

#include <optional>
#include <string>
#include <utility>

#include "base/result.h"
#include "core/core_file.h"

namespace incident {

class UniqueFd {
public:
    UniqueFd() = default;
    explicit UniqueFd(int fd) : fd_(fd) {}
    UniqueFd(UniqueFd&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
    UniqueFd& operator=(UniqueFd&& other) noexcept {
        std::swap(fd_, other.fd_);
        return *this;
    }
    ~UniqueFd();
    int get() const { return fd_; }
    explicit operator bool() const { return fd_ >= 0; }

private:
    int fd_ = -1;
};

struct Input {
    UniqueFd file;
    std::uint64_t size = 0;        ///< bytes that can be mapped
    std::uint64_t given_size = 0;  ///< bytes of the file or stream as given
    std::string compression;       ///< "", "zstd", "xz", "lz4", "gzip"
    std::optional<Error> cut;      ///< why decompression stopped before the end; what came before is good
};

Result<Input> open_input(const std::string& path, const OpenOptions& options);

}  // namespace incident
