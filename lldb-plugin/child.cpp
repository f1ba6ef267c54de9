#include "child.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <string_view>

extern char** environ;

namespace incident_lldb {
namespace {

/// A positive number from the environment, or the fallback: a typing error must not take a limit away.
std::uint64_t environment_number(const char* name, std::uint64_t fallback) {
    const char* text = std::getenv(name);
    if (text == nullptr) return fallback;
    char* end = nullptr;
    errno = 0;
    const auto value = std::strtoull(text, &end, 10);
    const bool sound = errno == 0 && end != text && *end == 0 && value > 0 && value < (std::uint64_t{1} << 40);
    return sound ? value : fallback;
}

std::uint64_t default_memory_mib() {
    const long pages = sysconf(_SC_PHYS_PAGES), page = sysconf(_SC_PAGE_SIZE);
    const auto half =
        pages > 0 && page > 0 ? static_cast<std::uint64_t>(pages) * static_cast<std::uint64_t>(page) / 2 >> 20 : 0;
    return std::max<std::uint64_t>(half, 2048);
}

/// Between vfork and exec: on the parent's memory, so system calls and nothing else.
[[noreturn, gnu::noinline]] void become_child(char* const* argv, char* const* envp, int in, int out, int err,
                                              rlim_t memory) {
    setpgid(0, 0);  // the terminal's Ctrl-C goes to the debugger, which then kills us
    const rlimit data{memory, memory}, none{0, 0};
    setrlimit(RLIMIT_DATA, &data);
    setrlimit(RLIMIT_CORE, &none);  // no core of the engine on top of the user's core
    sigset_t all;
    sigemptyset(&all);
    sigprocmask(SIG_SETMASK, &all, nullptr);
    signal(SIGPIPE, SIG_DFL);
    dup2(in, STDIN_FILENO);
    dup2(out, STDOUT_FILENO);
    dup2(err, STDERR_FILENO);
    close_range(3, ~0U, 0);
    execve(argv[0], argv, envp);
    constexpr std::string_view note = "cannot be started";
    [[maybe_unused]] const auto written = write(STDERR_FILENO, note.data(), note.size());
    _exit(127);
}

std::vector<std::string> child_environment(unsigned columns) {
    std::vector<std::string> result;
    for (char** entry = environ; *entry != nullptr; ++entry) {
        if (columns == 0 || std::strncmp(*entry, "COLUMNS=", 8) != 0) result.emplace_back(*entry);
    }
    if (columns > 0) result.push_back("COLUMNS=" + std::to_string(columns));
    return result;
}

std::vector<char*> pointers(std::vector<std::string>& strings) {
    std::vector<char*> result;
    result.reserve(strings.size() + 1);
    for (auto& s : strings) result.push_back(s.data());
    result.push_back(nullptr);
    return result;
}

void close_and_forget(int& fd) {
    if (fd >= 0) close(fd);
    fd = -1;
}

/// Takes what there is; false at the end of the stream.
bool drain(int fd, std::string& into) {
    std::array<char, 65536> buffer;
    const auto n = read(fd, buffer.data(), buffer.size());
    if (n < 0) return errno == EINTR || errno == EAGAIN;
    if (n > 0) into.append(buffer.data(), static_cast<std::size_t>(n));
    return n > 0;
}

}  // namespace

Limits Limits::from_environment() {
    return {std::chrono::seconds(environment_number("INCIDENT_TIMEOUT", 600)),
            environment_number("INCIDENT_MEMORY", default_memory_mib()) << 20};
}

std::string Child::start(const std::vector<std::string>& command, unsigned columns, const Limits& limits) {
    kill();
    auto words = command;
    auto environment = child_environment(columns);
    const auto argv = pointers(words), envp = pointers(environment);
    // All ends close on exec; only dup2'd copies reach the child.
    std::array<int, 2> in{-1, -1}, out{-1, -1}, err{-1, -1};
    const bool ready = socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, in.data()) == 0 &&
                       pipe2(out.data(), O_CLOEXEC) == 0 && pipe2(err.data(), O_CLOEXEC) == 0;
    // lldb may have tens of GB mapped, which fork would copy the tables of; posix_spawn sets no memory limit.
    const pid_t child = ready ? vfork() : -1;  // NOLINT(bugprone-unsafe-functions,clang-analyzer-*)
    if (child == 0) become_child(argv.data(), envp.data(), in[0], out[1], err[1], limits.memory);
    const int why = errno;
    close_and_forget(in[0]), close_and_forget(out[1]), close_and_forget(err[1]);
    pid_ = child, in_ = in[1], out_ = out[0], err_ = err[0];
    if (child > 0) return {};
    close_all();
    return std::string("the incident child cannot be started: ") + std::strerror(why);
}

bool Child::tell(const std::string& text) {
    for (std::size_t done = 0; done < text.size();) {
        const auto n = send(in_, text.data() + done, text.size() - done, MSG_NOSIGNAL);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) return false;
        done += static_cast<std::size_t>(n);
    }
    return true;
}

void Child::close_stdin() { close_and_forget(in_); }

bool Child::listen(std::string& out, std::string& err) {
    std::array<pollfd, 2> wait{{{out_, POLLIN, 0}, {err_, POLLIN, 0}}};
    if (poll(wait.data(), wait.size(), 100) > 0) {
        if (wait[0].revents != 0 && !drain(out_, out)) close_and_forget(out_);
        if (wait[1].revents != 0 && !drain(err_, err)) close_and_forget(err_);
    }
    return out_ >= 0 || err_ >= 0;
}

bool Child::reap(int& exit_code, std::string& why) {
    int status = 0;
    const pid_t done = waitpid(pid_, &status, WNOHANG);
    if (done == 0 || (done < 0 && errno == EINTR)) return false;
    if (done < 0) {  // somebody else reaped it: then its status is unknown, not success
        why = "the incident child's exit status is lost";
    } else if (WIFSIGNALED(status)) {
        const char* name = sigabbrev_np(WTERMSIG(status));
        why = "the incident child died of signal " +
              (name != nullptr ? "SIG" + std::string(name) : std::to_string(WTERMSIG(status))) +
              "; the debugger is not affected";
    } else {
        exit_code = WEXITSTATUS(status);
    }
    pid_ = -1;
    close_all();
    return true;
}

void Child::kill() {
    if (pid_ > 0) {
        ::kill(-pid_, SIGKILL), ::kill(pid_, SIGKILL);
        while (waitpid(pid_, nullptr, 0) < 0 && errno == EINTR) {}
        pid_ = -1;
    }
    close_all();
}

void Child::close_all() { close_and_forget(in_), close_and_forget(out_), close_and_forget(err_); }

}  // namespace incident_lldb
