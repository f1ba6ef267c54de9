// A child process of the debugger with limits: how the engine is started, waited for and killed.
//
// Surprises: vfork, because fork would copy lldb's page tables (10 ms and more); stdin is a socket, because writing to
// a pipe whose reader died raises SIGPIPE in lldb; RLIMIT_DATA and not RLIMIT_AS, because the engine maps whole cores.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <functional>
#include <string>
#include <vector>

namespace incident_lldb {

/// Seconds and MiB from $INCIDENT_TIMEOUT and $INCIDENT_MEMORY, or 600 and half of the machine's memory.
struct Limits {
    std::chrono::seconds time;
    std::uint64_t memory;  ///< bytes
    static Limits from_environment();
};

class Child {
public:
    Child() = default;
    Child(const Child&) = delete;
    Child& operator=(const Child&) = delete;
    ~Child() { kill(); }

    /// Why it could not be started, or empty. `columns` > 0 is $COLUMNS for it.
    std::string start(const std::vector<std::string>& command, unsigned columns, const Limits& limits);
    bool running() const { return pid_ > 0; }

    /// Writes all of it; false: the child does not listen any more.
    bool tell(const std::string& text);
    void close_stdin();

    /// Takes what stdout and stderr have to say, for at most 100 ms. False: both are at their end.
    bool listen(std::string& out, std::string& err);

    /// Gone by itself? Then why, in words, or empty for a normal exit with `exit_code`.
    bool reap(int& exit_code, std::string& why);
    void kill();

private:
    void close_all();
    pid_t pid_ = -1;
    int in_ = -1, out_ = -1, err_ = -1;
};

}  // namespace incident_lldb
