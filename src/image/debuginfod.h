// Fetching files by build-id from debuginfod servers ($DEBUGINFOD_URLS): only when the user asked for it, and within
// one budget of time for the whole run. The library is loaded when first needed, so that nobody else pays for libcurl.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>

namespace incident {

class Debuginfod {
public:
    explicit Debuginfod(unsigned budget_seconds);
    Debuginfod(const Debuginfod&) = delete;
    Debuginfod& operator=(const Debuginfod&) = delete;
    ~Debuginfod();

    enum class Kind : std::uint8_t { executable, debuginfo };
    /// Path of a local copy in the user's debuginfod cache; nullopt: not there, or no time left (`problem` says).
    std::optional<std::string> find(Kind kind, const std::string& build_id);
    /// Why nothing can be fetched: the library or the servers' addresses are missing, or the time is over. Empty: it
    /// can.
    const std::string& problem() const { return problem_; }

private:
    static int on_progress(void* client, long done, long total);
    void load();

    std::chrono::milliseconds left_;
    std::string problem_;
    bool loaded_ = false;
    void* library_ = nullptr;
    void* client_ = nullptr;
};

}  // namespace incident
