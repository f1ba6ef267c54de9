#include "triage/digest.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <memory>
#include <vector>

namespace incident::triage {

namespace {

constexpr std::uint64_t block = 4096, all_of_it = 64ull << 20, edge = 8ull << 20, samples = 4096;

class Hash {
public:
    Hash() : state_(XXH3_createState()) { XXH3_128bits_reset(state_.get()); }
    void add(const void* bytes, std::size_t size) { XXH3_128bits_update(state_.get(), bytes, size); }
    void add(std::uint64_t value) { add(&value, sizeof value); }
    /// Blocks of zeros leave no trace, so that a hole and written zeros are the same.
    void add_blocks(std::uint64_t offset, const char* bytes, std::size_t size) {
        static const char zeros[block] = {};
        for (std::size_t at = 0; at < size; at += block) {
            auto here = std::min<std::size_t>(block, size - at);
            if (std::memcmp(bytes + at, zeros, here) == 0) continue;
            add(offset + at);
            add(bytes + at, here);
        }
    }
    std::string hex() const {
        auto value = XXH3_128bits_digest(state_.get());
        return fmt::format("{:016x}{:016x}", value.high64, value.low64);
    }

private:
    struct Free {
        void operator()(XXH3_state_t* state) const { XXH3_freeState(state); }
    };
    std::unique_ptr<XXH3_state_t, Free> state_;
};

struct Fd {
    int fd;
    ~Fd() { ::close(fd); }
};

std::unexpected<Error> failed(const std::string& path) {
    return fail(ErrorKind::io, fmt::format("cannot read {}: {}", path, std::strerror(errno)));
}

/// Hashes [begin, end); false on a read error. A file that shrinks meanwhile ends early.
bool hash_range(int fd, Hash& hash, std::uint64_t begin, std::uint64_t end, std::vector<char>& buffer) {
    begin -= begin % block;
    for (auto at = begin; at < end;) {
        auto want = static_cast<std::size_t>(std::min<std::uint64_t>(buffer.size(), end - at));
        std::size_t have = 0;
        while (have < want) {
            auto got = ::pread(fd, buffer.data() + have, want - have, static_cast<off_t>(at + have));
            if (got < 0 && errno == EINTR) continue;
            if (got < 0) return false;
            if (got == 0) break;
            have += static_cast<std::size_t>(got);
        }
        hash.add_blocks(at, buffer.data(), have);
        if (have < want) break;
        at += have;
    }
    return true;
}

struct Extent {
    std::uint64_t begin, end;
};

/// Where the file has data. A file system that knows no holes says: everywhere.
std::vector<Extent> extents_of(int fd, std::uint64_t size) {
    std::vector<Extent> out;
    constexpr std::size_t most = 100'000;
    for (std::uint64_t at = 0; at < size && out.size() < most;) {
        auto begin = ::lseek(fd, static_cast<off_t>(at), SEEK_DATA);
        if (begin < 0 && errno == ENXIO) return out;
        if (begin < 0) return {{0, size}};
        auto end = ::lseek(fd, begin, SEEK_HOLE);
        if (end <= begin) end = static_cast<off_t>(size);
        out.push_back({static_cast<std::uint64_t>(begin), static_cast<std::uint64_t>(end)});
        at = static_cast<std::uint64_t>(end);
    }
    return out;
}

}  // namespace

Result<std::string> digest_of(const std::string& path) {
    int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (fd < 0) return failed(path);
    Fd owned{fd};
    struct stat status{};
    if (::fstat(fd, &status) != 0) return failed(path);
    if (!S_ISREG(status.st_mode)) return fail(ErrorKind::unsupported, path + " is no regular file");
    auto size = static_cast<std::uint64_t>(status.st_size);
    Hash hash;
    hash.add(size);
    std::vector<char> buffer(1 << 20);
    auto extents = extents_of(fd, size);
    std::uint64_t data = 0;
    for (auto e : extents) data += e.end - e.begin;
    if (data <= all_of_it) {
        for (auto e : extents)
            if (!hash_range(fd, hash, e.begin, e.end, buffer)) return failed(path);
        return hash.hex();
    }
    // Places are chosen by offset in the file, not in the data: a hole and zeros choose alike.
    if (!hash_range(fd, hash, 0, edge, buffer)) return failed(path);
    const std::uint64_t middle = size > 2 * edge ? size - 2 * edge : 0, step = std::max(block, middle / samples);
    for (std::uint64_t at = edge; at + edge < size; at += step)
        if (!hash_range(fd, hash, at, at - at % block + block, buffer)) return failed(path);
    if (!hash_range(fd, hash, size - std::min(size, edge), size, buffer)) return failed(path);
    return hash.hex();
}

}  // namespace incident::triage
