// Spooling: libarchive decompresses (format "raw": the stream is the file), we write what is not zero.
//
// Surprising: a stream that ends early or turns bad half-way is still a core, cut off at the last good byte; so is one
// that hits --max-spool or a full $TMPDIR. Only what is recognisably no core at all is refused, after its first bytes
// and before gigabytes were written. Cores are mostly zeros: blocks of zeros become holes, so the spool costs what is
// not zero.
#include "core/spool.h"

#include <archive.h>
#include <elf.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <span>

#include "base/text.h"
#include "core/file_kind.h"

namespace incident {

UniqueFd::~UniqueFd() {
    if (fd_ >= 0) ::close(fd_);
}

namespace {

constexpr std::size_t hole_block = 4096;
constexpr std::uint64_t progress_step = 8 << 20;  // decompressed bytes between two calls of OpenOptions::progress

Error io_error(std::string_view what, std::string_view path) {
    return {ErrorKind::io, fmt::format("cannot {} {}: {}", what, path, std::strerror(errno))};
}

std::string spool_directory() {
    const char* directory = std::getenv("TMPDIR");
    return directory != nullptr && *directory != '\0' ? directory : "/tmp";
}

Result<UniqueFd> create_spool_file() {
    std::string directory = spool_directory();
    UniqueFd file(::open(directory.c_str(), O_TMPFILE | O_RDWR | O_CLOEXEC, 0600));
    if (file) return file;
    std::string name = directory + "/incident-core-XXXXXX";  // a file system without O_TMPFILE
    file = UniqueFd(::mkostemp(name.data(), O_CLOEXEC));
    if (!file) return std::unexpected(io_error("create a file in", directory));
    ::unlink(name.c_str());
    return file;
}

bool is_zero(std::span<const std::byte> bytes) {
    static constexpr std::array<std::byte, hole_block> zeros{};
    return std::memcmp(bytes.data(), zeros.data(), bytes.size()) == 0;
}

/// Appends to the spool file, leaving holes for zeros.
class SparseWriter {
public:
    SparseWriter(int fd, std::uint64_t limit) : fd_(fd), limit_(limit) {}

    Result<void> append(std::span<const std::byte> bytes) {
        while (!bytes.empty()) {
            // The longest run of blocks of one kind, aligned to the file's blocks.
            std::size_t length = std::min(bytes.size(), hole_block - size_ % hole_block);
            bool zero = is_zero(bytes.first(length));
            while (length < bytes.size()) {
                std::size_t step = std::min(bytes.size() - length, hole_block);
                if (is_zero(bytes.subspan(length, step)) != zero) break;
                length += step;
            }
            if (!zero) TRY(write(bytes.first(length)));
            size_ += length;
            bytes = bytes.subspan(length);
        }
        return {};
    }
    Result<void> finish() const {
        if (::ftruncate(fd_, static_cast<off_t>(size_)) != 0)
            return std::unexpected(io_error("extend a file in", spool_directory()));
        return {};
    }
    std::uint64_t size() const { return size_; }

private:
    Result<void> write(std::span<const std::byte> bytes) {
        if (bytes.size() > limit_ - written_)
            return fail(ErrorKind::io, fmt::format("decompression stopped at --max-spool ({})", human_size(limit_)));
        std::size_t done = 0;
        while (done < bytes.size()) {
            ssize_t count = ::pwrite(fd_, bytes.data() + done, bytes.size() - done, static_cast<off_t>(size_ + done));
            if (count < 0 && errno == EINTR) continue;
            if (count <= 0)
                return fail(ErrorKind::io,
                            fmt::format("decompression stopped: cannot write below {}: {} (TMPDIR names another place)",
                                        spool_directory(), std::strerror(errno)));
            done += static_cast<std::size_t>(count);
        }
        written_ += bytes.size();
        return {};
    }

    int fd_;
    std::uint64_t limit_, written_ = 0, size_ = 0;
};

/// What libarchive reads from.
struct Source {
    int fd;
    std::uint64_t consumed = 0;
    bool at_end = false;
    int read_errno = 0;
    std::array<std::byte, 256 << 10> buffer;
};

la_ssize_t read_source(archive*, void* client, const void** data) {
    auto* source = static_cast<Source*>(client);
    ssize_t count;
    do count = ::read(source->fd, source->buffer.data(), source->buffer.size());
    while (count < 0 && errno == EINTR);
    *data = source->buffer.data();
    if (count < 0) {
        // A failing disk or pipe ends the stream; what came before stays good.
        source->read_errno = errno;
        count = 0;
    }
    if (count == 0) source->at_end = true;
    source->consumed += static_cast<std::uint64_t>(count);
    return count;
}

struct ArchiveCloser {
    void operator()(archive* a) const { ::archive_read_free(a); }
};
using Archive = std::unique_ptr<archive, ArchiveCloser>;

std::string filter_name(archive* a) {
    switch (::archive_filter_code(a, 0)) {
        case ARCHIVE_FILTER_ZSTD: return "zstd";
        case ARCHIVE_FILTER_XZ: return "xz";
        case ARCHIVE_FILTER_LZ4: return "lz4";
        case ARCHIVE_FILTER_GZIP: return "gzip";
        default: return "";
    }
}

/// Refuses what is no ELF core before it fills the disk.
Result<void> check_front(std::span<const std::byte> front, const std::string& path, const std::string& compression) {
    Elf64_Ehdr header{};
    if (front.size() >= sizeof header) std::memcpy(&header, front.data(), sizeof header);
    if (std::memcmp(header.e_ident, ELFMAG, SELFMAG) == 0 &&
        (header.e_type == ET_CORE || header.e_ident[EI_DATA] != ELFDATA2LSB))
        return {};
    if (compression.empty())
        return fail(ErrorKind::unsupported, fmt::format("{} is {}", path, describe_file_kind(front)));
    return fail(ErrorKind::unsupported,
                fmt::format("{} is compressed with {} and holds {}", path, compression, describe_file_kind(front)));
}

Error stream_error(archive* a, const Source& source, const std::string& compression) {
    if (source.read_errno != 0)
        return {ErrorKind::io,
                fmt::format("reading stopped after {} bytes: {}", source.consumed, std::strerror(source.read_errno))};
    const char* said = ::archive_error_string(a);
    std::string detail = said != nullptr ? fmt::format(" ({})", escape_for_terminal(said)) : "";
    if (source.at_end)
        return {ErrorKind::truncated,
                fmt::format("the {} stream ends too early, after {} bytes{}", compression, source.consumed, detail)};
    return {ErrorKind::corrupt,
            fmt::format("the {} stream is damaged before its byte {}{}", compression, source.consumed, detail)};
}

Result<Input> spool(UniqueFd given, const std::string& path, std::uint64_t given_size, const OpenOptions& options) {
    auto source = std::make_unique<Source>(Source{.fd = given.get()});
    Archive a(::archive_read_new());
    if (a == nullptr) return fail(ErrorKind::io, "out of memory");
    ::archive_read_support_filter_zstd(a.get());
    ::archive_read_support_filter_xz(a.get());
    ::archive_read_support_filter_lz4(a.get());
    ::archive_read_support_filter_gzip(a.get());
    ::archive_read_support_format_raw(a.get());
    ::archive_read_support_format_empty(a.get());

    Input input;
    archive_entry* entry = nullptr;
    int status = ::archive_read_open(a.get(), source.get(), nullptr, read_source, nullptr);
    if (status >= ARCHIVE_WARN) status = ::archive_read_next_header(a.get(), &entry);
    input.compression = filter_name(a.get());
    if (status == ARCHIVE_EOF)
        return fail(ErrorKind::unsupported,
                    fmt::format("{} {}", path, source->consumed == 0 ? "is empty" : "is compressed and holds nothing"));
    if (status < ARCHIVE_WARN)
        return fail(ErrorKind::corrupt, fmt::format("{}: {}", path, stream_error(a.get(), *source, "input").what));

    input.file = TRY(create_spool_file());
    SparseWriter writer(input.file.get(), options.max_spool);
    std::array<std::byte, file_kind_bytes> front;
    std::size_t front_size = 0;
    std::uint64_t next_progress = 0;
    auto checked_front = [&] { return check_front(std::span(front).first(front_size), path, input.compression); };
    for (bool checked = false;;) {
        const void* data = nullptr;
        std::size_t size = 0;
        la_int64_t offset = 0;
        status = ::archive_read_data_block(a.get(), &data, &size, &offset);
        if (status == ARCHIVE_RETRY) continue;
        if (status < ARCHIVE_WARN) input.cut = stream_error(a.get(), *source, input.compression);
        if (status == ARCHIVE_EOF && source->read_errno != 0)
            input.cut = stream_error(a.get(), *source, input.compression);
        if (status < ARCHIVE_WARN || status == ARCHIVE_EOF) break;
        std::span bytes(static_cast<const std::byte*>(data), size);
        if (!checked) {
            auto part = bytes.first(std::min(bytes.size(), front.size() - front_size));
            std::ranges::copy(part, front.begin() + static_cast<std::ptrdiff_t>(front_size));
            front_size += part.size();
            checked = front_size == front.size();
            if (checked) TRY(checked_front());
        }
        if (auto written = writer.append(bytes); !written) {
            input.cut = std::move(written).error();
            break;
        }
        if (options.progress && writer.size() >= next_progress) {
            next_progress = writer.size() + progress_step;
            options.progress(source->consumed, given_size);
        }
    }
    if (writer.size() == 0 && input.cut)
        return fail(input.cut->kind == ErrorKind::io ? ErrorKind::io : ErrorKind::corrupt,
                    fmt::format("{}: {}", path, input.cut->what));
    if (front_size < front.size()) TRY(checked_front());
    TRY(writer.finish());
    if (options.progress) options.progress(source->consumed, given_size);
    input.size = writer.size();
    input.given_size = given_size != 0 ? given_size : source->consumed;
    return input;
}

}  // namespace

Result<Input> open_input(const std::string& path, const OpenOptions& options) {
    bool is_stdin = path == "-";
    std::string name = is_stdin ? "standard input" : path;
    UniqueFd file(is_stdin ? ::fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, 3) : ::open(path.c_str(), O_RDONLY | O_CLOEXEC));
    if (!file) return std::unexpected(io_error("open", name));
    struct stat status{};
    if (::fstat(file.get(), &status) != 0) return std::unexpected(io_error("read", name));
    if (S_ISDIR(status.st_mode))
        return fail(ErrorKind::unsupported, fmt::format("{} is a directory, not a core", name));

    if (is_stdin && ::isatty(file.get()) != 0)
        return fail(ErrorKind::unsupported, "standard input is a terminal: pipe a core into it");
    bool from_start = !is_stdin || ::lseek(file.get(), 0, SEEK_CUR) == 0;
    if (!S_ISREG(status.st_mode) || !from_start) return spool(std::move(file), name, 0, options);
    std::array<std::byte, file_kind_bytes> front;
    ssize_t count = ::pread(file.get(), front.data(), front.size(), 0);
    if (count < 0) return std::unexpected(io_error("read", name));
    auto size = static_cast<std::uint64_t>(status.st_size);
    if (!compression_of(std::span(front).first(static_cast<std::size_t>(count))).empty())
        return spool(std::move(file), name, size, options);
    Input input;
    input.file = std::move(file);
    input.size = input.given_size = size;
    return input;
}

}  // namespace incident
