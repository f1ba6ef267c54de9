// What makes two cores one problem: signatures from reports, and how near two signatures are.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "support/sample_report.h"
#include "triage/clusters.h"
#include "triage/normalize.h"

namespace incident::triage {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

std::vector<std::string> texts(const Signature& s) {
    std::vector<std::string> out;
    for (const auto& frame : s.frames) out.push_back(frame.text);
    return out;
}

TEST(Signatures, SamplesAreTold) {
    auto crash = sign(test::sample_crash());
    EXPECT_EQ(crash.klass, "panic");
    EXPECT_THAT(crash.text, HasSubstr("crash.panic"));
    auto hang = sign(test::sample_hang());
    EXPECT_EQ(hang.klass, "lock");
    EXPECT_EQ(hang.kind, "go.mutex.orphaned");
    EXPECT_FALSE(hang.ordered);
    EXPECT_FALSE(hang.notes.empty());
    EXPECT_NE(hang.id, crash.id);
    EXPECT_EQ(hang.id, sign(test::sample_hang()).id);
    EXPECT_EQ(sign(test::sample_healthy()).klass, "requested");
}

TEST(Signatures, OutOfMemoryIsNobodysStack) {
    auto report = test::sample_crash();
    report.crash->message = "runtime: out of memory: cannot allocate 4194304-byte block";
    auto first = sign(report);
    EXPECT_EQ(first.klass, "out-of-memory");
    report.crash->frames.clear();
    EXPECT_EQ(sign(report).id, first.id);
}

Signature stack(std::vector<std::string> frames, std::string kind = "crash.panic") {
    Signature s;
    s.kind = kind;
    s.klass = class_of(kind);
    for (auto& f : frames) s.frames.push_back({f, "exe", 0, true}), s.id += f;
    return s;
}

TEST(Clusters, NearIsNear) {
    auto a = stack({"main.total", "main.settle", "main.run"});
    EXPECT_GE(likeness(a, stack({"main.total", "main.settle", "main.serve"})).value, near_enough);
    EXPECT_THAT(likeness(a, stack({"main.total", "main.settle", "main.serve"})).reason, HasSubstr("2 of 3"));
    EXPECT_LT(likeness(a, stack({"main.other", "main.settle", "main.run"})).value, near_enough);
    EXPECT_EQ(likeness(a, stack({"main.total"}, "crash.fatal")).value, 0) << "another kind";
    EXPECT_LT(likeness(stack({"free", "bad_free", "main"}), stack({"free", "bad_interior", "main"})).value,
              near_enough);
}

TEST(Clusters, AStrippedBuildIsTheSameProblem) {
    auto named = stack({"double_free", "main"}), bare = stack({"exe@1+0x439e", "exe@1+0x2395"});
    named.frames[0].offset = bare.frames[0].offset = 0x439e;
    named.frames[1].offset = bare.frames[1].offset = 0x2395;
    bare.frames[0].named = bare.frames[1].named = false;
    auto like = likeness(named, bare);
    EXPECT_GE(like.value, near_enough);
    EXPECT_THAT(like.reason, HasSubstr("without symbols"));
}

report::Report with_memory_finding(std::string kind, report::Mark mark) {
    auto report = test::sample_healthy();
    report::Finding finding;
    finding.kind = std::move(kind);
    finding.severity = report::Severity::error;
    finding.mark = std::move(mark);
    report.findings.insert(report.findings.begin(), std::move(finding));
    return report;
}

TEST(Signatures, MemoryIsSignedByItsMark) {
    auto len = sign(with_memory_finding("go.slice.bad", {"len over cap", "main.frame.body", ""}));
    EXPECT_EQ(len.klass, "memory");
    EXPECT_EQ(len.message, "len over cap");
    EXPECT_THAT(texts(len), ElementsAre("object main.frame.body"));
    auto cap = sign(with_memory_finding("go.slice.bad", {"cap beyond its object", "main.frame.body", ""}));
    EXPECT_NE(len.id, cap.id);
    EXPECT_EQ(likeness(len, cap).value, 0) << "one slice, two faults";
    // Where the process died of it changes nothing.
    auto died = with_memory_finding("go.slice.bad", {"len over cap", "main.frame.body", ""});
    died.crash = test::sample_crash().crash;
    died.crash->message.reset();
    died.findings.push_back(test::sample_crash().findings.front());
    died.findings.back().kind = "crash.fault";
    EXPECT_EQ(sign(died).id, len.id);
}

TEST(Signatures, MallocsDamageIsTheOverrunChunk) {
    auto report = with_memory_finding("native.heap.corrupt", {"bad chunk size", "", "behind a 56 B chunk"});
    auto first = sign(report);
    EXPECT_THAT(texts(first), testing::Contains("behind a 56 B chunk"));
    report::FrameSnapshot noticed;
    noticed.frame.function = "whoever_called_free";
    report.findings[0].snapshots.push_back(noticed);
    EXPECT_EQ(sign(report).id, first.id) << "who noticed it is chance";
}

TEST(Signatures, LeaksAreToldApartByWhoStartedThem) {
    auto report = test::sample_hang();
    ASSERT_TRUE(report.goroutines && !report.goroutines->empty());
    auto& finding = report.findings.front();
    finding.kind = "go.goroutine.leaked";
    finding.goroutines = {report.goroutines->front().id};
    report.goroutines->front().created_by = "main.askAndLeave";
    auto one = sign(report);
    EXPECT_THAT(texts(one), testing::Contains("created by main.askAndLeave"));
    report.goroutines->front().created_by = "main.poll";
    EXPECT_NE(sign(report).id, one.id);
}

TEST(Clusters, AProgramWithoutNamesIsKnownByShape) {
    auto named = sign(with_memory_finding("native.pointer.freed", {"", "g_worker->current", "+0x8 in a 24 B chunk"}));
    auto bare = sign(with_memory_finding("native.pointer.freed", {"", "", "+0x8 in a 24 B chunk"}));
    named.program = bare.program = "settle";
    EXPECT_GE(likeness(named, bare).value, near_enough);
    EXPECT_THAT(likeness(named, bare).reason, HasSubstr("+0x8 in a 24 B chunk"));
    bare.program = "other";
    EXPECT_LT(likeness(named, bare).value, near_enough);
    auto other = sign(with_memory_finding("native.pointer.freed", {"", "g_worker->buffer", "+0x8 in a 24 B chunk"}));
    EXPECT_LT(likeness(named, other).value, near_enough) << "both have names, and they differ";
}

Record record(const Signature& signature, const std::string& path) {
    Record r;
    r.digest = r.path = path;
    r.outcome = Outcome::analysed;
    r.verdict.emplace();
    r.verdict->signature = signature;
    return r;
}

/// -O0, -O2 and the stripped -O2: only the second has the third's offsets.
TEST(Clusters, AThirdBuildJoinsTwo) {
    auto build = [](std::string text, std::string module, std::uint64_t offset, bool named) {
        Signature s;
        s.kind = "native.mutex.orphaned", s.klass = "lock", s.ordered = false;
        s.id = text;
        s.frames.push_back({std::move(text), std::move(module), offset, named});
        return s;
    };
    std::vector<Record> records{record(build("cache_lock", "exe.O0", 0x2848, true), "/1"),
                                record(build("cache_lock", "exe.O2", 0x27ad, true), "/2"),
                                record(build("exe.stripped@1+0x27ad", "exe.stripped", 0x27ad, false), "/3")};
    EXPECT_EQ(cluster(records, {}).clusters.size(), 1u);
    records.erase(records.begin() + 1);
    EXPECT_EQ(cluster(records, {}).clusters.size(), 2u) << "nothing joins the other two";
    records.push_back(record(build("cache_lock", "libcache.so", 0x27ad, true), "/4"));
    EXPECT_EQ(cluster(records, {}).clusters.size(), 2u) << "the same offset of another module";
}

}  // namespace
}  // namespace incident::triage
