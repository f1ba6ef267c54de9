#include "base/text.h"

#include <gtest/gtest.h>

namespace incident {
namespace {

TEST(Text, HostileBytesBecomeVisible) {
    EXPECT_EQ(escape_for_terminal("a\x1b[31mb\n"), "a\\x1b[31mb\\n");
    EXPECT_EQ(escape_for_terminal("\xff\xc0\xaf"), "\\xff\\xc0\\xaf");
    EXPECT_EQ(escape_for_terminal("\xe2\x80\xae"), "\\xe2\\x80\\xae") << "right-to-left override";
    EXPECT_EQ(escape_for_terminal("\xc2\x9b"), "\\xc2\\x9b") << "C1 control sequence introducer";
    EXPECT_EQ(escape_for_terminal("größe 数"), "größe 数");
}

TEST(Text, IllFormedUtf8IsReplaced) {
    EXPECT_EQ(to_valid_utf8("ok\xed\xa0\x80"), "ok\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd") << "a surrogate";
    EXPECT_TRUE(is_valid_utf8("größe"));
    EXPECT_FALSE(is_valid_utf8("\xf4\x90\x80\x80")) << "beyond U+10FFFF";
    EXPECT_FALSE(is_valid_utf8("\xe2\x82")) << "cut sequence";
}

TEST(Text, SizesAndDurations) {
    EXPECT_EQ(human_size(999), "999 B");
    EXPECT_EQ(human_size(46'500'000), "46.5 MB");
    EXPECT_EQ(human_size(999'960), "1.0 MB");
    EXPECT_EQ(human_duration(252'000'000'000), "4m12s");
    EXPECT_EQ(human_duration(310'000'000), "310ms");
    EXPECT_EQ(count_of(1, "goroutine"), "1 goroutine");
    EXPECT_EQ(count_of(2, "mutex", "mutexes"), "2 mutexes");
}

TEST(Text, FileNames) {
    EXPECT_EQ(base_name("/src/bank.go"), "bank.go");
    EXPECT_EQ(base_name("bank.go"), "bank.go");
    EXPECT_EQ(base_name("/src/"), "");
}

TEST(Text, ShellsTakeAQuotedWordAsOne) {
    EXPECT_EQ(shell_quoted("/var/crash/core.4711"), "/var/crash/core.4711");
    EXPECT_EQ(shell_quoted("it's here; rm -r *"), "'it'\\''s here; rm -r *'");
    EXPECT_EQ(shell_quoted(""), "''");
    EXPECT_EQ(shell_quoted("~root"), "'~root'");
}

}  // namespace
}  // namespace incident
