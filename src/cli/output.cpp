#include "cli/output.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <langinfo.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <clocale>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <tuple>
#include <utility>
#include <vector>

#include "base/text.h"
#include "report/verdict.h"

namespace incident::cli {

std::expected<Output, std::string> Output::open(const std::string& path) {
    if (path.empty() || path == "-") return Output(STDOUT_FILENO, false, "standard output");
    int fd = ::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    if (fd < 0) return std::unexpected(fmt::format("cannot write {}: {}", path, std::strerror(errno)));
    return Output(fd, true, path);
}

Output::Output(Output&& other) noexcept
    : fd_(other.fd_), owned_(std::exchange(other.owned_, false)), name_(std::move(other.name_)), error_(other.error_) {}

Output::~Output() {
    if (owned_) ::close(fd_);
}

bool Output::write(std::string_view bytes) {
    while (error_ == 0 && !bytes.empty()) {
        auto written = ::write(fd_, bytes.data(), bytes.size());
        if (written < 0 && errno == EINTR) continue;
        if (written < 0)
            error_ = errno;
        else
            bytes.remove_prefix(static_cast<std::size_t>(written));
    }
    return error_ == 0;
}

report::Sink Output::sink() {
    return [this](std::string_view bytes) { return write(bytes); };
}

bool Output::is_terminal() const { return ::isatty(fd_) == 1; }

unsigned Output::width() const {
    constexpr unsigned narrowest = 40, widest = 200, usual = 100;
    if (const char* columns = std::getenv("COLUMNS")) {
        unsigned long value = std::strtoul(columns, nullptr, 10);
        if (value != 0) return std::clamp(static_cast<unsigned>(std::min(value, 1000ul)), narrowest, widest);
    }
    winsize size{};
    if (!is_terminal() || ::ioctl(fd_, TIOCGWINSZ, &size) != 0 || size.ws_col == 0) return usual;
    return std::clamp<unsigned>(size.ws_col, narrowest, widest);
}

std::string Output::finish() {
    if (owned_) {
        owned_ = false;
        if (::close(fd_) != 0 && error_ == 0) error_ = errno;
    }
    if (error_ == 0 || error_ == EPIPE) return {};
    return fmt::format("cannot write {}: {}", name_, std::strerror(error_));
}

int complain(const std::string& message) {
    auto line = fmt::format("incident: {}\n", escape_for_terminal(message));
    std::fwrite(line.data(), 1, line.size(), stderr);
    return report::exit_unusable;
}

report::RenderOptions options_for(const Invocation& inv, const Output& output) {
    auto options = inv.render;
    options.width = output.width();
    options.color = wants_color(inv.color, output.is_terminal());
    options.unicode = locale_is_utf8();
    return options;
}

std::string write_result(const Invocation& inv, const Draw& draw) {
    auto write = [&](const std::string& path, std::string_view format) {
        auto output = Output::open(path);
        if (!output) return output.error();
        draw(format, options_for(inv, *output), output->sink());
        return output->finish();
    };
    if (!inv.json_output.empty())
        if (auto failure = write(inv.json_output, "json"); !failure.empty()) return failure;
    return write(inv.output, inv.format);
}

bool wants_color(const std::string& when, bool is_terminal) {
    if (when != "auto") return when == "always";
    const char* no_color = std::getenv("NO_COLOR");
    const char* term = std::getenv("TERM");
    return is_terminal && (no_color == nullptr || *no_color == '\0') &&
           (term == nullptr || std::string_view(term) != "dumb");
}

bool locale_is_utf8() {
    std::setlocale(LC_CTYPE, "");
    return std::string_view(nl_langinfo(CODESET)) == "UTF-8";
}

bool same_file(const std::string& a, const std::string& b) {
    std::error_code error;
    return std::filesystem::equivalent(a, b, error) && !error;
}

std::string overwrites(const Invocation& inv) {
    const auto& [analyze, triage] = std::tie(inv.analyze, inv.triage);
    std::vector inputs{analyze.core_path, analyze.images.executable, inv.runbook, triage.baseline};
    inputs.insert(inputs.end(), triage.words.begin(), triage.words.end());
    for (const auto& path : {inv.output, inv.json_output, analyze.pprof_path, triage.store})
        if (std::ranges::any_of(inputs, [&](const auto& input) { return same_file(path, input); }))
            return fmt::format("{} is an input: it will not be overwritten", path);
    return {};
}

}  // namespace incident::cli
