#include "triage/store.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <fstream>
#include <limits>
#include <memory>
#include <utility>

namespace incident::triage {

namespace {

/// Twice what a child may write. A store without line breaks (a hole of a terabyte) does not fill the memory.
constexpr std::streamsize longest_line = 64 << 20;

}  // namespace

std::expected<StoreContents, std::string> read_store(const std::string& path,
                                                     const std::function<void(Record&&, std::string_view)>& each) {
    const auto unreadable = [&] {
        return std::unexpected(fmt::format("cannot read {}: {}", path, std::strerror(errno)));
    };
    std::ifstream file(path, std::ios::binary);
    if (!file) return unreadable();
    StoreContents contents;
    const auto buffer = std::make_unique_for_overwrite<char[]>(longest_line);
    for (std::uint64_t number = 1;; ++number) {
        file.getline(buffer.get(), longest_line);
        std::expected<Record, std::string> record = std::unexpected("it is too long");
        std::string_view line(buffer.get(), static_cast<std::size_t>(file.gcount()));
        if (!file.fail()) {
            if (!file.eof()) line.remove_suffix(1);  // its newline
            if (line.empty()) continue;
            record = parse_record(line);
        } else if (file.bad()) {
            return unreadable();  // a folder, a disk that fails
        } else if (file.eof()) {
            return contents;
        } else {
            file.clear();
            file.ignore(std::numeric_limits<std::streamsize>::max(), '\n');
        }
        if (record) {
            ++contents.records;
            each(std::move(*record), line);
        } else if (contents.broken++ == 0) {
            contents.first_broken = fmt::format("line {}: {}", number, record.error());
        }
    }
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
