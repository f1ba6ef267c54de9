// Small native programs that tests compile with the machine's own compiler, run until they dump core, and look at. What
// the machine cannot do (no compiler, a core_pattern that pipes cores away and no gdb) is said in `problem`, and the
// test skips:
//
//     auto dead = build_and_crash(crasher_source, {"-O2", "-g"});
//     if (!dead.problem.empty()) GTEST_SKIP() << dead.problem;
#pragma once

#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

namespace incident {

/// A directory below $TMPDIR that is removed with this object.
class TemporaryDirectory {
public:
    TemporaryDirectory();
    TemporaryDirectory(TemporaryDirectory&& other) noexcept : path_(std::move(other.path_)) { other.path_.clear(); }
    TemporaryDirectory& operator=(TemporaryDirectory&&) = delete;
    ~TemporaryDirectory();
    const std::filesystem::path& path() const { return path_; }
    std::string operator/(std::string_view name) const { return (path_ / name).string(); }

private:
    std::filesystem::path path_;
};

struct DeadProgram {
    TemporaryDirectory directory;
    std::string executable;
    std::string core;
    std::string problem;  ///< empty: it ran and dumped core
    /// The kernel leaves none here; gdb's hold code, too.
    bool by_gdb() const { return core.ends_with("core.gdb"); }
};

/// Exit status of `sh -c command`, its output in `output`.
int run_command(const std::string& command, std::string* output = nullptr);
bool have_command(const std::string& name);

DeadProgram build_and_crash(std::string_view source, const std::vector<std::string>& flags,
                            const std::string& arguments = {});
/// Runs an executable that is there already; the core lands in `directory`.
std::string crash_again(const std::string& executable, const std::filesystem::path& directory,
                        const std::string& arguments, std::string& core);

/// C++: three threads (one sleeps, one waits for a mutex), recursion through a template in a namespace, a signal
/// handler that calls std::sort with a lambda, in which an inlined function writes to null. An argument puts the
/// handler on its own stack.
extern const std::string_view crasher_source;

}  // namespace incident
