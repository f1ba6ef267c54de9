#include "report/verdict.h"

#include <gtest/gtest.h>

namespace incident::report {
namespace {

Finding finding(Severity severity) {
    Finding f;
    f.severity = severity;
    return f;
}

TEST(Verdict, FollowsTheContract) {
    Report report;
    EXPECT_EQ(exit_code(report, Severity::warning), 0);
    report.gaps.push_back({"stripped binary", "", "", false});
    EXPECT_EQ(exit_code(report, Severity::warning), 0) << "a stripped binary alone is no 3";
    report.gaps.push_back({"executable missing", "", "", true});
    EXPECT_EQ(exit_code(report, Severity::warning), 3);
    report.findings.push_back(finding(Severity::info));
    EXPECT_EQ(exit_code(report, Severity::warning), 3);
    EXPECT_EQ(exit_code(report, Severity::info), 1) << "findings win over damage";
    report.findings.push_back(finding(Severity::error));
    EXPECT_EQ(exit_code(report, Severity::error), 1);
}

TEST(Verdict, ACutCoreIsNotHealth) {
    Report report;
    report.input.core.truncated = CoreInput::Truncated{100, 5};
    EXPECT_EQ(exit_code(report, Severity::warning), 3);
}

}  // namespace
}  // namespace incident::report
