// Building and running small programs. Plain fork and exec: nothing here goes through a shell.
#include "support/live_target.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <map>
#include <sstream>

namespace incident {

namespace fs = std::filesystem;

namespace {

/// Removed when the test process ends.
class Scratch {
public:
    Scratch() {
        std::string pattern = (fs::temp_directory_path() / "incident-test-XXXXXX").string();
        if (mkdtemp(pattern.data()) != nullptr) path_ = pattern;
    }
    ~Scratch() {
        std::error_code ignored;
        if (!path_.empty() && std::getenv("INCIDENT_KEEP_TARGETS") == nullptr) fs::remove_all(path_, ignored);
    }
    fs::path fresh(const std::string& name) {
        fs::path directory = path_ / (name + "." + std::to_string(next_++));
        fs::create_directories(directory);
        return directory;
    }

private:
    fs::path path_;
    int next_ = 0;
};
Scratch& scratch() {
    static Scratch instance;
    return instance;
}

struct Ended {
    int status = -1;
    std::string output;
};

Ended run(const std::vector<std::string>& command, const fs::path& directory,
          const std::vector<std::string>& environment, bool core) {
    fs::path log = directory / "output";
    pid_t child = fork();
    if (child == 0) {
        int out = open(log.c_str(), O_WRONLY | O_CREAT | O_APPEND, 0600);
        dup2(out, 1);
        dup2(out, 2);
        if (chdir(directory.c_str()) != 0) _exit(126);
        rlimit limit{core ? RLIM_INFINITY : 0, RLIM_INFINITY};
        if (core && setrlimit(RLIMIT_CORE, &limit) != 0) {
            getrlimit(RLIMIT_CORE, &limit);
            limit.rlim_cur = limit.rlim_max;
            setrlimit(RLIMIT_CORE, &limit);
        }
        for (const std::string& variable : environment) putenv(strdup(variable.c_str()));
        std::vector<char*> arguments;
        for (const std::string& argument : command) arguments.push_back(strdup(argument.c_str()));
        arguments.push_back(nullptr);
        execvp(arguments[0], arguments.data());
        _exit(127);
    }
    Ended ended;
    if (child > 0) waitpid(child, &ended.status, 0);
    std::stringstream text;
    text << std::ifstream(log).rdbuf();
    ended.output = text.str();
    return ended;
}

fs::path find_core(const fs::path& directory) {
    for (const auto& entry : fs::directory_iterator(directory))
        if (entry.path().filename().string().starts_with("core") && entry.file_size() > 0) return entry.path();
    return {};
}

}  // namespace

fs::path build_target(const std::string& source, const BuildOptions& options) {
    static std::map<std::vector<std::string>, fs::path> built;
    bool cplusplus = source.ends_with(".cpp");
    std::vector<std::string> command{cplusplus ? "g++" : "gcc"};
    if (!options.sysroot.empty()) {  // gcc looks for crt1.o and libc.so in its own folders first
        std::string root = options.sysroot.string();
        command.insert(command.end(),
                       {"--sysroot=" + root, "-B" + root + "/usr/lib/x86_64-linux-gnu",
                        "-L" + root + "/usr/lib/x86_64-linux-gnu", "-L" + root + "/lib/x86_64-linux-gnu"});
    }
    command.insert(command.end(), {"-g", "-pthread", std::string(INCIDENT_SOURCE_DIR "/tests/") + source});
    command.insert(command.end(), options.flags.begin(), options.flags.end());
    for (const char* library : {"/lib/x86_64-linux-gnu/libpthread.so.0"})  // its -dev link is absolute
        if (fs::exists(options.sysroot / ("." + std::string(library))))
            command.push_back(options.sysroot.string() + library);
    if (auto known = built.find(command); known != built.end()) return known->second;
    std::vector<std::string> key = command;
    fs::path directory = scratch().fresh(fs::path(source).stem().string());
    fs::path program = directory / fs::path(source).stem();
    command.insert(command.end(), {"-o", program.string()});
    Ended ended = run(command, directory, {}, false);
    if (ended.status != 0) {
        ADD_FAILURE() << "cannot build " << source << "\n" << ended.output;
        return {};
    }
    return built[key] = program;
}

std::vector<OtherLibc> other_libcs() {
    std::vector<OtherLibc> found;
    const char* folder = std::getenv("INCIDENT_GLIBC_DIR");
    if (folder == nullptr || !fs::is_directory(folder)) return found;
    for (const auto& entry : fs::directory_iterator(folder)) {
        for (const char* inside : {"usr/lib/x86_64-linux-gnu", "lib/x86_64-linux-gnu"}) {
            fs::path libraries = entry.path() / inside;
            if (!fs::exists(libraries / "ld-linux-x86-64.so.2") || !fs::exists(libraries / "libc.so.6")) continue;
            found.push_back({entry.path().filename().string(), entry.path(), libraries / "ld-linux-x86-64.so.2",
                             libraries, fs::exists(entry.path() / "usr/include/stdio.h")});
            break;
        }
    }
    std::ranges::sort(found, {}, &OtherLibc::version);
    return found;
}

TargetRun run_to_core(const fs::path& program, const RunOptions& options) {
    TargetRun result;
    if (program.empty()) {
        result.why_no_core = "the program was not built";
        return result;
    }
    std::vector<std::string> command;
    if (options.libc != nullptr)
        command = {options.libc->loader.string(), "--library-path", options.libc->libraries.string()};
    command.push_back(program.string());
    command.insert(command.end(), options.arguments.begin(), options.arguments.end());
    result.directory = scratch().fresh(program.stem().string() + "-run");
    Ended ended;
    if (!options.by_gdb) {
        ended = run(command, result.directory, options.environment, true);
        result.core = find_core(result.directory);
        if (!result.core.empty()) return result;
    }
    fs::path core = result.directory / "core.gdb";
    std::vector<std::string> gdb{"gdb",
                                 "-batch",
                                 "-nx",
                                 "-ex",
                                 "set debuginfod enabled off",
                                 "-ex",
                                 "run",
                                 "-ex",
                                 "generate-core-file " + core.string(),
                                 "--args"};
    gdb.insert(gdb.end(), command.begin(), command.end());
    Ended debugged = run(gdb, result.directory, options.environment, false);
    if (fs::exists(core)) result.core = core;
    result.why_no_core = "neither the kernel nor gdb wrote a core here:\n" + ended.output + debugged.output;
    return result;
}

}  // namespace incident
