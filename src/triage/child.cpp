// Memory is watched, not only limited: RLIMIT_AS would count the mapped core (tens of GB of address space that cost
// nothing), and resident size counts its file pages, for which others have killed healthy readers. RssAnon and RssShmem
// of /proc/PID/status count neither. RLIMIT_DATA stands behind as a net for what is allocated between two looks; it
// counts private writable mappings only.
#include "triage/child.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string_view>

#include "base/text.h"

namespace incident::triage {

namespace {

using Clock = std::chrono::steady_clock;
constexpr std::size_t most_output = 32u << 20, most_errors = 4096;
constexpr auto look_every = std::chrono::milliseconds(25);

// AddressSanitizer reserves terabytes of private address space for its shadow, and RLIMIT_DATA counts them: such a
// build cannot start under the net. It is watched like any other.
#if defined(__SANITIZE_ADDRESS__)  // gcc
constexpr bool has_shadow_memory = true;
#elif defined(__has_feature)
constexpr bool has_shadow_memory = __has_feature(address_sanitizer);
#else
constexpr bool has_shadow_memory = false;
#endif

/// Anonymous and shared memory of a process; 0 when it is gone.
std::uint64_t memory_of(pid_t pid) {
    auto path = fmt::format("/proc/{}/status", pid);
    std::unique_ptr<std::FILE, int (*)(std::FILE*)> file(std::fopen(path.c_str(), "re"), &std::fclose);
    if (!file) return 0;
    std::uint64_t total = 0;
    char line[256];
    while (std::fgets(line, sizeof line, file.get()) != nullptr) {
        std::string_view text(line);
        if (text.starts_with("RssAnon:") || text.starts_with("RssShmem:"))
            total += std::strtoull(line + text.find(':') + 1, nullptr, 10) * 1024;
    }
    return total;
}

/// Only async-signal-safe calls: this runs between fork and exec.
[[noreturn]] void become(const std::vector<char*>& argv, int out, int err, const ChildLimits& limits, pid_t parent) {
    ::setpgid(0, 0);
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (::getppid() != parent) ::_exit(127);  // it died before the line above
    rlimit none{0, 0};
    ::setrlimit(RLIMIT_CORE, &none);
    if (limits.memory_bytes != 0 && !has_shadow_memory) {
        auto net = limits.memory_bytes + limits.memory_bytes / 2 + (256ull << 20);
        rlimit data{net, net};
        ::setrlimit(RLIMIT_DATA, &data);
    }
    int null = ::open("/dev/null", O_RDONLY);
    if (null >= 0) ::dup2(null, STDIN_FILENO);
    ::dup2(out, STDOUT_FILENO);
    ::dup2(err, STDERR_FILENO);
    std::signal(SIGPIPE, SIG_DFL);
    ::execv(argv[0], argv.data());
    ::_exit(127);
}

}  // namespace

struct Children::Child {
    std::size_t token = 0;
    pid_t pid = -1;
    int out = -1, err = -1;
    Clock::time_point started, looked;
    std::string output, errors;
    Outcome killed = Outcome::analysed;  ///< what it was killed for; analysed: it was not
    bool too_long = false;
    ChildEnd end;
    bool finished = false;

    ~Child() {
        for (int fd : {out, err})
            if (fd >= 0) ::close(fd);
    }
    void kill() const {
        if (pid > 0) ::kill(-pid, SIGKILL), ::kill(pid, SIGKILL);
    }
    /// Reads what is there; closes at the end.
    void drain(int& fd, std::string& into, std::size_t most, bool keep_last) {
        char buffer[65536];
        while (fd >= 0) {
            auto got = ::read(fd, buffer, sizeof buffer);
            if (got < 0 && errno == EINTR) continue;
            if (got < 0 && errno == EAGAIN) return;
            if (got <= 0) {
                ::close(fd);
                fd = -1;
                return;
            }
            into.append(buffer, static_cast<std::size_t>(got));
            if (into.size() <= most) continue;
            if (keep_last) {
                into.erase(0, into.size() - most);
            } else {
                too_long = true;
                into.clear();
                kill();
            }
        }
    }
};

Children::Children(ChildLimits limits) : limits_(limits) {}

Children::~Children() {
    for (auto& child : children_) {
        if (child->finished || child->pid <= 0) continue;
        child->kill();
        ::waitpid(child->pid, nullptr, 0);
    }
}

std::size_t Children::running() const { return children_.size(); }

void Children::start(std::size_t token, const std::vector<std::string>& arguments) {
    auto child = std::make_unique<Child>();
    child->token = token;
    child->started = child->looked = Clock::now();
    std::vector<std::string> copy = arguments;
    std::vector<char*> argv;
    argv.reserve(copy.size() + 1);
    for (auto& word : copy) argv.push_back(word.data());
    argv.push_back(nullptr);
    int out[2] = {-1, -1}, err[2] = {-1, -1};
    if (::pipe2(out, O_CLOEXEC) == 0 && ::pipe2(err, O_CLOEXEC) == 0) {
        auto parent = ::getpid();
        child->pid = ::fork();
        if (child->pid == 0) become(argv, out[1], err[1], limits_, parent);
    }
    for (int fd : {out[1], err[1]})
        if (fd >= 0) ::close(fd);
    child->out = out[0];
    child->err = err[0];
    if (child->pid > 0) {
        ::setpgid(child->pid, child->pid);  // whoever of the two comes first
        ::fcntl(child->out, F_SETFL, O_NONBLOCK);
        ::fcntl(child->err, F_SETFL, O_NONBLOCK);
    } else {
        child->finished = true;
        child->end.reason = fmt::format("cannot start a process: {}", std::strerror(errno));
    }
    children_.push_back(std::move(child));
}

void Children::watch(Child& child) {
    auto now = Clock::now();
    child.drain(child.out, child.output, most_output, false);
    child.drain(child.err, child.errors, most_errors, true);
    if (child.killed == Outcome::analysed &&
        std::chrono::duration<double>(now - child.started).count() > limits_.seconds) {
        child.killed = Outcome::out_of_time;
        child.kill();
    }
    if (limits_.memory_bytes != 0 && child.killed == Outcome::analysed) {
        child.looked = now;
        auto memory = memory_of(child.pid);
        child.end.peak_bytes = std::max(child.end.peak_bytes, memory);
        if (memory > limits_.memory_bytes) {
            child.killed = Outcome::out_of_memory;
            child.kill();
        }
    }
    int status = 0;
    rusage usage{};
    auto done = ::wait4(child.pid, &status, WNOHANG, &usage);
    if (done == 0 || (done < 0 && errno == EINTR)) return;
    ::kill(-child.pid, SIGKILL);  // whatever it left behind, so that the pipes end
    child.drain(child.out, child.output, most_output, false);
    child.drain(child.err, child.errors, most_errors, true);
    auto& end = child.end;
    child.finished = true;
    end.seconds = std::chrono::duration<double>(Clock::now() - child.started).count();
    auto seconds = [](const timeval& t) {
        return static_cast<double>(t.tv_sec) + static_cast<double>(t.tv_usec) / 1e6;
    };
    end.cpu_seconds = seconds(usage.ru_utime) + seconds(usage.ru_stime);
    auto last = child.errors.substr(child.errors.substr(0, child.errors.find_last_not_of('\n') + 1).rfind('\n') + 1);
    while (last.ends_with('\n')) last.pop_back();
    if (child.killed == Outcome::out_of_time) {
        end.outcome = child.killed;
        end.reason = fmt::format("killed after {:.0f} s (--timeout)", limits_.seconds);
    } else if (child.killed == Outcome::out_of_memory) {
        end.outcome = child.killed;
        end.reason = fmt::format("killed at {} of memory (--memory {})", human_size(end.peak_bytes),
                                 human_size(limits_.memory_bytes));
    } else if (child.too_long) {
        end.reason = fmt::format("it wrote more than {}", human_size(most_output));
    } else if (WIFSIGNALED(status)) {
        bool starved = child.errors.find("bad_alloc") != std::string::npos;
        end.outcome = starved ? Outcome::out_of_memory : Outcome::died;
        end.reason = fmt::format("ended by signal {} ({}){}{}", WTERMSIG(status), ::strsignal(WTERMSIG(status)),
                                 last.empty() ? "" : ": ", last);
    } else {
        end.exit = WEXITSTATUS(status);
        bool verdict = end.exit == 0 || end.exit == 1 || end.exit == 3;
        end.outcome = verdict ? Outcome::analysed : end.exit == 2 ? Outcome::unusable : Outcome::failed;
        end.output = std::move(child.output);
        if (!verdict) end.reason = last.empty() ? fmt::format("exit code {}", end.exit) : last;
    }
}

std::optional<std::pair<std::size_t, ChildEnd>> Children::take_finished() {
    auto done = std::ranges::find_if(children_, [](const auto& child) { return child->finished; });
    if (done == children_.end()) return std::nullopt;
    std::pair out{(*done)->token, std::move((*done)->end)};
    children_.erase(done);
    return out;
}

std::optional<std::pair<std::size_t, ChildEnd>> Children::wait(int milliseconds) {
    auto until = Clock::now() + std::chrono::milliseconds(milliseconds);
    for (;;) {
        for (auto& child : children_)
            if (!child->finished) watch(*child);
        if (auto done = take_finished()) return done;
        auto now = Clock::now();
        if (children_.empty() || now >= until) return std::nullopt;
        std::vector<pollfd> fds;
        for (auto& child : children_) {
            if (child->out >= 0) fds.push_back({child->out, POLLIN, 0});
            if (child->err >= 0) fds.push_back({child->err, POLLIN, 0});
        }
        auto left = std::chrono::ceil<std::chrono::milliseconds>(until - now);
        // A child that closed its output and lives on is looked at all the same; one that has just closed it is about
        // to end.
        auto pause = std::min<std::chrono::milliseconds>(
            left, fds.size() < 2 * children_.size() ? std::chrono::milliseconds(1) : look_every);
        ::poll(fds.data(), fds.size(), static_cast<int>(pause.count()));
    }
}

}  // namespace incident::triage
