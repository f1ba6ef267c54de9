#include "cli/progress.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <string>

#include "base/text.h"

namespace incident::cli {

namespace {
void to_stderr(std::string_view text) {
    [[maybe_unused]] auto written = ::write(STDERR_FILENO, text.data(), text.size());
}
}  // namespace

void Progress::show(std::string_view phase, std::uint64_t done, std::uint64_t total) {
    if (!enabled_) return;
    using namespace std::chrono_literals;
    auto now = std::chrono::steady_clock::now();
    if (now - started_ < 400ms || now - last_ < 100ms) return;
    last_ = now;
    auto line = escape_for_terminal(phase).substr(0, 50);
    if (total != 0) {
        constexpr unsigned cells = 24;
        auto filled = static_cast<unsigned>(std::min(done, total) * cells / total);
        line += fmt::format("  [{}{}] {:3}%", std::string(filled, '#'), std::string(cells - filled, '.'),
                            std::min(done, total) * 100 / total);
    } else if (done != 0) {
        line += fmt::format("  {}", done);
    }
    to_stderr("\r\x1b[K" + line);
    drawn_ = true;
}

void Progress::clear() {
    if (drawn_) to_stderr("\r\x1b[K");
    drawn_ = false;
}

}  // namespace incident::cli
