#include "engine.h"

#include <dlfcn.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <string_view>
#include <thread>

extern char** environ;

namespace incident_lldb {
namespace {

using Clock = std::chrono::steady_clock;

constexpr std::size_t max_output = std::size_t{256} << 20;  // a report for a screen; more is a mistake

bool runnable(const std::string& path) { return !path.empty() && access(path.c_str(), X_OK) == 0; }

std::string own_folder() {
    Dl_info info{};
    static const char anchor = 0;
    if (dladdr(&anchor, &info) == 0 || info.dli_fname == nullptr) return {};
    char* real = realpath(info.dli_fname, nullptr);
    std::string path = real != nullptr ? real : info.dli_fname;
    std::free(real);
    const auto slash = path.rfind('/');
    return slash == std::string::npos ? "." : path.substr(0, slash);
}

/// A positive number from the environment, or the fallback: a typing error must not take a limit away.
rlim_t environment_number(const char* name, rlim_t fallback) {
    const char* text = std::getenv(name);
    if (text == nullptr) return fallback;
    char* end = nullptr;
    errno = 0;
    const auto value = std::strtoull(text, &end, 10);
    return errno == 0 && end != text && *end == 0 && value > 0 && value < (rlim_t{1} << 40) ? value : fallback;
}

rlim_t default_memory_mib() {
    const long pages = sysconf(_SC_PHYS_PAGES), page = sysconf(_SC_PAGE_SIZE);
    const rlim_t half = pages > 0 && page > 0 ? static_cast<rlim_t>(pages) * static_cast<rlim_t>(page) / 2 >> 20 : 0;
    return std::max<rlim_t>(half, 2048);
}

/// Both ends close on exec; only dup2'd copies reach the child.
struct Pipe {
    std::array<int, 2> fd{-1, -1};
    Pipe() {
        if (pipe2(fd.data(), O_CLOEXEC) != 0) fd = {-1, -1};
    }
    Pipe(const Pipe&) = delete;
    Pipe& operator=(const Pipe&) = delete;
    ~Pipe() { close_end(0), close_end(1); }
    void close_end(std::size_t end) {
        if (fd[end] >= 0) close(fd[end]);
        fd[end] = -1;
    }
};

/// Between vfork and exec: on the parent's memory, so system calls and nothing else.
[[noreturn, gnu::noinline]] void become_child(char* const* argv, char* const* envp, int out, int err, rlim_t memory) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    setpgid(0, 0);  // the terminal's Ctrl-C goes to the debugger, which then kills us
    const rlimit data{memory, memory}, none{0, 0};
    setrlimit(RLIMIT_DATA, &data);
    setrlimit(RLIMIT_CORE, &none);  // no core of the engine on top of the user's core
    sigset_t all;
    sigemptyset(&all);
    sigprocmask(SIG_SETMASK, &all, nullptr);
    signal(SIGPIPE, SIG_DFL);
    const int null = open("/dev/null", O_RDONLY | O_CLOEXEC);
    if (null >= 0) dup2(null, STDIN_FILENO);
    dup2(out, STDOUT_FILENO);
    dup2(err, STDERR_FILENO);
    close_range(3, ~0U, 0);
    execve(argv[0], argv, envp);
    constexpr std::string_view note = "cannot be started";
    [[maybe_unused]] const auto written = write(STDERR_FILENO, note.data(), note.size());
    _exit(127);
}

/// Takes what there is; false at the end of the stream.
bool drain(int fd, std::string& into) {
    std::array<char, 65536> buffer;
    const auto n = read(fd, buffer.data(), buffer.size());
    if (n < 0) return errno == EINTR || errno == EAGAIN;
    if (n > 0) into.append(buffer.data(), static_cast<std::size_t>(n));
    return n > 0;
}

std::string signal_sentence(int number) {
    const char* name = sigabbrev_np(number);
    return "the incident child died of signal " +
           (name != nullptr ? "SIG" + std::string(name) : std::to_string(number)) + "; the debugger is not affected";
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
    for (auto& s : strings) result.push_back(s.data());
    result.push_back(nullptr);
    return result;
}

}  // namespace

std::string find_engine() {
    if (const char* named = std::getenv("INCIDENT"); named != nullptr && *named != 0) return named;
    const auto folder = own_folder();
    // Beside the plugin; the build tree's root; PREFIX/lib/incident/incident_lldb.so beside PREFIX/bin/incident.
    for (const char* relative : {"/incident", "/../incident", "/../../bin/incident", "/../../../bin/incident"}) {
        const auto path = folder + relative;
        if (runnable(path) && access((path + "/.").c_str(), F_OK) != 0) return path;  // a folder is no command
    }
    const char* path = std::getenv("PATH");
    std::string_view rest = path != nullptr ? path : "";
    while (!rest.empty()) {
        const auto colon = rest.find(':');
        const auto candidate = std::string(rest.substr(0, colon)) + "/incident";
        if (candidate.front() == '/' && runnable(candidate)) return candidate;
        rest = colon == std::string_view::npos ? std::string_view{} : rest.substr(colon + 1);
    }
    return {};
}

EngineRun run_engine(const std::vector<std::string>& arguments, unsigned columns,
                     const std::function<bool()>& interrupted) {
    EngineRun run;
    const auto engine = find_engine();
    if (engine.empty()) {
        run.failure = "the command 'incident' was not found: neither $INCIDENT, nor beside the plugin, nor in PATH";
        return run;
    }
    std::vector<std::string> words{engine};
    words.insert(words.end(), arguments.begin(), arguments.end());
    auto environment = child_environment(columns);
    const auto argv = pointers(words), envp = pointers(environment);
    const rlim_t seconds = environment_number("INCIDENT_TIMEOUT", 600);
    const rlim_t memory = environment_number("INCIDENT_MEMORY", default_memory_mib()) << 20;

    Pipe out, err;
    const pid_t child =
        out.fd[1] < 0 || err.fd[1] < 0 ? -1 : vfork();  // fork would copy lldb's page tables: 10 ms and more
    if (child < 0) {
        run.failure = std::string("the incident child cannot be started: ") + std::strerror(errno);
        return run;
    }
    if (child == 0) become_child(argv.data(), envp.data(), out.fd[1], err.fd[1], memory);
    out.close_end(1), err.close_end(1);

    const auto deadline = Clock::now() + std::chrono::seconds(seconds);
    const auto give_up = [&](std::string why) {
        if (run.failure.empty()) run.failure = std::move(why);
        kill(-child, SIGKILL), kill(child, SIGKILL);
    };
    const auto check = [&] {
        if (!run.failure.empty()) return;
        if (interrupted()) give_up("interrupted: the incident child was killed");
        if (Clock::now() > deadline) {
            give_up("the incident child was killed after " + std::to_string(seconds) +
                    " seconds ($INCIDENT_TIMEOUT sets this limit)");
        }
        if (run.out.size() + run.err.size() > max_output) give_up("the incident child printed too much and was killed");
    };
    while (out.fd[0] >= 0 || err.fd[0] >= 0) {
        std::array<pollfd, 2> wait{{{out.fd[0], POLLIN, 0}, {err.fd[0], POLLIN, 0}}};
        if (poll(wait.data(), wait.size(), 100) > 0) {
            if (wait[0].revents != 0 && !drain(out.fd[0], run.out)) out.close_end(0);
            if (wait[1].revents != 0 && !drain(err.fd[0], run.err)) err.close_end(0);
        }
        check();
        if (!run.failure.empty()) break;  // a grandchild may still hold the pipes
    }
    int status = 0;
    for (;;) {
        const pid_t done = waitpid(child, &status, WNOHANG);
        if (done == child) break;
        if (done < 0 && errno != EINTR) {  // somebody else reaped it: then its status is unknown, not success
            give_up("the incident child's exit status is lost");
            return run;
        }
        std::this_thread::sleep_for(std::chrono::milliseconds(1));
        check();
    }
    if (run.failure.empty() && WIFSIGNALED(status)) run.failure = signal_sentence(WTERMSIG(status));
    if (WIFEXITED(status)) run.exit_code = WEXITSTATUS(status);
    if (run.failure.empty() && run.exit_code == 127) run.failure = "the command '" + engine + "' " + run.err;
    return run;
}

std::string failure_of(const EngineRun& run) {
    if (!run.failure.empty()) return run.failure;
    if (run.exit_code == 0 || run.exit_code == 1 || run.exit_code == 3) return {};
    std::string_view text = run.err;
    while (!text.empty() && text.back() == '\n') text.remove_suffix(1);
    if (text.starts_with("incident: ")) text.remove_prefix(10);
    return text.empty() ? "incident exited with code " + std::to_string(run.exit_code) : std::string(text);
}

}  // namespace incident_lldb
