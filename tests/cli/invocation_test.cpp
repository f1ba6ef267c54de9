// The command line as users type it: operands in any order, errors that say what to do, and no promise in --help that
// is not kept; the man page and the completions name what --help names.
#include "cli/invocation.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <regex>
#include <set>
#include <sstream>

#include "cli/operands.h"
#include "report/explain.h"
#include "report/verdict.h"

namespace incident::cli {
namespace {

using testing::HasSubstr;

class CommandLine : public testing::Test {
protected:
    void SetUp() override {
        directory_ = std::filesystem::temp_directory_path() / ("incident-cli-" + std::to_string(::getpid()));
        std::filesystem::create_directories(directory_);
        core_ = elf("core", 4);
        exe_ = elf("exe", 2);
        zstd_ = file("core.zst", std::string("\x28\xb5\x2f\xfd....", 8));
        text_ = file("notes.txt", "not a core");
    }
    void TearDown() override { std::filesystem::remove_all(directory_); }

    std::string file(const std::string& name, const std::string& bytes) {
        auto path = (directory_ / name).string();
        std::ofstream(path, std::ios::binary) << bytes;
        return path;
    }
    std::string elf(const std::string& name, char type) {
        std::string header(
            "\x7f"
            "ELF\x02\x01\x01",
            7);
        header.resize(16, '\0');
        header += type;
        header.resize(64, '\0');
        return file(name, header);
    }

    std::filesystem::path directory_;
    std::string core_, exe_, zstd_, text_;
};

TEST_F(CommandLine, TellsCoreAndExecutableApartByType) {
    for (const auto& words : {std::vector{core_, exe_}, std::vector{exe_, core_}}) {
        auto arguments = words;
        arguments.insert(arguments.begin(), "analyze");
        auto parsed = parse(arguments);
        ASSERT_FALSE(parsed.exit) << parsed.err;
        EXPECT_EQ(parsed.invocation.analyze.core_path, core_);
        EXPECT_EQ(parsed.invocation.analyze.images.executable, exe_);
    }
    auto compressed = parse({"analyze", exe_, zstd_});
    EXPECT_EQ(compressed.invocation.analyze.core_path, zstd_);
    auto piped = parse({"analyze", exe_, "-"});
    ASSERT_FALSE(piped.exit) << piped.err;
    EXPECT_EQ(piped.invocation.analyze.core_path, "-");
    EXPECT_EQ(piped.invocation.analyze.images.executable, exe_);
}

TEST_F(CommandLine, FindsNumbersAmongFiles) {
    auto parsed = parse({"goroutine", core_, "19", exe_});
    ASSERT_FALSE(parsed.exit) << parsed.err;
    EXPECT_EQ(parsed.invocation.analyze.goroutine, 19);
    EXPECT_EQ(parsed.invocation.analyze.images.executable, exe_);
    parsed = parse({"goroutine", exe_, core_, "7"});
    ASSERT_FALSE(parsed.exit) << parsed.err;
    EXPECT_EQ(parsed.invocation.analyze.goroutine, 7);
    EXPECT_EQ(parsed.invocation.analyze.core_path, core_);
    parsed = parse({"thread", core_, "4711"});
    EXPECT_EQ(parsed.invocation.analyze.thread, 4711);
    parsed = parse({"read", core_, "0xc000012345", "8", exe_});
    ASSERT_FALSE(parsed.exit) << parsed.err;
    EXPECT_EQ(parsed.invocation.analyze.address, Address{0xc000012345});
    EXPECT_EQ(parsed.invocation.analyze.words, 8u);
    parsed = parse({"locate", core_, "c000012345"});
    EXPECT_EQ(parsed.invocation.analyze.address, Address{0xc000012345});
    parsed = parse({"locate", core_, "4096"});
    EXPECT_EQ(parsed.invocation.analyze.address, Address{4096});
}

TEST_F(CommandLine, ACoreMayBeCalledByANumber) {
    auto old = std::filesystem::current_path();
    elf("4711", 4);
    std::filesystem::current_path(directory_);
    auto parsed = parse({"goroutine", "4711", "19"});
    auto swapped = parse({"goroutine", exe_, "4711", "19"});
    std::filesystem::current_path(old);
    ASSERT_FALSE(parsed.exit) << parsed.err;
    EXPECT_EQ(parsed.invocation.analyze.core_path, "4711");
    EXPECT_EQ(parsed.invocation.analyze.goroutine, 19);
    ASSERT_FALSE(swapped.exit) << swapped.err;
    EXPECT_EQ(swapped.invocation.analyze.core_path, "4711");
    EXPECT_EQ(swapped.invocation.analyze.goroutine, 19);
}

TEST_F(CommandLine, UsageErrorsExitTwoAndSayWhatToDo) {
    struct Case {
        std::vector<std::string> arguments;
        std::string says;
    };
    for (const auto& [arguments, says] : std::vector<Case>{
             {{}, "usage: incident COMMAND"},
             {{"analyze"}, "usage: incident analyze CORE [EXE]"},
             {{core_}, "did you mean 'incident analyze"},
             {{"nonsense"}, "there is no command 'nonsense'"},
             {{"analyze", core_, core_}, "both core files"},
             {{"analyze", core_, "/no/such/exe"}, "cannot read /no/such/exe: No such file"},
             {{"analyze", core_, exe_, exe_}, "one too many"},
             {{"goroutine", core_}, "needs a goroutine ID"},
             {{"goroutine", core_, "nineteen"}, "'nineteen' is none"},
             {{"thread", core_, "4294967297"}, "no id of this kind"},
             {{"locate", core_}, "needs an address"},
             {{"read", core_, "0x10", "0"}, "1 to 1000000"},
             {{"analyze", core_, "--format", "yaml"}, "there is no format 'yaml'"},
             {{"merge", core_, "--format", "sarif"}, "merge has no format 'sarif': terminal, json or markdown"},
             {{"triage", core_, "--format", "html"}, "triage has no format 'html'"},
             {{"doctor", "--lang", "zh"}, "not built yet"},
             {{"doctor", "--progress", "often"}, "--progress takes"},
             {{"serve", core_, "--format", "json"}, "--format"},
             {{"analyze", core_, "--lang", "zh"}, "not built yet"},
             {{"analyze", core_, "--lang", "la"}, "there is no language 'la'"},
             {{"analyze", core_, "--jobs", "many"}, "--jobs"},
             {{"analyze", core_, "--min-severity", "fatal"}, "--min-severity takes"},
             {{"analyze", core_, "--color", "blue"}, "--color takes"},
             {{"analyze", core_, "--max-spool", "lots"}, "--max-spool takes a size"},
             {{"analyze", core_, "--no-such-option"}, "--no-such-option"},
         }) {
        auto parsed = parse(arguments);
        EXPECT_EQ(parsed.exit, 2);
        EXPECT_THAT(parsed.err, HasSubstr(says));
        EXPECT_TRUE(parsed.out.empty()) << parsed.out;
    }
}

/// The contract gives every question to a core the options about findings; those that have none accept and do not list
/// them.
TEST_F(CommandLine, HelpListsWhatHasAnEffect) {
    auto parsed = parse({"goroutines", core_, "--min-severity", "error", "--only", "go.mutex"});
    EXPECT_FALSE(parsed.exit) << parsed.err;
    const auto help = [](const char* command) { return parse({command, "--help"}).out; };
    for (const auto* command : {"goroutines", "maps", "serve", "merge", "doctor"}) {
        EXPECT_THAT(help(command), testing::Not(HasSubstr("--only"))) << command;
    }
    for (const auto* command : {"analyze", "crash", "triage"}) EXPECT_THAT(help(command), HasSubstr("--runbook"));
    for (const auto& row : commands())
        EXPECT_THAT(parse({std::string(row.name), "--help"}).out, testing::Not(HasSubstr("\n\n\n"))) << row.name;
}

/// The contract: every analysing command has every format.
TEST_F(CommandLine, EveryQuestionHasEveryFormat) {
    for (const auto* command : {"analyze", "crash", "goroutines", "goroutine", "threads", "thread", "locks", "heap",
                                "maps", "locate", "read"})
        for (auto format : all_formats) {
            auto parsed = parse({command, core_, "4096", "--format", std::string(format)});
            EXPECT_THAT(parsed.err, testing::Not(HasSubstr("format"))) << command << ' ' << format;
            EXPECT_THAT(parse({command, "--help"}).out, HasSubstr(std::string(format))) << command;
        }
}

TEST_F(CommandLine, Options) {
    auto parsed = parse({"analyze",
                         "--sysroot",
                         "/a",
                         "--sysroot",
                         "/b",
                         core_,
                         "--debug-dir",
                         "/d",
                         exe_,
                         "--allow-mismatch",
                         "--jobs",
                         "3",
                         "--only",
                         "go.mutex,crash",
                         "--only=lock",
                         "--skip",
                         "go.map",
                         "--min-severity",
                         "error",
                         "--trace",
                         "--max-spool",
                         "2G",
                         "--format=json",
                         "-o",
                         "out",
                         "--json",
                         "j",
                         "--color",
                         "never",
                         "--progress",
                         "never",
                         "--all"});
    ASSERT_FALSE(parsed.exit) << parsed.err;
    const auto& inv = parsed.invocation;
    EXPECT_THAT(inv.analyze.images.sysroots, testing::ElementsAre("/a", "/b"));
    EXPECT_THAT(inv.analyze.images.debug_dirs, testing::ElementsAre("/d"));
    EXPECT_EQ(inv.analyze.core_path, core_);
    EXPECT_EQ(inv.analyze.images.executable, exe_);
    EXPECT_TRUE(inv.analyze.images.allow_mismatch && inv.analyze.trace && inv.render.all);
    EXPECT_FALSE(inv.analyze.images.debuginfod) << "no network unless asked";
    EXPECT_EQ(inv.analyze.jobs, 3u);
    EXPECT_THAT(inv.analyze.only, testing::ElementsAre("go.mutex", "crash", "lock"));
    EXPECT_THAT(inv.analyze.skip, testing::ElementsAre("go.map"));
    EXPECT_EQ(inv.analyze.min_severity, report::Severity::error);
    EXPECT_EQ(inv.analyze.open.max_spool, 2ull << 30);
    EXPECT_EQ(inv.format, "json");
    EXPECT_EQ(inv.output, "out");
    EXPECT_EQ(inv.json_output, "j");
    EXPECT_EQ(parse({"analyze", core_}).invocation.analyze.min_severity, report::Severity::warning);
    EXPECT_TRUE(parse({"goroutines", core_, "--group"}).invocation.analyze.stacks) << "grouping needs the frames";
}

TEST(Selection, OfAKindThatIsNoneIsRefused) {
    for (const char* good : {"go.mutex", "go.", "crash", "native.heap.double-free"})
        EXPECT_TRUE(report::names_a_kind(good)) << good;
    for (const char* bad : {"", "go.mut", "go.mutx", "crash.faults", ".", "mutex"})
        EXPECT_FALSE(report::names_a_kind(bad)) << bad;
    for (const char* command : {"analyze", "triage"})
        for (const char* option : {"--only", "--skip"}) {
            const auto parsed = parse({command, "/bin/sh", option, "go.mutx"});
            EXPECT_EQ(parsed.exit, report::exit_unusable);
            EXPECT_THAT(parsed.err, HasSubstr("no finding kind is called 'go.mutx'"));
        }
    EXPECT_THAT(parse({}).err, HasSubstr("usage: incident COMMAND"));
}

TEST(Formats, AreTheRenderers) {
    std::vector<std::string_view> built;
    for (const auto& renderer : report::renderers()) built.push_back(renderer.name);
    EXPECT_THAT(built, testing::UnorderedElementsAreArray(all_formats));
}

TEST(Numbers, AsDebuggersWriteThem) {
    EXPECT_EQ(parse_number("0x10", false), 16u);
    EXPECT_EQ(parse_number("10", true), 10u);
    EXPECT_EQ(parse_number("c000012345", true), 0xc000012345u);
    EXPECT_EQ(parse_number("c000012345", false), std::nullopt);
    EXPECT_EQ(parse_number("beef", true), std::nullopt) << "too short to be an address, long enough to be a name";
    EXPECT_EQ(parse_number("0x", true), std::nullopt);
    EXPECT_EQ(parse_number("-1", true), std::nullopt);
    EXPECT_EQ(parse_number("18446744073709551616", true), std::nullopt);
    EXPECT_EQ(parse_size("64G"), 64ull << 30);
    EXPECT_EQ(parse_size("512MiB"), 512ull << 20);
    EXPECT_EQ(parse_size("99999999999T"), std::nullopt);
    EXPECT_EQ(parse_size("G"), std::nullopt);
}

std::string read(const std::string& path) {
    std::ifstream in(INCIDENT_SOURCE_DIR "/" + path);
    std::stringstream text;
    text << in.rdbuf();
    EXPECT_FALSE(text.str().empty()) << path;
    return text.str();
}

std::set<std::string> options_in(const std::string& help) {
    std::set<std::string> found;
    std::regex option("--[a-z][a-z-]+");
    // The first word of an indented line; prose may name options too.
    std::istringstream in(help);
    for (std::string line; std::getline(in, line);) {
        std::smatch match;
        if (line.starts_with("  -") && std::regex_search(line, match, option)) found.insert(match.str());
    }
    return found;
}

TEST(Documents, NameEveryCommandAndOption) {
    auto man = std::regex_replace(read("docs/incident.1"), std::regex("\\\\-"), "-");
    std::vector<std::string> completions{read("docs/completions/incident.bash"), read("docs/completions/_incident"),
                                         read("docs/completions/incident.fish")};
    auto help = parse({"--help"});
    EXPECT_EQ(help.exit, 0);
    std::set<std::string> options = options_in(help.out);
    for (const auto& row : commands()) {
        EXPECT_THAT(help.out, HasSubstr("\n  " + std::string(row.name) + " "));
        EXPECT_THAT(man, HasSubstr("\n.B incident " + std::string(row.name) + " ")) << "the synopsis";
        EXPECT_THAT(man, HasSubstr("\n.B " + std::string(row.name) + "\n")) << row.name;
        for (const auto& text : completions) EXPECT_THAT(text, HasSubstr(std::string(row.name)));
        auto own = parse({std::string(row.name), "--help"});
        EXPECT_EQ(own.exit, 0);
        EXPECT_THAT(own.out, HasSubstr("Usage: incident " + std::string(row.name)));
        options.merge(options_in(own.out));
    }
    EXPECT_GT(options.size(), 18u);
    for (const auto& option : options) {
        EXPECT_THAT(man, HasSubstr(option));
        auto bare = option.substr(2);
        EXPECT_THAT(completions[0], HasSubstr(option)) << "bash";
        EXPECT_THAT(completions[1], HasSubstr(option)) << "zsh";
        EXPECT_TRUE(completions[2].find("-l " + bare) != std::string::npos) << "fish: " << option;
    }
}

}  // namespace
}  // namespace incident::cli
