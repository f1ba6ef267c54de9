// Records survive their store, and a store survives being cut at any byte; digests; clusters; the runbook; the doctor.
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <sstream>

#include "report/explain.h"
#include "support/sample_report.h"
#include "triage/clusters.h"
#include "triage/digest.h"
#include "triage/doctor.h"
#include "triage/runbook.h"
#include "triage/store.h"
#include "triage/triage.h"

namespace incident::triage {
namespace {

using testing::HasSubstr;

class Folder : public testing::Test {
protected:
    void SetUp() override {
        path_ = std::filesystem::temp_directory_path() / ("incident-triage-" + std::to_string(::getpid()));
        std::filesystem::create_directories(path_);
    }
    void TearDown() override { std::filesystem::remove_all(path_); }
    std::string file(const std::string& name, const std::string& bytes) {
        auto path = path_ / name;
        std::filesystem::create_directories(path.parent_path());
        std::ofstream(path, std::ios::binary) << bytes;
        return path.string();
    }
    std::filesystem::path path_;
};

std::string verdict_of(const report::Report& report) {
    std::string json;
    render_verdict(report, sign(report), report::Severity::warning,
                   [&](std::string_view t) { return json += t, true; });
    return json;
}

Record record_of(const report::Report& report, const std::string& path, std::int64_t time = 1) {
    Record r;
    r.digest = "d" + path;
    r.path = path;
    r.time = time;
    r.outcome = Outcome::analysed;
    r.exit = 1;
    r.verdict = *parse_verdict(verdict_of(report));
    return r;
}

using StoreTest = Folder;

TEST_F(StoreTest, RecordsSurviveATornLine) {
    auto path = (path_ / "s.ndjson").string();
    auto report = test::sample_hostile();
    auto line = record_line(record_of(report, "/a\n\xff b"), verdict_of(report));
    EXPECT_EQ(std::count(line.begin(), line.end(), '\n'), 1);
    for (std::size_t cut : {std::size_t{0}, std::size_t{1}, line.size() / 2, line.size() - 1}) {
        std::filesystem::remove(path);
        std::ofstream(path, std::ios::binary) << line << line.substr(0, cut);
        {
            auto store = Store::open(path, true);
            ASSERT_TRUE(store) << store.error();
            EXPECT_FALSE(Store::open(path, true)) << "two writers";
            EXPECT_EQ(store->append(line), "");
        }
        std::size_t records = 0;
        auto contents = read_store(path, [&](Record&& r, std::string_view) {
            ++records;
            EXPECT_EQ(r.verdict->signature.id, sign(report).id);
        });
        ASSERT_TRUE(contents);
        // A whole line without its break is a whole record.
        EXPECT_EQ(records, cut == line.size() - 1 ? 3u : 2u) << cut;
    }
    EXPECT_THAT(Store::open(path, false).error(), HasSubstr("--resume"));
}

TEST_F(StoreTest, NumbersAreBoundedWhereTheyAreRead) {
    const auto report = test::sample_crash();
    auto line = record_line(record_of(report, "/a"), verdict_of(report));
    const auto with = [&](std::string_view member, const std::string& value) {
        const auto begin = line.find("\"" + std::string(member) + "\":") + member.size() + 3;
        auto changed = line;
        changed.replace(begin, line.find(',', begin) - begin, value);
        auto record = parse_record(changed);
        EXPECT_TRUE(record) << record.error();
        return *record;
    };
    for (const char* time : {"-9223372036854775808", "-1", "9223372036854775807", "253402300800"})
        EXPECT_EQ(with("time", time).time, 0) << time;
    EXPECT_EQ(with("time", "253402300799").time, 253'402'300'799);
    for (const char* seconds : {"1e308", "-1", "1000000001"}) {
        EXPECT_EQ(with("cpu_seconds", seconds).cpu_seconds, 0) << seconds;
        EXPECT_EQ(with("seconds", seconds).seconds, 0) << seconds;
    }
    EXPECT_EQ(with("size", "-5").size, 0u);
    std::string frames;
    for (int i = 0; i < 20'000; ++i) frames += fmt::format("{}{{\"text\":\"f{}\"}}", i == 0 ? "[" : ",", i);
    EXPECT_LE(with("frames", frames + "],\"more\":[{\"text\":0").verdict->signature.frames.size(), 64u);
}

TEST_F(StoreTest, OneEndlessLineIsOneBrokenLine) {
    const auto report = test::sample_crash();
    const auto line = record_line(record_of(report, "/a"), verdict_of(report));
    const auto path = file("s.ndjson", line);
    std::filesystem::resize_file(path, line.size() + (65 << 20));  // a hole
    std::ofstream(path, std::ios::binary | std::ios::app) << "\n" << line;
    std::size_t records = 0;
    auto contents = read_store(path, [&](Record&&, std::string_view) { ++records; });
    ASSERT_TRUE(contents);
    EXPECT_EQ(records, 2u);
    EXPECT_EQ(contents->broken, 1u);
    EXPECT_THAT(contents->first_broken, HasSubstr("line 2: it is too long"));
    EXPECT_THAT(read_store(path_.string(), [](Record&&, std::string_view) {}).error(), HasSubstr("directory"));
}

TEST_F(StoreTest, DigestsTellCopiesApartFromCuts) {
    std::string bytes(300'000, '\0');
    bytes[5] = 'x';
    bytes[200'000] = 'y';
    auto whole = file("whole", bytes);
    auto sparse = (path_ / "sparse").string();
    std::filesystem::copy_file(whole, sparse);
    std::filesystem::resize_file(sparse, 250'000);
    std::filesystem::resize_file(sparse, 300'000);  // a hole where zeros were
    auto cut = file("cut", bytes.substr(0, 250'000));
    bytes[200'000] = 'z';
    auto other = file("other", bytes);
    EXPECT_EQ(*digest_of(whole), *digest_of(sparse));
    EXPECT_NE(*digest_of(whole), *digest_of(cut));
    EXPECT_NE(*digest_of(whole), *digest_of(other));
    EXPECT_EQ(digest_of(whole)->size(), 32u);
    EXPECT_FALSE(digest_of(path_.string()));
}

TEST(Clusters, OrderAndNews) {
    auto hang = test::sample_hang(), crash = test::sample_crash();
    std::vector<Record> records{record_of(crash, "/1", 10), record_of(hang, "/2", 20), record_of(hang, "/3", 30),
                                record_of(test::sample_healthy(), "/4")};
    records.push_back({.digest = "x", .path = "/5", .outcome = Outcome::out_of_time});
    records.push_back(records[0]);
    records.back().copy_of = "/1";
    ClusterOptions options;
    options.has_baseline = true;
    options.baseline = {records[1].verdict->signature.id};
    auto c = cluster(records, options);
    ASSERT_EQ(c.clusters.size(), 2u);
    EXPECT_EQ(c.clusters[0].records, (std::vector<std::size_t>{2, 1}));
    EXPECT_EQ(c.clusters[0].first_seen, 20);
    EXPECT_FALSE(c.clusters[0].is_new);
    EXPECT_TRUE(c.clusters[1].is_new);
    EXPECT_EQ(c.unsigned_, std::vector<std::size_t>{4});
    EXPECT_EQ(c.quiet, std::vector<std::size_t>{3});
    EXPECT_EQ(exit_code(records), 1);
    EXPECT_EQ(exit_code({records[4]}), 2);
}

TEST(RunbookTest, TheExampleHasEveryKind) {
    auto book = Runbook::load(INCIDENT_SOURCE_DIR "/docs/examples/runbook.toml");
    ASSERT_TRUE(book) << book.error();
    for (const auto& e : report::explanations()) {
        const auto* entry = book->find(e.kind, nullptr);
        ASSERT_NE(entry, nullptr) << e.kind;
        EXPECT_FALSE(entry->step.steps.empty()) << e.kind;
    }
    auto report = test::sample_hang();
    auto steps = book->steps_for(report);
    ASSERT_TRUE(steps.contains(&report.findings.front()));
    report::RenderOptions options;
    options.runbook = &steps;
    for (const auto& renderer : report::renderers()) {
        std::string out;
        renderer.render(report, options, [&](std::string_view text) { return out += text, true; });
        EXPECT_THAT(out, HasSubstr("roll forward")) << renderer.name;
    }
}

TEST(RunbookTest, MistakesAreNamed) {
    for (const auto& [text, says] : std::vector<std::pair<std::string, std::string>>{
             {"[[entry]]\nkind = 'go.mutx.*'\ntitle='x'", "line 1: no finding kind"},
             {"[[entry]]\ntitle='x'", "needs a kind"},
             {"[[entry]]\nkind='lock.cycle'\nstep='x'", "no key 'step'"},
             {"[[entry]]\nkind='lock.cycle'", "a title, steps or links"},
             {"entry = 1", "array of tables"},
             {"[[entry]\n", "line 1"},
             {"", "no [[entry]]"},
         })
        EXPECT_THAT(Runbook::parse(text, "r.toml").error(), HasSubstr(says)) << text;
}

TEST(RunbookTest, TheNarrowerEntryWins) {
    auto book = Runbook::parse(
        "[[entry]]\nkind='*'\ntitle='any'\n[[entry]]\nkind='go.mutex.*'\ntitle='mutex'\n"
        "[[entry]]\nkind='go.mutex.orphaned'\ntitle='orphan'\n"
        "[[entry]]\nkind='go.mutex.*'\nsignature='*Apply*'\ntitle='known'\n",
        "r.toml");
    ASSERT_TRUE(book) << book.error();
    Signature apply;
    apply.kind = "go.mutex.orphaned";
    apply.text = "go.mutex.orphaned | main.(*Ledger).Apply";
    EXPECT_EQ(book->find("crash.fault", nullptr)->step.title, "any");
    EXPECT_EQ(book->find("go.mutex.bad-unlock", nullptr)->step.title, "mutex");
    EXPECT_EQ(book->find("go.mutex.orphaned", nullptr)->step.title, "orphan");
    EXPECT_EQ(book->find("go.mutex.orphaned", &apply)->step.title, "known");
}

using DoctorTest = Folder;

TEST_F(DoctorTest, MachinesAreToldApart) {
    auto check = [&](const std::string& pattern, const std::string& limit, const std::string& filter) {
        file("proc/sys/kernel/core_pattern", pattern);
        file("proc/sys/kernel/core_uses_pid", "0");
        file("proc/sys/kernel/core_pipe_limit", "4");
        file("proc/self/limits",
             "Limit                     Soft Limit           Hard Limit           Units\n"
             "Max core file size        " +
                 limit + "             unlimited            bytes\n");
        file("proc/self/coredump_filter", filter);
        file("usr/local/bin/incident", "");
        file("usr/lib/systemd/systemd-coredump", "");
        file("var/cores/x", "");
        DoctorOptions options;
        options.root = path_.string();
        options.free_bytes = [](const std::string&) { return std::optional<std::uint64_t>(100ull << 30); };
        std::map<std::string, Health> out;
        for (const auto& c : examine(options)) out[c.name] = c.health;
        return out;
    };
    auto good = check("|/usr/local/bin/incident collect --dir=/var/cores %P %s %t %e\n", "0", "00000033\n");
    EXPECT_EQ(good["core_pattern"], Health::good);
    EXPECT_EQ(good["ulimit -c here"], Health::good) << "pipes ignore it";
    EXPECT_EQ(good["coredump_filter"], Health::good);
    EXPECT_EQ(good["core_pipe_limit"], Health::good);
    EXPECT_EQ(check("core\n", "unlimited", "33")["core_pattern"], Health::warning);
    EXPECT_EQ(check("/var/cores/core.%P\n", "0", "33")["ulimit -c here"], Health::bad);
    EXPECT_EQ(check("/var/cores/core.%P\n", "unlimited", "33")["core_pattern"], Health::good);
    EXPECT_EQ(check("/var/gone/core.%P\n", "unlimited", "33")["core_pattern"], Health::bad);
    EXPECT_EQ(check("|/gone/handler %P\n", "0", "33")["core_pattern"], Health::bad);
    EXPECT_EQ(check("|/usr/lib/systemd/systemd-coredump %P\n", "0", "33")["ulimit -c here"], Health::bad);
    EXPECT_EQ(check("\n", "0", "33")["core_pattern"], Health::bad);
    EXPECT_EQ(check("core", "0", "32")["coredump_filter"], Health::bad);
    file("etc/systemd/coredump.conf.d/a.conf", "[Coredump]\nStorage=none\nProcessSizeMax=1G\n");
    auto systemd = check("|/usr/lib/systemd/systemd-coredump %P\n", "unlimited", "33");
    EXPECT_EQ(systemd["systemd Storage"], Health::bad);
    EXPECT_EQ(systemd["systemd size limits"], Health::warning);
}

}  // namespace
}  // namespace incident::triage
