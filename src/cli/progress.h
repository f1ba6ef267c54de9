// One line on stderr that shows how far the engine is: only on a terminal, only when the wait is worth showing, and
// gone before the result is printed.
#pragma once

#include <chrono>
#include <cstdint>
#include <string_view>

namespace incident::cli {

class Progress {
public:
    explicit Progress(bool enabled) : enabled_(enabled), started_(std::chrono::steady_clock::now()) {}
    ~Progress() { clear(); }
    Progress(const Progress&) = delete;
    Progress& operator=(const Progress&) = delete;

    /// total 0: unknown.
    void show(std::string_view phase, std::uint64_t done, std::uint64_t total);
    void clear();

private:
    bool enabled_;
    bool drawn_ = false;
    std::chrono::steady_clock::time_point started_, last_{};
};

}  // namespace incident::cli
