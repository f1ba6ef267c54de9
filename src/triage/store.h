// The store: an append-only file of records, one line of JSON each, written whole by one write(2). It survives being
// killed at any byte: a torn last line is passed over, and the next line begins behind a line break of its own.
#pragma once

#include <cstdint>
#include <expected>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "triage/record.h"

namespace incident::triage {

struct StoreContents {
    std::uint64_t records = 0;
    std::uint64_t broken = 0;  ///< lines that are no record
    std::string first_broken;  ///< "line 7: …"
};

/// Reads a store line by line.
std::expected<StoreContents, std::string> read_store(const std::string& path,
                                                     const std::function<void(Record&&, std::string_view line)>& each);

class Store {
public:
    /// Opens for appending and locks: two runs never write one store. `resume`: it may hold records already.
    static std::expected<Store, std::string> open(const std::string& path, bool resume);
    Store(Store&& other) noexcept;
    Store& operator=(Store&&) = delete;
    ~Store();

    /// Empty, or why it failed (a full disk).
    std::string append(std::string_view line);

private:
    Store(int fd, std::string path) : fd_(fd), path_(std::move(path)) {}
    int fd_;
    std::string path_;
};

}  // namespace incident::triage
