// A packed core is a row of zstd frames, one per MiB of input: when the disk is full in the middle of one, the file is
// cut back to the end of the last whole frame and stays readable. Nothing here waits without a bound: stdin is
// polled until the deadline, and the alarm ends the process when a write to a dead disk does not return.
#include "triage/collect.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zstd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <memory>
#include <optional>

#include "report/json_writer.h"
#include "triage/collect_files.h"
#include "triage/core_name.h"

namespace incident::triage {

namespace {

namespace fs = std::filesystem;
using Clock = std::chrono::steady_clock;
constexpr std::size_t frame_bytes = 1u << 20, piece = 256u << 10;

std::optional<std::int64_t> number(std::string_view text) {
    std::int64_t value = 0;
    auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (error != std::errc() || end != text.data() + text.size() || text.empty()) return std::nullopt;
    return value;
}

std::string first_line(const std::string& path) {
    std::ifstream file(path);
    std::string line;
    std::getline(file, line);
    return line;
}

std::int64_t uid_of(const std::string& proc, std::int64_t pid) {
    std::ifstream file(fmt::format("{}/{}/status", proc, pid));
    for (std::string line; std::getline(file, line);)
        if (line.starts_with("Uid:")) return std::strtoll(line.c_str() + 4, nullptr, 10);
    return 0;
}

struct Kernel {
    std::int64_t pid = 0, signal = 0, time = 0;
    std::string name;
};

std::expected<Kernel, std::string> understand(const std::vector<std::string>& words) {
    if (words.size() < 3) return std::unexpected("collect takes PID SIGNAL TIME NAME: core_pattern's %P %s %t %e");
    auto pid = number(words[0]), signal = number(words[1]), time = number(words[2]);
    if (!pid || !signal || !time || *pid <= 0)
        return std::unexpected(
            fmt::format("collect takes PID SIGNAL TIME NAME, not '{} {} {}'", words[0], words[1], words[2]));
    Kernel out{*pid, *signal, *time, ""};
    // Kernels before 5.8 split the line after they put the name into it: a name with spaces is several words.
    for (std::size_t i = 3; i < words.size(); ++i) out.name += (i > 3 ? " " : "") + words[i];
    return out;
}

/// The cores of the folder, oldest first, and what belongs to each.
class Shelf {
public:
    Shelf(const CollectOptions& options) : options_(options) {
        std::error_code error;
        for (fs::directory_iterator at(options.directory, error), end; !error && at != end; at.increment(error)) {
            auto name = at->path().filename().string();
            std::error_code ignored;
            if (!at->is_regular_file(ignored)) continue;
            auto age = fs::file_time_type::clock::now() - at->last_write_time(ignored);
            // What a handler that was killed left behind.
            if (name.ends_with(".partial") && age > std::chrono::hours(1)) fs::remove(at->path(), ignored);
            if (!name.starts_with("core.") || !name.ends_with(".zst")) continue;
            cores_.push_back({at->path().string(), at->file_size(ignored), at->last_write_time(ignored)});
            total_ += cores_.back().size;
        }
        std::ranges::sort(cores_, std::greater(), &Core::written);  // the oldest at the back
    }
    /// Room for `more` bytes below both bounds; removes the oldest cores for it. False: there is none.
    bool make_room(std::uint64_t more) {
        constexpr std::uint64_t note = 32u << 10;  // the .json that says what was cut, and why
        const auto stays = std::max(options_.min_free, note);
        while (total_ + more > options_.max_total || free_bytes(options_.directory) < stays + more) {
            if (cores_.empty()) return false;
            auto stem = cores_.back().path.substr(0, cores_.back().path.size() - 4);
            for (const auto* suffix : {".zst", ".json", ".exe"}) ::unlink((stem + suffix).c_str());
            total_ -= std::min(total_, cores_.back().size);
            cores_.pop_back();
            ++removed_;
        }
        return true;
    }
    void grow(std::uint64_t bytes) { total_ += bytes; }
    std::size_t removed() const { return removed_; }

private:
    struct Core {
        std::string path;
        std::uint64_t size;
        fs::file_time_type written;
    };
    const CollectOptions& options_;
    std::vector<Core> cores_;
    std::uint64_t total_ = 0;
    std::size_t removed_ = 0;
};

class Packer {
public:
    Packer(const CollectOptions& options, Shelf& shelf, int file)
        : options_(options), shelf_(shelf), out_(file), context_(ZSTD_createCCtx()), packed_(ZSTD_CStreamOutSize()) {
        ZSTD_CCtx_setParameter(context_.get(), ZSTD_c_compressionLevel, 1);
        ZSTD_CCtx_setParameter(context_.get(), ZSTD_c_checksumFlag, 1);
    }
    /// Reads to the end, a bound or a failure; empty, or why the core is not whole.
    std::string run();
    std::uint64_t in = 0, out = 0;

private:
    std::string write(const char* bytes, std::size_t size);
    std::string pack(const char* bytes, std::size_t size, ZSTD_EndDirective how);
    std::string read_all();

    struct Free {
        void operator()(ZSTD_CCtx* context) const { ZSTD_freeCCtx(context); }
    };
    const CollectOptions& options_;
    Shelf& shelf_;
    int out_;
    std::unique_ptr<ZSTD_CCtx, Free> context_;
    std::vector<char> packed_;
    std::uint64_t whole_ = 0, whole_in_ = 0;  ///< up to the last finished frame
    std::size_t in_frame_ = 0;
    bool torn_ = false;  ///< a write failed: part of a frame is missing
    Clock::time_point started_ = Clock::now();
};

std::string Packer::write(const char* bytes, std::size_t size) {
    torn_ = true;  // until all of it is there: a frame with a hole must not be finished
    if (!shelf_.make_room(size)) return "the folder's bound or the disk is full";
    while (size > 0) {
        auto written = ::write(out_, bytes, size);
        if (written < 0 && errno == EINTR) continue;
        if (written < 0 && errno == ENOSPC && shelf_.make_room(frame_bytes)) {
            // Somebody else filled the disk meanwhile, and an old core could go for it: once more.
            written = ::write(out_, bytes, size);
        }
        if (written < 0) return fmt::format("cannot write: {}", std::strerror(errno));
        bytes += written;
        size -= static_cast<std::size_t>(written);
        out += static_cast<std::uint64_t>(written);
        shelf_.grow(static_cast<std::uint64_t>(written));
    }
    torn_ = false;
    return {};
}

std::string Packer::pack(const char* bytes, std::size_t size, ZSTD_EndDirective how) {
    ZSTD_inBuffer input{bytes, size, 0};
    for (;;) {
        ZSTD_outBuffer output{packed_.data(), packed_.size(), 0};
        auto left = ZSTD_compressStream2(context_.get(), &output, &input, how);
        if (ZSTD_isError(left) != 0) return fmt::format("cannot compress: {}", ZSTD_getErrorName(left));
        if (output.pos > 0)
            if (auto failure = write(packed_.data(), output.pos); !failure.empty()) return failure;
        bool done = how == ZSTD_e_continue ? input.pos == input.size : left == 0;
        if (done) return {};
    }
}

std::string Packer::read_all() {
    std::vector<char> buffer(piece);
    for (;;) {
        auto left = options_.seconds - std::chrono::duration<double>(Clock::now() - started_).count();
        if (left <= 0) return fmt::format("it took longer than {:.0f} s", options_.seconds);
        pollfd ready{options_.input, POLLIN, 0};
        auto polled = ::poll(&ready, 1, static_cast<int>(std::min(left, 3600.0) * 1000) + 1);
        if (polled == 0 || (polled < 0 && errno == EINTR)) continue;
        auto want = std::min<std::uint64_t>(buffer.size(), frame_bytes - in_frame_);
        auto got = ::read(options_.input, buffer.data(), want);
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) return fmt::format("cannot read: {}", std::strerror(errno));
        if (got == 0) return {};
        if (in + static_cast<std::uint64_t>(got) > options_.max_core)
            return fmt::format("it is larger than {} bytes (--max-core)", options_.max_core);
        if (auto failure = pack(buffer.data(), static_cast<std::size_t>(got), ZSTD_e_continue); !failure.empty())
            return failure;
        in += static_cast<std::uint64_t>(got);
        in_frame_ += static_cast<std::size_t>(got);
        if (in_frame_ < frame_bytes) continue;
        if (auto failure = pack(nullptr, 0, ZSTD_e_end); !failure.empty()) return failure;
        whole_ = out;
        whole_in_ = in;
        in_frame_ = 0;
    }
}

std::string Packer::run() {
    auto cut = read_all();
    // A bound leaves room to finish the frame; a full disk does not.
    if (in_frame_ > 0 && !torn_) {
        auto failure = pack(nullptr, 0, ZSTD_e_end);
        if (failure.empty()) {
            whole_ = out;
            whole_in_ = in;
        } else if (cut.empty()) {
            cut = failure;
        }
    }
    if (out > whole_) {
        if (::ftruncate(out_, static_cast<off_t>(whole_)) != 0) return cut + "; its end cannot be cut off";
        out = whole_;
    }
    in = whole_in_;
    return cut;
}

std::string describe_json(const Kernel& kernel, const Collected& c, const MappedFiles& files, std::int64_t uid,
                          std::size_t removed) {
    std::string text;
    report::Sink sink = [&](std::string_view part) { return text += part, true; };
    report::JsonWriter json(sink);
    json.begin_object();
    json.string("schema", "incident-collect/1");
    json.string("core", c.path);
    json.integer("pid", kernel.pid);
    json.integer("signal", kernel.signal);
    json.integer("time", kernel.time);
    json.integer("uid", uid);
    json.string("name", kernel.name);
    json.number("bytes", c.bytes_in);
    json.number("packed_bytes", c.bytes_out);
    json.text("cut", c.cut);
    json.number("older_cores_removed", removed);
    json.begin_array("files");
    for (const auto& file : files.files()) {
        json.new_line();
        json.begin_object();
        json.string("path", file.path);
        json.text("build_id", file.build_id);
        json.boolean("executable", file.main);
        json.end_object();
    }
    json.end_array();
    json.strings("notes", c.notes);
    json.end_object();
    json.finish();
    return text;
}

}  // namespace

std::expected<Collected, std::string> collect(const CollectOptions& options) {
    auto kernel = understand(options.words);
    if (!kernel) return std::unexpected(kernel.error());
    std::error_code error;
    fs::create_directories(options.directory, error);
    fs::permissions(options.directory, fs::perms::owner_all, error);  // cores hold secrets
    // First of all, while the process is surely there: its files, its user.
    MappedFiles files(options.proc, kernel->pid);
    auto uid = uid_of(options.proc, kernel->pid);
    auto boot = first_line(options.proc + "/sys/kernel/random/boot_id");
    std::erase(boot, '-');
    if (boot.size() != 32) boot.clear();
    auto stem =
        fmt::format("{}/{}", options.directory, make_core_name(kernel->name, uid, boot, kernel->pid, kernel->time));
    auto partial = fmt::format("{}.{}.partial", stem, ::getpid());
    int out = ::open(partial.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (out < 0) return std::unexpected(fmt::format("cannot write {}: {}", partial, std::strerror(errno)));
    Shelf shelf(options);
    Packer packer(options, shelf, out);
    Collected c;
    c.cut = packer.run();
    // The dying process is let go before anything else is done.
    ::close(options.input);
    c.bytes_in = packer.in;
    c.bytes_out = packer.out;
    if (::close(out) != 0 && c.cut.empty()) c.cut = fmt::format("cannot write: {}", std::strerror(errno));
    if (c.bytes_in == 0) {
        ::unlink(partial.c_str());
        return std::unexpected(fmt::format("nothing of the core was kept: {}", c.cut.empty() ? "it was empty" : c.cut));
    }
    c.path = stem + ".zst";
    if (::rename(partial.c_str(), c.path.c_str()) != 0)
        return std::unexpected(fmt::format("cannot name {}: {}", c.path, std::strerror(errno)));
    for (const auto& file : files.files()) {
        std::string kept;
        if (!file.build_id.empty()) kept = options.directory + "/.build-id/" + build_id_path(file.build_id);
        if (file.main && kept.empty()) kept = stem + ".exe";
        if (kept.empty()) continue;
        if (auto failure = keep_file(file, kept, options.min_free); !failure.empty()) {
            c.notes.push_back(failure);
            continue;
        }
        c.executables.push_back(kept);
        // The same file under the core's own name: nobody needs to know build-ids to find it.
        if (file.main && kept != stem + ".exe" && ::link(kept.c_str(), (stem + ".exe").c_str()) != 0 && errno != EEXIST)
            c.notes.push_back(fmt::format("cannot link {}: {}", stem + ".exe", std::strerror(errno)));
    }
    std::ofstream(stem + ".json") << describe_json(*kernel, c, files, uid, shelf.removed());
    ::chmod((stem + ".json").c_str(), 0600);
    return c;
}

void prepare_as_handler(double seconds) {
    for (int fd = ::open("/dev/null", O_RDWR); fd >= 0 && fd <= 2; fd = ::open("/dev/null", O_RDWR)) {}
    rlimit none{0, 0};
    ::setrlimit(RLIMIT_CORE, &none);
    std::signal(SIGXFSZ, SIG_IGN);
    std::signal(SIGPIPE, SIG_IGN);
    ::umask(077);
    ::alarm(static_cast<unsigned>(std::min(seconds * 2 + 30, 1e6)));
}

void log_as_handler(const std::string& line) {
    auto text = fmt::format("incident collect: {}\n", line);
    std::fwrite(text.data(), 1, text.size(), stderr);
    if (::getppid() > 2) return;  // only the kernel's own helper threads start handlers
    int fd = ::open("/dev/kmsg", O_WRONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (fd < 0) return;
    [[maybe_unused]] auto written = ::write(fd, text.data(), text.size());
    ::close(fd);
}

}  // namespace incident::triage
