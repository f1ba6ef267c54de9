// SARIF against the standard's own schema (tests/support/schemas), and what code scanning needs beyond it: a place and
// a known rule for every result.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <rapidjson/document.h>

#include "report/renderers.h"
#include "support/sample_report.h"
#include "support/schema_check.h"

namespace incident::report {
namespace {

constexpr auto schema_file = "tests/support/schemas/sarif-schema-2.1.0.json";

std::string render(const Report& report) {
    std::string out;
    find_renderer("sarif")->render(report, {}, [&](std::string_view piece) { return out += piece, true; });
    return out;
}

TEST(Sarif, KeepsToItsSchema) {
    for (auto sample : {test::sample_hang, test::sample_crash, test::sample_cycle, test::sample_healthy,
                        test::sample_core_alone, test::sample_hostile, test::sample_memory, test::sample_heap})
        EXPECT_EQ(test::schema_complaint(render(sample()), schema_file), "");
}

/// An empty list is a scan that found nothing: not what a list of goroutines or types is.
TEST(Sarif, NoResultsWhereNobodyLooked) {
    const auto run_of = [](const Report& report, rapidjson::Document& document) -> const rapidjson::Value& {
        document.Parse(render(report).c_str());
        return document["runs"][0];
    };
    rapidjson::Document document;
    const auto& list = run_of(test::sample_heap(), document);
    EXPECT_FALSE(list.HasMember("results"));
    const auto& notes = list["invocations"][0]["toolExecutionNotifications"];
    ASSERT_FALSE(notes.Empty());
    EXPECT_STREQ(notes[0]["level"].GetString(), "note");
    EXPECT_THAT(notes[0]["message"]["text"].GetString(), testing::HasSubstr("`incident analyze` does"));

    rapidjson::Document other;
    const auto& healthy = run_of(test::sample_healthy(), other);
    ASSERT_TRUE(healthy.HasMember("results"));
    EXPECT_EQ(healthy["results"].Size(), 1u) << "why the core was taken";
    EXPECT_TRUE(healthy["invocations"][0]["toolExecutionNotifications"].Empty());
}

TEST(Sarif, TheSchemaBites) {
    auto text = render(test::sample_hang());
    auto at = text.find("\"level\":\"error\"");
    ASSERT_NE(at, std::string::npos);
    EXPECT_THAT(test::schema_complaint(text.replace(at, 15, "\"level\":\"fatal\""), schema_file),
                testing::HasSubstr("enum"));
}

TEST(Sarif, EveryResultHasARuleAndAPlace) {
    for (auto sample : {test::sample_hang, test::sample_crash, test::sample_cycle, test::sample_hostile}) {
        auto report = sample();
        rapidjson::Document document;
        document.Parse(render(report).c_str());
        const auto& run = document["runs"][0];
        const auto& rules = run["tool"]["driver"]["rules"];
        ASSERT_EQ(run["results"].Size(), report.findings.size());
        for (const auto& result : run["results"].GetArray()) {
            ASSERT_LT(result["ruleIndex"].GetUint(), rules.Size());
            EXPECT_STREQ(rules[result["ruleIndex"].GetUint()]["id"].GetString(), result["ruleId"].GetString());
            ASSERT_EQ(result["locations"].Size(), 1u);
            EXPECT_TRUE(result["locations"][0]["physicalLocation"].HasMember("artifactLocation"));
        }
    }
}

TEST(Sarif, PathsBecomeUris) {
    auto report = test::sample_crash();
    report.findings.clear();
    report.input.core.path = "/var/cores/a b%#?ü";
    EXPECT_THAT(render(report), testing::HasSubstr("file:///var/cores/a%20b%25%23%3F%C3%BC"));
    report.input.core.path = "c:core";
    EXPECT_THAT(render(report), testing::HasSubstr("\"c%3Acore\""));
}

}  // namespace
}  // namespace incident::report
