// The JSON against its schema file, and the rules that a schema cannot say: null is not [], bytes survive, nothing
// waits for a reader that is gone.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#define RAPIDJSON_HAS_STDSTRING 1
#include <rapidjson/document.h>
#include <rapidjson/error/en.h>

#include <sstream>

#include "report/renderers.h"
#include "support/sample_report.h"
#include "support/schema_check.h"

namespace incident::report {
namespace {

std::string render(const Report& report) {
    std::string out;
    find_renderer("json")->render(report, {}, [&](std::string_view piece) {
        out += piece;
        return true;
    });
    return out;
}

rapidjson::Document parse(const std::string& text) {
    rapidjson::Document document;
    document.Parse(text);
    EXPECT_FALSE(document.HasParseError())
        << rapidjson::GetParseError_En(document.GetParseError()) << " at " << document.GetErrorOffset();
    return document;
}

rapidjson::Document parse(const Report& report) { return parse(render(report)); }

void expect_valid(const Report& report, std::string_view name) {
    EXPECT_EQ(test::schema_complaint(render(report)), "") << name;
}

TEST(Json, KeepsToItsSchema) {
    expect_valid(test::sample_hang(), "hang");
    expect_valid(test::sample_crash(), "crash");
    expect_valid(test::sample_cycle(), "cycle");
    expect_valid(test::sample_healthy(), "healthy");
    expect_valid(test::sample_core_alone(), "core alone");
    expect_valid(test::sample_hostile(), "hostile");
    expect_valid(test::sample_memory(), "memory");
    expect_valid(Report{}, "empty");
}

TEST(Json, TheSchemaRefusesWhatIsWrong) {
    auto text = render(test::sample_hang());
    auto replaced = [&](const std::string& from, const std::string& to) {
        auto copy = text;
        auto at = copy.find(from);
        EXPECT_NE(at, std::string::npos) << from;
        return copy.replace(at, from.size(), to);
    };
    EXPECT_EQ(test::schema_complaint(text), "");
    EXPECT_THAT(test::schema_complaint(replaced("{\"id\":19,", "{\"id\":\"19\",")),
                testing::HasSubstr("#/goroutines/1/id breaks 'type'"));
    EXPECT_THAT(test::schema_complaint(replaced("{\"id\":19,", "{\"id\":19,\"surprise\":1,")),
                testing::HasSubstr("additionalProperties"));
    EXPECT_THAT(test::schema_complaint(replaced("\"strength\":\"likely\",", "")), testing::HasSubstr("required"));
    EXPECT_THAT(test::schema_complaint(replaced("\"strength\":\"likely\"", "\"strength\":\"87%\"")),
                testing::HasSubstr("enum"));
}

TEST(Json, HasEverySectionAlways) {
    auto document = parse(Report{});
    for (const char* name : {"schema", "tool", "input", "runtime", "crash", "threads", "goroutines", "locks",
                             "wait_graph", "heap", "maps", "findings", "detectors", "gaps"})
        EXPECT_TRUE(document.HasMember(name)) << name;
    for (const char* name : {"crash", "threads", "goroutines", "locks", "wait_graph", "heap", "maps"})
        EXPECT_TRUE(document[name].IsNull()) << name;
    EXPECT_FALSE(document.HasMember("location"));
}

TEST(Json, UnknownIsNullAndNoneIsEmpty) {
    auto report = test::sample_hang();
    report.locks->clear();
    report.threads.reset();
    report.goroutines->at(0).frames_computed = false;
    report.goroutines->at(0).frames = {};
    report.goroutines->at(1).frames = {};
    auto document = parse(report);
    EXPECT_TRUE(document["locks"].IsArray());
    EXPECT_TRUE(document["threads"].IsNull());
    EXPECT_TRUE(document["goroutines"][0]["frames"].IsNull());
    EXPECT_TRUE(document["goroutines"][0]["defers"].IsNull());
    EXPECT_TRUE(document["goroutines"][1]["frames"].IsArray());
    EXPECT_TRUE(document["goroutines"][1]["waited"]["at_least_ns"].IsUint64());
    EXPECT_TRUE(document["goroutines"][2]["waited"].IsNull());
}

TEST(Json, AddressesAreHexStringsAndIdsAreNumbers) {
    auto document = parse(test::sample_crash());
    EXPECT_STREQ(document["crash"]["fault_address"].GetString(), "0x10");
    EXPECT_STREQ(document["crash"]["registers"]["rbx"].GetString(), "0x1b00cd0e4120");
    EXPECT_EQ(document["crash"]["goroutine"].GetInt64(), 41);
    EXPECT_EQ(document["goroutines"][0]["id"].GetInt64(), 41);
    EXPECT_STREQ(document["crash"]["kind"].GetString(), "go-panic");
}

TEST(Json, BytesThatAreNotUtf8Survive) {
    auto document = parse(test::sample_hostile());
    EXPECT_THAT(document["input"]["core"]["program"].GetString(), testing::HasSubstr("\xef\xbf\xbd"));
    EXPECT_STREQ(document["input"]["core"]["program_hex"].GetString(), "6576696c1b5b33316d0a6e616d65ffe280ae");
    const auto& finding = document["findings"][0];
    EXPECT_TRUE(finding["innocent_hex"][0].IsNull());
    EXPECT_STREQ(finding["innocent_hex"][1].GetString(), "6e6f74ff736f756e64");
    EXPECT_FALSE(document["input"]["core"].HasMember("arguments_hex"));
}

TEST(Json, OneGoroutinePerLine) {
    auto text = render(test::sample_many(50, 3));
    std::size_t lines = 0;
    std::istringstream in(text);
    for (std::string line; std::getline(in, line);)
        if (line.starts_with("{\"id\":") || line.starts_with(",{\"id\":")) ++lines;
    EXPECT_EQ(lines, 50u);
    EXPECT_EQ(parse(text)["goroutines"].Size(), 50u);
}

TEST(Json, StopsWhenTheReaderIsGone) {
    std::size_t calls = 0;
    find_renderer("json")->render(test::sample_many(3000, 6), {}, [&](std::string_view) { return ++calls < 2; });
    EXPECT_EQ(calls, 2u);
}

// The texts of frames are kept by where their names lie: one name may begin another.
TEST(Json, ANameThatBeginsAnotherIsAnotherName) {
    const std::string_view name = "transfer_all";
    Report report;
    report.command = "threads";
    report.threads.emplace();
    for (std::size_t length : {name.size(), std::string_view("transfer").size()}) {
        Thread& thread = report.threads->emplace_back();
        thread.frames.resize(1);
        thread.frames[0].pc = Address{0x401000};
        thread.frames[0].function = name.substr(0, length);
    }
    auto document = parse(report);
    EXPECT_STREQ(document["threads"][0]["frames"][0]["function"].GetString(), "transfer_all");
    EXPECT_STREQ(document["threads"][1]["frames"][0]["function"].GetString(), "transfer");
}

TEST(Json, AStringLongerThanTheBuffer) {
    Report report;
    report.findings.emplace_back().title = std::string(300'000, '"');
    auto document = parse(report);
    EXPECT_EQ(document["findings"][0]["title"].GetStringLength(), 300'000u);
}

}  // namespace
}  // namespace incident::report
