#include "engine.h"

#include <dlfcn.h>
#include <sys/stat.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <string_view>
#include <thread>

#include "child.h"

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

/// The time limit of one question, Ctrl-C, and the bound on output: when one of them strikes, the child is killed.
class Watch {
public:
    Watch(const Limits& limits, const std::function<bool()>& interrupted)
        : limits_(limits), interrupted_(interrupted), deadline_(Clock::now() + limits.time) {}

    /// Empty, or why the wait is over.
    std::string trouble(std::size_t printed) const {
        if (interrupted_()) return "interrupted: the incident child was killed";
        if (Clock::now() > deadline_) {
            return "the incident child was killed after " + std::to_string(limits_.time.count()) +
                   " seconds ($INCIDENT_TIMEOUT sets this limit)";
        }
        return printed > max_output ? "the incident child printed too much and was killed" : "";
    }

private:
    const Limits& limits_;
    const std::function<bool()>& interrupted_;
    Clock::time_point deadline_;
};

/// After its output ended. `run.err` is what it said last.
void wait_for_end(Child& child, const Watch& watch, EngineRun& run) {
    while (!child.reap(run.exit_code, run.failure)) {
        if (run.failure = watch.trouble(0); !run.failure.empty()) return child.kill();
        std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
}

constexpr const char* not_found =
    "the command 'incident' was not found: neither $INCIDENT, nor beside the plugin, nor in PATH";

std::string quoted(const std::string& text) {
    std::string out = "\"";
    for (const char c : text) {
        if (c == '"' || c == '\\') out += '\\';
        if (static_cast<unsigned char>(c) < 0x20) {
            char escape[8];
            std::snprintf(escape, sizeof escape, "\\u%04x", static_cast<unsigned>(c));
            out += escape;
        } else {
            out += c;
        }
    }
    return out + '"';
}

/// A file by path, identity and age: a core that was written anew is another core.
std::string identity(const std::string& path) {
    struct stat s{};
    if (stat(path.c_str(), &s) != 0) return path;
    return path + ' ' + std::to_string(s.st_dev) + ' ' + std::to_string(s.st_ino) + ' ' + std::to_string(s.st_size) +
           ' ' + std::to_string(s.st_mtim.tv_sec) + '.' + std::to_string(s.st_mtim.tv_nsec);
}

/// The child of earlier questions, and what it was started for.
struct Kept {
    Child child;
    std::string key;
};

Kept& kept() {
    static Kept one;
    return one;
}

/// Reads one answer of the protocol (src/cli/serve.h). False: the child's output ended before.
bool read_answer(Child& child, const Watch& watch, EngineRun& run) {
    std::string text, notes;
    std::size_t header = std::string::npos;
    unsigned long out = 0, err = 0;
    int code = 0;
    for (;;) {
        const bool open = child.listen(text, notes);
        if (header == std::string::npos) {
            header = text.find('\n');
            if (header != std::string::npos &&
                std::sscanf(text.c_str(), R"({"code": %d, "out": %lu, "err": %lu})", &code, &out, &err) != 3) {
                run.failure = "the incident child does not speak the protocol of this plugin: are both of one version?";
                return true;
            }
        }
        if (header != std::string::npos && out <= max_output && err <= max_output &&
            text.size() - header - 1 >= out + err) {
            run.exit_code = code;
            run.out = text.substr(header + 1, out);
            run.err = text.substr(header + 1 + out, err) + notes;
            return true;
        }
        if (!open) {
            run.err = notes;
            return false;
        }
        if (run.failure = watch.trouble(text.size() + notes.size()); !run.failure.empty()) return true;
    }
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

EngineRun ask_engine(const std::string& core, const std::string& executable, const std::vector<std::string>& arguments,
                     unsigned columns, const std::function<bool()>& interrupted) {
    EngineRun run;
    const auto engine = find_engine();
    if (engine.empty()) return run.failure = not_found, run;
    const auto limits = Limits::from_environment();
    auto& [child, key] = kept();
    const auto wanted =
        engine + '\n' + identity(core) + '\n' + identity(executable) + '\n' + std::to_string(limits.memory);
    std::string question = "{\"args\": [";
    for (const auto& word : arguments) question += (question.back() == '[' ? "" : ", ") + quoted(word);
    question += "], \"columns\": " + std::to_string(columns) + "}\n";

    const Watch watch(limits, interrupted);
    if (!child.running() || key != wanted || !child.tell(question)) {  // new, or it died between two questions
        std::vector<std::string> command{engine, "serve", core};
        if (!executable.empty()) command.push_back(executable);
        if (run.failure = child.start(command, 0, limits); !run.failure.empty()) return run;
        key = wanted;
        child.tell(question);  // if it does not listen, its output ends and says why
    }
    if (!read_answer(child, watch, run)) {
        wait_for_end(child, watch, run);
        if (run.failure.empty() && run.exit_code == 127) run.failure = "the command '" + engine + "' " + run.err;
        if (run.failure.empty() && run.exit_code != 2) run.failure = "the incident child ended without an answer";
    }
    if (!run.failure.empty()) child.kill();
    return run;
}

EngineRun run_engine(const std::vector<std::string>& arguments, unsigned columns,
                     const std::function<bool()>& interrupted) {
    EngineRun run;
    const auto engine = find_engine();
    if (engine.empty()) return run.failure = not_found, run;
    std::vector<std::string> command{engine};
    command.insert(command.end(), arguments.begin(), arguments.end());
    const auto limits = Limits::from_environment();
    Child child;
    if (run.failure = child.start(command, columns, limits); !run.failure.empty()) return run;
    child.close_stdin();
    const Watch watch(limits, interrupted);
    while (child.listen(run.out, run.err)) {
        if (run.failure = watch.trouble(run.out.size() + run.err.size()); !run.failure.empty()) return run;
    }
    wait_for_end(child, watch, run);
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
