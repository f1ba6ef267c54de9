// The runtime's words for statuses and wait reasons. Their numbers shift by release (1.20, 1.22 … 1.26), so the words
// come from a table made from every release's source.
#include <span>

#include "go/stacks/goroutines.h"

namespace incident::go {

namespace {

struct WaitReasons {
    int first, last;  // minor versions
    std::span<const std::string_view> words;
};

#define INCIDENT_WAIT_REASONS(first, last, ...) constexpr std::string_view words_##first[] = {__VA_ARGS__};
#include "go/stacks/waitreasons.inc"
#undef INCIDENT_WAIT_REASONS

constexpr WaitReasons tables[] = {
#define INCIDENT_WAIT_REASONS(first, last, ...) {first, last, words_##first},
#include "go/stacks/waitreasons.inc"
#undef INCIDENT_WAIT_REASONS
};

}  // namespace

std::string_view wait_reason_words(const Version& version, std::uint8_t number) {
    for (const auto& table : tables) {
        if (version.minor < table.first || version.minor > table.last) continue;
        return number < table.words.size() ? table.words[number] : std::string_view();
    }
    return {};
}

std::string_view to_string(Status status) {
    switch (status) {
        case Status::idle: return "idle";
        case Status::runnable: return "runnable";
        case Status::running: return "running";
        case Status::syscall: return "syscall";
        case Status::waiting: return "waiting";
        case Status::dead: return "dead";
        case Status::copystack: return "copystack";
        case Status::preempted: return "preempted";
        case Status::leaked: return "leaked";
        case Status::deadextra: return "waiting for cgo callback";
        case Status::unknown: break;
    }
    return "unknown";
}

std::string_view Goroutine::state_words() const {
    bool waits = status == Status::waiting || status == Status::leaked;
    return waits && !wait_reason.empty() ? wait_reason : to_string(status);
}

}  // namespace incident::go
