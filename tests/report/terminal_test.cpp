// Rules that hold for every view of the terminal report, whatever is printed.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <regex>
#include <sstream>

#include "base/text.h"
#include "report/answer.h"
#include "report/explain.h"
#include "report/renderers.h"
#include "report/terminal/canvas.h"
#include "report/terminal/parts.h"
#include "report/wait_summary.h"
#include "report/weakens.h"
#include "support/sample_report.h"

namespace incident::report {
namespace {

const std::vector<std::string> commands{"analyze", "crash", "goroutines", "goroutine", "threads", "thread",
                                        "locks",   "heap",  "maps",       "locate",    "read"};

std::vector<Report> samples() {
    return {test::sample_hang(),       test::sample_crash(),   test::sample_cycle(),  test::sample_healthy(),
            test::sample_core_alone(), test::sample_hostile(), test::sample_memory(), Report{}};
}

std::string render(const Report& report, const RenderOptions& options, std::string_view format = "terminal") {
    std::string out;
    find_renderer(format)->render(report, options, [&](std::string_view piece) {
        out += piece;
        return true;
    });
    return out;
}

template <class Check>
void for_every_view(const RenderOptions& options, Check check) {
    for (auto report : samples()) {
        for (const auto& command : commands) {
            report.command = command;
            SCOPED_TRACE(command + " of " + report.input.core.path);
            check(render(report, options));
        }
    }
}

std::vector<std::string> lines_of(const std::string& text) {
    std::vector<std::string> lines;
    std::istringstream in(text);
    for (std::string line; std::getline(in, line);) lines.push_back(line);
    return lines;
}

TEST(Terminal, KeepsWithinTheWidth) {
    for (unsigned width : {60u, 100u, 160u}) {
        RenderOptions options;
        options.width = width;
        for_every_view(options, [&](const std::string& text) {
            for (const auto& line : lines_of(text)) {
                if (line.starts_with("check ") || line.find("x/2wx") != std::string::npos)
                    continue;  // commands are there to be pasted whole
                EXPECT_LE(terminal::display_width(line), width) << line;
            }
        });
    }
}

TEST(Terminal, LeavesNoControlCharactersAndNoTrailingSpace) {
    for_every_view({}, [&](const std::string& text) {
        for (const auto& line : lines_of(text)) {
            EXPECT_TRUE(line.empty() || line.back() != ' ') << '|' << line << '|';
            for (unsigned char c : line) EXPECT_GE(c, 0x20) << line;
        }
        EXPECT_TRUE(is_valid_utf8(text));
    });
}

TEST(Terminal, HasNoTwoEmptyLinesInARow) {
    for_every_view({}, [&](const std::string& text) { EXPECT_EQ(text.find("\n\n\n"), std::string::npos) << text; });
}

TEST(Terminal, AsciiMeansAscii) {
    RenderOptions options;
    options.unicode = false;
    for_every_view(options, [&](const std::string& text) {
        for (unsigned char c : text) ASSERT_LT(c, 0x80) << text;
    });
}

TEST(Terminal, ColourCarriesNothingAlone) {
    RenderOptions plain, color;
    color.color = true;
    for (auto report : samples()) {
        for (const auto& command : commands) {
            report.command = command;
            auto stripped = std::regex_replace(render(report, color), std::regex("\x1b\\[[0-9;]*m"), "");
            EXPECT_EQ(lines_of(stripped).size(), lines_of(render(report, plain)).size()) << command;
            auto a = lines_of(stripped), b = lines_of(render(report, plain));
            for (std::size_t i = 0; i < a.size() && i < b.size(); ++i) {
                a[i].erase(a[i].find_last_not_of(' ') + 1);
                EXPECT_EQ(a[i], b[i]);
            }
        }
    }
}

TEST(Terminal, OpensWithWhatWhereWhy) {
    auto lines = lines_of(render(test::sample_hang(), {}));
    auto at = std::ranges::find_if(lines, [](const auto& l) { return l.starts_with("WHAT   A lock is held"); });
    ASSERT_NE(at, lines.end());
    EXPECT_TRUE((at + 1)->starts_with("WHERE  locked in"));
    EXPECT_TRUE((at + 2)->starts_with("WHY    state 0x19"));
    EXPECT_LE(at - lines.begin(), 4);
}

TEST(Terminal, AddressesAreWhole) {
    RenderOptions narrow;
    narrow.width = 60;
    auto text = render(test::sample_crash(), narrow);
    for (const char* address : {"0x1b00cd0e4120", "0x1b00cd3c1e60", "0x4a3a17"})
        EXPECT_NE(text.find(address), std::string::npos) << address;
}

TEST(Terminal, MinorFindingsAreNamedNotShown) {
    auto report = test::sample_cycle();
    report.findings[1].severity = Severity::info;
    RenderOptions options;
    options.min_severity = Severity::warning;
    auto text = render(report, options);
    EXPECT_NE(text.find("1 of 1"), std::string::npos);
    EXPECT_NE(text.find("also noted"), std::string::npos);
    EXPECT_EQ(text.find("2 of 2"), std::string::npos);
}

TEST(Terminal, RecursionAndLongStacksAreFolded) {
    auto report = test::sample_crash();
    auto& frames = report.crash->frames;
    auto recursive = frames[3];
    recursive.inlined = false;
    frames.insert(frames.begin() + 3, 5000, recursive);
    auto lines = lines_of(render(report, {}));
    EXPECT_LT(lines.size(), 120u);
    EXPECT_TRUE(std::ranges::any_of(
        lines, [](const auto& l) { return l.find("4,999 more of the same") != std::string::npos; }));
    for (std::size_t i = 0; i < frames.size(); ++i) frames[i].line = static_cast<std::uint32_t>(i + 1);
    lines = lines_of(render(report, {}));
    EXPECT_LT(lines.size(), 160u);
    frames[2500].left_out = 700;
    RenderOptions all;
    all.all = true;
    const std::string text = render(report, all);
    EXPECT_NE(text.find("… 700 frames that were not kept"), std::string::npos);
    EXPECT_NE(text.find("#2499 "), std::string::npos);
    EXPECT_EQ(text.find("#2500 "), std::string::npos) << "the next is the 3,200th";
    EXPECT_NE(text.find("#3200 "), std::string::npos);
}

TEST(Terminal, DefersOfARecursionAreCut) {
    auto report = test::sample_crash();
    report.command = "crash";
    auto& goroutine = report.goroutines->front();
    goroutine.defers.assign(500, goroutine.defers.front());
    RenderOptions options;
    const std::string text = render(report, options);
    EXPECT_NE(text.find("… 490 older ones (--all)"), std::string::npos) << text;
    EXPECT_LT(lines_of(text).size(), 200u);
    options.all = true;
    EXPECT_GT(lines_of(render(report, options)).size(), 500u);
}

TEST(Terminal, PathsFoldOnlyWholeNames) {
    Report report = test::sample_memory();
    report.command = "heap";
    auto kept_by = [&](const std::string& path) {
        report.location = Location{.address = 0x1000, .details = {{"kept by", path}}};
        const std::string text = render(report, {});
        const auto at = text.find("list");
        return at == std::string::npos ? text : text.substr(at, text.find('\n', at) - at);
    };
    EXPECT_EQ(kept_by("list.next.next.next.next"), "list(.next × 4)");
    EXPECT_EQ(kept_by("list.next.next.next.next[3].key"), "list(.next × 4)[3].key");
    EXPECT_EQ(kept_by("list.next.next.next.next.nextName"), "list(.next × 4).nextName");
    EXPECT_EQ(kept_by("list.next.next.next.nextName"), "list.next.next.next.nextName");
    EXPECT_EQ(kept_by("list.next.next.next"), "list.next.next.next");
}

TEST(Terminal, TablesNamePackagesAsGoCodeDoes) {
    using terminal::without_directories;
    EXPECT_EQ(without_directories("main.run"), "main.run");
    EXPECT_EQ(without_directories("go.etcd.io/raft/v3.(*node).run"), "raft.(*node).run");
    EXPECT_EQ(without_directories("github.com/soheilhy/cmux.(*cMux).Serve.gowrap1"), "cmux.(*cMux).Serve.gowrap1");
    EXPECT_EQ(without_directories("a/b.F[go.shape.*net/http.Header]"), "b.F[go.shape.*net/http.Header]");
    EXPECT_EQ(without_directories("a/vm.Run"), "vm.Run");
    EXPECT_EQ(without_directories("a/v2"), "v2");
    EXPECT_EQ(without_directories("v2.f"), "v2.f");
}

TEST(Terminal, ManyGoroutinesAreOneLineEach) {
    auto lines = lines_of(render(test::sample_many(10'000, 2), {}));
    EXPECT_GE(lines.size(), 10'000u);
    EXPECT_LT(lines.size(), 20'050u);
}

TEST(Terminal, EqualStacksAreGrouped) {
    RenderOptions options;
    options.group = true;
    auto lines = lines_of(render(test::sample_many(1000, 2), options));
    EXPECT_LT(lines.size(), 120u);
}

/// A goroutine that could not be read is not one that has ended.
TEST(Terminal, MainHasEndedOnlyWhereAllGoroutinesWereRead) {
    Report report;
    report.command = "goroutines";
    report.goroutines.emplace();
    for (const bool system : {true, false}) {
        Goroutine g;
        g.id = system ? 2 : 18;
        g.status = "waiting";
        g.system = system;
        report.goroutines->push_back(std::move(g));
    }
    const std::string ended = "goroutine 1, main's, has ended";
    EXPECT_TRUE(render(report, {}).contains(ended)) << render(report, {});
    report.gaps.push_back({.what = "1 of 3 goroutines could not be read",
                           .why = "their memory is not in the core",
                           .weakens = std::string(weakens_all_goroutines)});
    EXPECT_FALSE(render(report, {}).contains(ended)) << render(report, {});
}

Report with_threads(std::size_t waiting) {
    Report report;
    report.command = "analyze";
    report.threads.emplace();
    const auto add = [&](std::int32_t tid, std::string_view function, std::string note) {
        Thread thread;
        thread.tid = tid;
        thread.note = std::move(note);
        Frame header, own;
        header.function = "std::mutex::lock";
        header.file = "/usr/include/c++/12/bits/std_mutex.h";
        own.pc = Address{0x1000 + static_cast<std::uint64_t>(tid)};
        own.function = function;
        own.file = "/src/ledger.cpp";
        own.line = 7;
        thread.frames = {header, own};
        report.threads->push_back(std::move(thread));
    };
    add(4711, "main", "");
    for (std::size_t i = 0; i < waiting; ++i)
        add(static_cast<std::int32_t>(6000 - i), "apply", "waits for pthread_mutex_t mu 0x4000, owned by thread 4712");
    add(4712, "reload", "");
    return report;
}

TEST(Terminal, ThreadsOfAProcessWithoutGoAreSummed) {
    RenderOptions options;
    const auto text = render(with_threads(1200), options);
    EXPECT_NE(text.find("\n1,202 threads\n"
                        "  1,200 threads  apply   ledger.cpp:7  wait for pthread_mutex_t mu 0x4000, owned by "
                        "thread 4712\n"
                        "    thread 4711  main    ledger.cpp:7\n"
                        "    thread 4712  reload  ledger.cpp:7\n"),
              std::string::npos)
        << text;
    EXPECT_NE(render(with_threads(1200), options, "markdown").find("## Threads"), std::string::npos);
    EXPECT_EQ(render(with_threads(0), options).find("1,2"), std::string::npos);
}

TEST(Terminal, ManyFutexesAtOnePlaceAreOneLine) {
    auto report = with_threads(3);
    for (std::size_t i = 1; i <= 3; ++i)
        (*report.threads)[i].note = fmt::format("waits for futex word 0x50{:x}0, in std::future::get", i);
    EXPECT_NE(render(report, {}).find("3 threads  apply   ledger.cpp:7  wait for futex word, in std::future::get\n"),
              std::string::npos)
        << render(report, {});
    // One word that all wait for is named.
    for (std::size_t i = 1; i <= 3; ++i) (*report.threads)[i].note = "waits for futex word 0x5010, in f";
    EXPECT_NE(render(report, {}).find("wait for futex word 0x5010, in f\n"), std::string::npos);
}

TEST(Terminal, AThreadOfAStrippedProgramIsNotInLibc) {
    auto report = with_threads(0);
    Frame libc, bare;
    libc.function = "syscall";
    libc.module = "/lib/x86_64-linux-gnu/libc.so.6";
    bare.module = "/srv/bare";
    bare.module_offset = 0x1234;
    (*report.threads)[0].frames = {libc, bare};
    EXPECT_NE(render(report, {}).find("thread 4711  bare+0x1234\n"), std::string::npos) << render(report, {});
}

TEST(Terminal, EqualStacksOfThreadsAreOnePicture) {
    auto report = with_threads(3);
    report.command = "threads";
    for (auto& thread : *report.threads) thread.frames[1].pc = Address{0x1000};
    EXPECT_NE(render(report, {}).find("3 threads with the same stack: 5998, 5999, 6000\n"), std::string::npos)
        << render(report, {});
}

TEST(Markdown, HostileTextIsNoMarkup) {
    Report report;
    report.command = "analyze";
    auto& finding = report.findings.emplace_back();
    finding.severity = Severity::error;
    finding.title = "<script>alert(1)</script> [x](http://y) **b** `c` # h";
    finding.evidence.push_back({"fact", {}, "``` fence", "", ""});
    auto text = render(report, {}, "markdown");
    EXPECT_EQ(text.find("<script>"), std::string::npos);
    EXPECT_EQ(text.find("[x](http"), std::string::npos);
    EXPECT_NE(text.find("` ``` fence `"), std::string::npos) << text;
}

TEST(Markdown, FencesAreClosed) {
    for (auto report : samples()) {
        for (const auto& command : commands) {
            report.command = command;
            std::size_t fences = 0;
            for (const auto& line : lines_of(render(report, {}, "markdown"))) fences += line.starts_with("```") ? 1 : 0;
            EXPECT_EQ(fences % 2, 0u) << command;
        }
    }
}

TEST(Explain, EveryKindSaysEverything) {
    EXPECT_GE(explanations().size(), 36u);
    for (const auto& e : explanations()) {
        EXPECT_FALSE(e.says.empty() || e.meaning.empty() || e.proof.empty() || e.innocent.empty() || e.remedy.empty())
            << e.kind;
        EXPECT_EQ(find_explanation(e.kind), &e) << "twice: " << e.kind;
    }
}

TEST(Explain, TakesAKindAPrefixOrNothing) {
    auto said = [](std::string_view kind) {
        std::string out;
        bool known = explain(kind, {}, [&](std::string_view piece) { return out += piece, true; });
        return known ? out : std::string("unknown");
    };
    EXPECT_NE(said("go.map.freed").find("proof"), std::string::npos);
    EXPECT_NE(said("go.mutex").find("go.mutex.bad-unlock"), std::string::npos);
    EXPECT_EQ(said("go.mut"), "unknown");
    EXPECT_NE(said("").find("native.heap.bad-free"), std::string::npos);
    EXPECT_EQ(said("no.such"), "unknown");
}

// A process of one thread that hangs: where it hangs is the answer, and no finding shows it.
TEST(Terminal, TheOnlyThreadIsShownUnlessAFindingShowsIt) {
    Report report = test::sample_healthy();
    report.goroutines.reset();
    Thread thread;
    thread.tid = 4711;
    thread.note = "waits for sem_t slots 0x5000";
    thread.frames.resize(1);
    thread.frames[0].function = "wait_for_slot";
    thread.frames[0].kind = FrameKind::native;
    report.threads = std::vector{thread};
    for (const char* format : {"terminal", "markdown"}) {
        const std::string text = render(report, {}, format);
        EXPECT_NE(text.find("wait_for_slot"), std::string::npos) << text;
        EXPECT_NE(text.find("waits for sem_t slots"), std::string::npos) << text;
    }
    Finding finding;
    finding.kind = "native.mutex.self-deadlock";
    finding.severity = Severity::error;
    finding.threads = {4711};
    report.findings.push_back(finding);
    EXPECT_EQ(render(report, {}).find("waits for sem_t slots"), std::string::npos);
}

// Two leaks of three goroutines each bear one title: the row ALSO says where, or it repeats itself.
TEST(Answer, EqualTitlesAreToldApartByTheirPlaces) {
    Report report;
    auto leak = [](std::string title, std::string where) {
        Finding finding;
        finding.kind = "go.goroutine.leaked";
        finding.severity = Severity::warning;
        finding.title = std::move(title);
        finding.where = std::move(where);
        return finding;
    };
    report.findings = {leak("a map is torn", "main.main (main.go:3)"),
                       leak("3 goroutines are blocked forever", "main.produce (main.go:9), created by main.main"),
                       leak("3 goroutines are blocked forever", "main.ask (main.go:7), created by main.main")};
    EXPECT_EQ(answer_of(report, Severity::warning).also,
              "3 goroutines are blocked forever in main.produce; 3 goroutines are blocked forever in main.ask");
}

/// A hang that nobody is to blame for: who asks why it hung begins with the one on whom the others wait.
struct Hang {
    Report report;

    Hang() {
        report.command = "analyze";
        Frame frame;
        frame.function = "main.(*DB).flush";
        frame.file = "/src/db.go";
        frame.line = 33;
        Goroutine holder;
        holder.id = 21;
        holder.status = "waiting";
        holder.wait_reason = "IO wait";
        holder.frames = std::vector{frame};
        report.goroutines.emplace({holder});
        report.wait_graph.emplace();
    }
    void wait(std::int64_t from, std::int64_t to, std::uint64_t object) {
        report.wait_graph->edges.push_back(
            {{from, std::nullopt}, {to, std::nullopt}, "sync.Mutex main.db.mu", "pending defer", Address{object}});
    }
    std::string awaited() {
        summarize(*report.wait_graph, {});
        return most_awaited(report);
    }
};

TEST(Answer, SaysOnWhomTheOthersWait) {
    Hang hang;
    hang.wait(5, 21, 0x1000);
    EXPECT_EQ(hang.awaited(), "");  // one waiter is every program's ordinary day
    hang.wait(6, 21, 0x1000);
    EXPECT_EQ(hang.awaited(),
              "2 others wait for goroutine 21 (sync.Mutex main.db.mu, pending defer): IO wait in main.(*DB).flush "
              "db.go:33");
    EXPECT_EQ(answer_of(hang.report, Severity::warning).why, hang.awaited());
    hang.wait(7, 5, 0x2000);
    hang.wait(8, 21, 0x3000);  // for another lock: no single name
    EXPECT_EQ(hang.awaited(), "4 others wait for goroutine 21: IO wait in main.(*DB).flush db.go:33");
    // An accusation has its own reasons.
    hang.report.findings.emplace_back().severity = Severity::error;
    EXPECT_EQ(answer_of(hang.report, Severity::warning).why, "");
}

TEST(Answer, NamesAllWhoHoldUpAsMany) {
    Hang readers;
    for (std::int64_t writer : {5, 6})
        for (std::int64_t reader : {21, 22}) readers.wait(writer, reader, 0x1000);
    EXPECT_EQ(readers.awaited(), "2 others wait for goroutine 21 and goroutine 22 (sync.Mutex main.db.mu)");
    for (auto& edge : readers.report.wait_graph->edges) edge.alternatives = Alternatives::known;
    EXPECT_EQ(readers.awaited(), "2 others wait for one of goroutine 21 and goroutine 22 (sync.Mutex main.db.mu)");

    Hang halves;
    for (std::int64_t waiter : {5, 6}) halves.wait(waiter, 21, 0x1000), halves.wait(waiter + 2, 22, 0x2000);
    EXPECT_EQ(halves.awaited(),
              "2 others wait for goroutine 21 (sync.Mutex main.db.mu, pending defer): IO wait in main.(*DB).flush "
              "db.go:33; 2 for goroutine 22 (sync.Mutex main.db.mu, pending defer)");

    Hang many;
    for (std::int64_t holder = 21; holder < 27; ++holder)
        for (std::int64_t waiter : {100, 200})
            many.wait(waiter + holder, holder, 0x1000 + static_cast<std::uint64_t>(holder));
    EXPECT_EQ(many.awaited(), "2 others wait for each of goroutine 21 and 5 more");
    many.wait(300, 24, 0x1000 + 24);
    EXPECT_EQ(many.awaited(), "3 others wait for goroutine 24 (sync.Mutex main.db.mu, pending defer)");
}

}  // namespace
}  // namespace incident::report
