// Every command on real cores, through every renderer: the JSON keeps to its schema, and whatever a core holds, a
// terminal gets no control characters and no line beyond its width.
#include <gtest/gtest.h>

#include <sstream>

#include "analyze.h"
#include "base/text.h"
#include "report/renderers.h"
#include "report/terminal/canvas.h"
#include "support/corpora.h"
#include "support/no_threads.h"
#include "support/schema_check.h"

namespace incident {
namespace {

constexpr std::pair<Command, const char*> commands[]{
    {Command::analyze, "analyze"},     {Command::crash, "crash"},     {Command::goroutines, "goroutines"},
    {Command::goroutine, "goroutine"}, {Command::threads, "threads"}, {Command::thread, "thread"},
    {Command::maps, "maps"},           {Command::locate, "locate"},   {Command::read, "read"},
};

std::string render(const report::Report& report, std::string_view format, const report::RenderOptions& options) {
    std::string out;
    report::find_renderer(format)->render(report, options, [&](std::string_view piece) {
        out += piece;
        return true;
    });
    return out;
}

void check_text(const std::string& text, unsigned width) {
    EXPECT_TRUE(is_valid_utf8(text));
    std::istringstream in(text);
    std::string label;
    for (std::string line; std::getline(in, line);) {
        for (unsigned char c : line) ASSERT_GE(c, 0x20) << line;
        EXPECT_TRUE(line.empty() || line.back() != ' ') << '|' << line << '|';
        // Commands to paste stand whole, under "check".
        if (!line.empty() && line[0] != ' ') label = line.substr(0, line.find(' '));
        if (label == "check") continue;
        EXPECT_LE(report::terminal::display_width(line), width) << line;
    }
}

void check_core(const test::Probe& probe, bool with_executable) {
    for (auto [command, name] : commands) {
        SCOPED_TRACE(std::string(name) + " of " + probe.core);
        AnalyzeOptions options;
        options.command = command;
        options.core_path = probe.core;
        if (with_executable) options.images.executable = probe.executable;
        options.goroutine = 1;
        auto report = analyze(options);
        ASSERT_TRUE(report) << describe(report.error());
        if (report->command.empty()) report->command = name;
        if (command == Command::analyze && report->threads && !report->threads->empty() &&
            !report->threads->front().registers.empty()) {
            options.thread = report->threads->front().tid;
            options.address = Address{report->threads->front().registers.front().value};
        }
        EXPECT_EQ(test::schema_complaint(render(*report, "json", {})), "");
        for (bool all : {false, true}) {
            report::RenderOptions terminal;
            terminal.all = all;
            terminal.stacks = all;
            check_text(render(*report, "terminal", terminal), terminal.width);
            EXPECT_TRUE(is_valid_utf8(render(*report, "markdown", terminal)));
        }
    }
}

TEST(RealReports, ACrash) {
    INCIDENT_NEED_PROBE(probe, "go1.25", "dwarf", "nilderef");
    check_core(*probe, true);
}

TEST(RealReports, StrippedAndHung) {
    INCIDENT_NEED_PROBE(probe, "go1.20", "stripped", "waits");
    check_core(*probe, true);
}

TEST(RealReports, CUnderGo) {
    INCIDENT_NEED_PROBE(probe, "go1.22", "cgo", "csegv");
    check_core(*probe, true);
}

TEST(RealReports, WhateverTheExecutableIs) {
    INCIDENT_NEED_PROBE(probe, "go1.25", "dwarf", "nilderef");
    auto wrong = *probe;
    wrong.executable = "/proc/self/exe";
    check_core(wrong, true);
}

std::string json_of(const test::Probe& probe, Command command, unsigned jobs) {
    AnalyzeOptions options;
    options.command = command;
    options.core_path = probe.core;
    options.images.executable = probe.executable;
    options.jobs = jobs;
    auto report = analyze(options);
    return report ? render(*report, "json", {}) : describe(report.error());
}

TEST(RealReports, SameWhereNoThreadCanBeStarted) {
    INCIDENT_NEED_PROBE(probe, "go1.25", "dwarf", "waits");
    for (auto command : {Command::analyze, Command::heap}) {
        const auto with = json_of(*probe, command, 8);
        test::expect_without_threads([&] { return json_of(*probe, command, 8) == with; });
    }
}

}  // namespace
}  // namespace incident
