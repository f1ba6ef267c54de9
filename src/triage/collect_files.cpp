#include "triage/collect_files.h"

#include <elf.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <gelf.h>
#include <libelf.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <set>
#include <utility>

namespace incident::triage {

namespace {

constexpr std::size_t most_files = 256;
constexpr std::uint64_t largest_file = 4ull << 30;

/// The GNU build-id, from the program headers' notes; empty: none. The file is the user's own and may be anything.
std::string build_id_of(int fd) {
    ::elf_version(EV_CURRENT);
    Elf* elf = ::elf_begin(fd, ELF_C_READ, nullptr);
    if (elf == nullptr) return {};
    std::string id;
    std::size_t segments = 0;
    if (::elf_getphdrnum(elf, &segments) == 0) {
        for (std::size_t i = 0; i < std::min<std::size_t>(segments, 128) && id.empty(); ++i) {
            GElf_Phdr header;
            if (::gelf_getphdr(elf, static_cast<int>(i), &header) == nullptr || header.p_type != PT_NOTE) continue;
            Elf_Data* data = ::elf_getdata_rawchunk(elf, static_cast<off_t>(header.p_offset), header.p_filesz,
                                                    header.p_align == 8 ? ELF_T_NHDR8 : ELF_T_NHDR);
            if (data == nullptr) continue;
            std::size_t at = 0, name = 0, body = 0;
            GElf_Nhdr note;
            while ((at = ::gelf_getnote(data, at, &note, &name, &body)) > 0) {
                const auto* bytes = static_cast<const unsigned char*>(data->d_buf);
                if (note.n_type != NT_GNU_BUILD_ID || note.n_namesz != 4 || note.n_descsz < 4 || note.n_descsz > 64 ||
                    std::memcmp(bytes + name, "GNU", 4) != 0)
                    continue;
                for (std::size_t b = 0; b < note.n_descsz; ++b) id += fmt::format("{:02x}", bytes[body + b]);
                break;
            }
        }
    }
    ::elf_end(elf);
    return id;
}

/// "00400000-0049a000 r-xp 00000000 fe:01 12 /srv/a b (deleted)": the path, of mappings that can be executed.
std::string executed_path(const std::string& line) {
    auto permissions = line.find(' ');
    auto slash = line.find('/');
    if (permissions == std::string::npos || slash == std::string::npos || permissions + 3 >= line.size() ||
        line[permissions + 3] != 'x')
        return {};
    auto path = line.substr(slash);
    constexpr std::string_view gone = " (deleted)";
    if (path.ends_with(gone)) path.resize(path.size() - gone.size());
    return path;
}

}  // namespace

MappedFiles::MappedFiles(const std::string& proc, std::int64_t pid) {
    const auto folder = fmt::format("{}/{}", proc, pid);
    std::set<std::pair<dev_t, ino_t>> seen;
    auto take = [&](const std::string& how, const std::string& path, bool main) {
        int fd = ::open(how.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
        struct stat status{};
        if (fd < 0 || ::fstat(fd, &status) != 0 || !S_ISREG(status.st_mode) ||
            static_cast<std::uint64_t>(status.st_size) > largest_file ||
            !seen.insert({status.st_dev, status.st_ino}).second) {
            if (fd >= 0) ::close(fd);
            return;
        }
        files_.push_back({fd, path, build_id_of(fd), main, static_cast<std::uint64_t>(status.st_size)});
    };
    std::error_code error;
    auto exe = std::filesystem::read_symlink(folder + "/exe", error).string();
    take(folder + "/exe", exe, true);
    std::ifstream maps(folder + "/maps");
    for (std::string line; files_.size() < most_files && std::getline(maps, line);)
        if (auto path = executed_path(line); !path.empty() && path != exe) take(folder + "/root" + path, path, false);
}

MappedFiles::~MappedFiles() {
    for (const auto& file : files_) ::close(file.fd);
}

std::string build_id_path(const std::string& id) { return id.substr(0, 2) + "/" + id.substr(2); }

std::uint64_t free_bytes(const std::string& folder) {
    struct statvfs status{};
    if (::statvfs(folder.c_str(), &status) != 0) return 0;
    return static_cast<std::uint64_t>(status.f_bavail) * status.f_frsize;
}

std::string keep_file(const MappedFile& file, const std::string& path, std::uint64_t min_free) {
    std::error_code error;
    if (std::filesystem::exists(path, error)) return {};
    auto folder = std::filesystem::path(path).parent_path();
    std::filesystem::create_directories(folder, error);
    if (free_bytes(folder.string()) < min_free + file.size)
        return fmt::format("no room for {} ({} bytes)", file.path, file.size);
    auto temporary = fmt::format("{}.{}.partial", path, ::getpid());
    int out = ::open(temporary.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (out < 0) return fmt::format("cannot write {}: {}", temporary, std::strerror(errno));
    off_t at = 0;
    int why = 0;
    while (static_cast<std::uint64_t>(at) < file.size && why == 0) {
        constexpr std::size_t piece = 4u << 20;
        auto sent = ::sendfile(out, file.fd, &at, piece);
        if (sent < 0 && errno != EINTR) why = errno;
        if (sent == 0) break;
    }
    if (::close(out) != 0 && why == 0) why = errno;
    if (why == 0 && ::rename(temporary.c_str(), path.c_str()) != 0) why = errno;
    if (why == 0) return {};
    ::unlink(temporary.c_str());
    return fmt::format("cannot keep {}: {}", file.path, std::strerror(why));
}

}  // namespace incident::triage
