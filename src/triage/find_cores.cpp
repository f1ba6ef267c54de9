#include "triage/find_cores.h"

#include <archive.h>
#include <elf.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <memory>
#include <optional>
#include <set>
#include <string_view>

#include "triage/core_name.h"

namespace incident::triage {

namespace {

namespace fs = std::filesystem;

/// e_type of what begins like a sound ELF file; ET_NONE: it does not.
unsigned elf_type(std::string_view head) {
    if (head.size() < 18 || !head.starts_with(std::string_view(ELFMAG, 4))) return ET_NONE;
    if (head[EI_CLASS] < 1 || head[EI_CLASS] > 2 || head[EI_DATA] < 1 || head[EI_DATA] > 2) return ET_NONE;
    bool little = head[EI_DATA] != ELFDATA2MSB;
    auto low = static_cast<unsigned char>(head[little ? 16 : 17]),
         high = static_cast<unsigned char>(head[little ? 17 : 16]);
    return static_cast<unsigned>(high << 8 | low);
}

bool is_elf_core(std::string_view head) { return elf_type(head) == ET_CORE; }

bool is_compressed(std::string_view head) {
    return head.starts_with("\x28\xb5\x2f\xfd") ||
           head.starts_with(std::string_view("\xfd"
                                             "7zXZ\0",
                                             6)) ||
           head.starts_with("\x04\x22\x4d\x18") || head.starts_with("\x1f\x8b");
}

/// The first bytes inside a compressed file; nothing when it does not decompress.
std::string decompressed_head(int fd) {
    struct Free {
        void operator()(archive* a) const { archive_read_free(a); }
    };
    std::unique_ptr<archive, Free> a(archive_read_new());
    std::array<char, 64> head{};
    archive_entry* entry = nullptr;
    if (!a || archive_read_support_filter_all(a.get()) < ARCHIVE_WARN ||
        archive_read_support_format_raw(a.get()) != ARCHIVE_OK ||
        archive_read_open_fd(a.get(), fd, 64 * 1024) != ARCHIVE_OK ||
        archive_read_next_header(a.get(), &entry) != ARCHIVE_OK)
        return {};
    auto got = archive_read_data(a.get(), head.data(), head.size());
    return got > 0 ? std::string(head.data(), static_cast<std::size_t>(got)) : std::string();
}

struct Looked {
    CoreFileFound file;
    bool regular = false, core = false;
    std::pair<dev_t, ino_t> identity;
};

std::optional<Looked> look(const std::string& path) {
    int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (fd < 0) return std::nullopt;
    struct stat status{};
    Looked out;
    if (::fstat(fd, &status) == 0 && S_ISREG(status.st_mode)) {
        out.regular = true;
        out.identity = {status.st_dev, status.st_ino};
        out.file = {path, static_cast<std::uint64_t>(status.st_size), status.st_mtim.tv_sec};
        std::array<char, 64> head{};
        auto got = ::pread(fd, head.data(), head.size(), 0);
        std::string_view bytes(head.data(), got > 0 ? static_cast<std::size_t>(got) : 0);
        auto named = parse_core_name(fs::path(path).filename().string()).looks_like_core;
        // A sound ELF file of another type is no core, whatever its name ("core" is also a program).
        auto type = elf_type(bytes);
        bool other_elf = type == ET_REL || type == ET_EXEC || type == ET_DYN;
        out.core = is_elf_core(bytes) || (is_compressed(bytes) && (named || is_elf_core(decompressed_head(fd)))) ||
                   (named && !other_elf && !path.ends_with(".json") && !path.ends_with(".txt"));
    }
    ::close(fd);
    return out;
}

class Search {
public:
    void take(const Looked& looked) {
        if (seen_.insert(looked.identity).second) found_.cores.push_back(looked.file);
    }
    void folder(const std::string& path) {
        std::error_code error;
        fs::recursive_directory_iterator at(path, fs::directory_options::skip_permission_denied, error), end;
        if (error) return complain(path, error.message());
        for (; at != end; at.increment(error)) {
            if (error) return complain(path, error.message());
            std::error_code ignored;
            if (at->is_symlink(ignored) && at->is_directory(ignored)) {
                links_.push_back(at->path());
                continue;
            }
            if (!at->is_regular_file(ignored)) continue;
            auto name = at->path().string();
            auto looked = look(name);
            if (!looked) {
                if (parse_core_name(at->path().filename().string()).looks_like_core)
                    complain(name, std::strerror(errno));
            } else if (looked->core) {
                take(*looked);
            }
        }
    }
    void complain(const std::string& path, const std::string& why) {
        found_.complaints.push_back(fmt::format("{}: {}", path, why));
    }
    FoundCores finish(const std::vector<std::string>& paths) {
        tell_of_links(paths);
        std::ranges::sort(found_.cores, {}, &CoreFileFound::path);
        return std::move(found_);
    }

private:
    /// As find and `grep -r` do: what a link below a folder leads to may be anything, the folder itself too. But who
    /// has his cores behind one must not take silence for health.
    void tell_of_links(const std::vector<std::string>& paths) {
        std::error_code ignored;
        std::vector<fs::path> searched;
        for (const auto& path : paths) searched.push_back(fs::canonical(path, ignored));
        std::erase_if(links_, [&](const fs::path& link) {
            const fs::path to = fs::canonical(link, ignored);
            return std::ranges::any_of(
                searched, [&](const fs::path& root) { return std::ranges::mismatch(root, to).in1 == root.end(); });
        });
        std::ranges::sort(links_);
        if (links_.size() == 1)
            complain(links_.front().string(), "a link to a folder, not followed: name it to have it searched");
        else if (!links_.empty())
            complain(links_.front().string(), fmt::format("this and {} more links to folders were not followed: name "
                                                          "them to have them searched",
                                                          links_.size() - 1));
    }

    FoundCores found_;
    std::vector<fs::path> links_;  ///< to folders
    std::set<std::pair<dev_t, ino_t>> seen_;
};

}  // namespace

std::expected<FoundCores, std::string> find_cores(const std::vector<std::string>& paths) {
    Search search;
    for (const auto& path : paths) {
        std::error_code error;
        auto status = fs::status(path, error);
        if (!fs::exists(status)) return std::unexpected(fmt::format("{}: {}", path, std::strerror(ENOENT)));
        if (fs::is_directory(status)) {
            search.folder(path);
            continue;
        }
        auto looked = look(path);
        if (!looked) return std::unexpected(fmt::format("{}: {}", path, std::strerror(errno)));
        if (!looked->regular) return std::unexpected(path + " is no regular file");
        search.take(*looked);
    }
    return search.finish(paths);
}

}  // namespace incident::triage
