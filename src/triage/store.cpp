#include "triage/store.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <fstream>
#include <utility>

namespace incident::triage {

std::expected<StoreContents, std::string> read_store(const std::string& path,
                                                     const std::function<void(Record&&, std::string_view)>& each) {
    std::ifstream file(path, std::ios::binary);
    if (!file) return std::unexpected(fmt::format("cannot read {}: {}", path, std::strerror(errno)));
    StoreContents contents;
    std::string line;
    for (std::uint64_t number = 1; std::getline(file, line); ++number) {
        if (line.empty()) continue;
        auto record = parse_record(line);
        if (record) {
            ++contents.records;
            each(std::move(*record), line);
        } else if (contents.broken++ == 0) {
            contents.first_broken = fmt::format("line {}: {}", number, record.error());
        }
    }
    return contents;
}

std::expected<Store, std::string> Store::open(const std::string& path, bool resume) {
    auto failed = [&](std::string_view what) {
        return std::unexpected(fmt::format("cannot {} {}: {}", what, path, std::strerror(errno)));
    };
    int fd = ::open(path.c_str(), O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
    if (fd < 0) return failed("write");
    Store store(fd, path);
    if (::flock(fd, LOCK_EX | LOCK_NB) != 0) {
        if (errno == EWOULDBLOCK) return std::unexpected(fmt::format("{} is being written by another run", path));
        return failed("lock");
    }
    struct stat status{};
    if (::fstat(fd, &status) != 0) return failed("read");
    if (status.st_size == 0) return store;
    if (!resume) return std::unexpected(fmt::format("{} exists: --resume continues it, or give another --store", path));
    char last = '\n';
    if (::pread(fd, &last, 1, status.st_size - 1) != 1) return failed("read");
    if (last != '\n')
        if (auto failure = store.append("\n"); !failure.empty()) return std::unexpected(failure);
    return store;
}

Store::Store(Store&& other) noexcept : fd_(std::exchange(other.fd_, -1)), path_(std::move(other.path_)) {}

Store::~Store() {
    if (fd_ >= 0) ::close(fd_);
}

std::string Store::append(std::string_view line) {
    bool begun = false;
    while (!line.empty()) {
        auto written = ::write(fd_, line.data(), line.size());
        if (written < 0 && errno == EINTR) continue;
        if (written < 0) {
            auto failure = fmt::format("cannot write {}: {}{}", path_, std::strerror(errno),
                                       begun ? "; its last line is torn, --resume passes over it" : "");
            return failure;
        }
        begun = true;
        line.remove_prefix(static_cast<std::size_t>(written));
    }
    return {};
}

}  // namespace incident::triage
