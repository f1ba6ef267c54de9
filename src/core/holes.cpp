#include "core/holes.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>

#include "core/core_file.h"

namespace incident {

namespace {

constexpr std::uint64_t smallest = 64 << 10;  ///< bytes: less is read faster than it is asked for
constexpr std::size_t most_seeks = 200'000;

}  // namespace

Holes::Holes(const CoreFile& core) {
    if (core.from_stdin() || !core.compression().empty()) return;
    const int fd = ::open(core.path().c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (fd < 0) return;
    struct stat status{};
    const bool same = ::fstat(fd, &status) == 0 && S_ISREG(status.st_mode) &&
                      static_cast<std::uint64_t>(status.st_size) == core.size();
    std::size_t seeks = 0;
    for (const LoadSegment& load : core.load_segments()) {
        const std::uint64_t held = load.file_size - load.lost;
        if (!same || held < smallest) continue;
        const auto end = static_cast<off_t>(load.file_offset + held);
        for (auto at = static_cast<off_t>(load.file_offset); at < end && (seeks += 2) < most_seeks;) {
            const off_t hole = ::lseek(fd, at, SEEK_HOLE);
            if (hole < 0 || hole >= end) break;
            off_t data = ::lseek(fd, hole, SEEK_DATA);
            if (data < 0 || data > end) data = end;  // a hole up to the file's end
            if (data <= hole) break;
            const Address begin = load.range.begin + (static_cast<std::uint64_t>(hole) - load.file_offset);
            if (const auto bytes = static_cast<std::uint64_t>(data - hole); bytes >= smallest)
                ranges_.push_back({begin, begin + bytes});
            at = data;
        }
    }
    ::close(fd);
    std::ranges::sort(ranges_, {}, &AddressRange::begin);
    // Headers may claim one address twice, and the bytes that count are those of the later one.
    std::vector<AddressRange> loads;
    for (const LoadSegment& load : core.load_segments()) loads.push_back(load.range);
    std::ranges::sort(loads, {}, &AddressRange::begin);
    for (std::size_t i = 1; i < loads.size(); ++i)
        if (loads[i].begin < loads[i - 1].end) ranges_.clear();
}

Address Holes::next_data(Address a) const noexcept {
    const auto at = std::ranges::upper_bound(ranges_, a, {}, &AddressRange::end);
    return at != ranges_.end() && at->contains(a) ? at->end : a;
}

}  // namespace incident
