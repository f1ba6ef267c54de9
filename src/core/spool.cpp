// Opening the input; see spool.h.
#include "core/spool.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "core/file_kind.h"

namespace incident {

UniqueFd::~UniqueFd() {
    if (fd_ >= 0) ::close(fd_);
}

Result<Input> open_input(const std::string& path, const OpenOptions&) {
    UniqueFd file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
    if (!file) return fail(ErrorKind::io, fmt::format("cannot open {}: {}", path, std::strerror(errno)));
    struct stat status {};
    if (::fstat(file.get(), &status) != 0) return fail(ErrorKind::io, fmt::format("cannot read {}: {}", path, std::strerror(errno)));
    if (S_ISDIR(status.st_mode)) return fail(ErrorKind::unsupported, fmt::format("{} is a directory, not a core", path));
    if (!S_ISREG(status.st_mode)) return fail(ErrorKind::unsupported, fmt::format("{} is not a regular file", path));
    Input input;
    input.file = std::move(file);
    input.size = input.given_size = static_cast<std::uint64_t>(status.st_size);
    return input;
}

}  // namespace incident
