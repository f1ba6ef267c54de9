// Where the result goes: stdout or a file, as bytes; and what that place can show. A reader that goes away (EPIPE) is
// no error; a full disk is.
#pragma once

#include <expected>
#include <functional>
#include <string>

#include "cli/invocation.h"
#include "report/renderers.h"

namespace incident::cli {

class Output {
public:
    /// Empty path or "-": stdout.
    static std::expected<Output, std::string> open(const std::string& path);
    Output(Output&& other) noexcept;
    Output& operator=(Output&&) = delete;
    ~Output();

    report::Sink sink();
    bool is_terminal() const;
    unsigned width() const;  ///< 100; a terminal's own width between 40 and 200; $COLUMNS wins
    /// Why writing failed, empty when it did not or when the reader just left.
    std::string finish();

private:
    Output(int fd, bool owned, std::string name) : fd_(fd), owned_(owned), name_(std::move(name)) {}
    bool write(std::string_view bytes);

    int fd_;
    bool owned_;
    std::string name_;
    int error_ = 0;
};

/// "incident: …" on stderr; the exit code that goes with it.
int complain(const std::string& message);

/// What was asked for, fitted to where it is printed.
report::RenderOptions options_for(const Invocation& inv, const Output& output);

using Draw = std::function<void(std::string_view format, const report::RenderOptions&, const report::Sink&)>;
/// Draws the JSON that --json asks for, and the result. Why that failed; empty when it did not.
std::string write_result(const Invocation& inv, const Draw& draw);

bool wants_color(const std::string& when, bool is_terminal);
bool locale_is_utf8();
bool same_file(const std::string& a, const std::string& b);
/// An input that the invocation would write over, in words; empty: none.
std::string overwrites(const Invocation& inv);

}  // namespace incident::cli
