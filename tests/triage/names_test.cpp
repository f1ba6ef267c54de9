// What stays of a name, a message and a file name, and the data files that decide which frames count.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "triage/core_name.h"
#include "triage/normalize.h"
#include "triage/rules.h"

namespace incident::triage {
namespace {

TEST(Names, Go) {
    EXPECT_EQ(normal_go_name("example.com/shop/v2/cart.(*Cart).Add"), "example.com/shop/cart.(*Cart).Add");
    EXPECT_EQ(normal_go_name("gopkg.in/yaml.v3.(*Decoder).Decode"), "gopkg.in/yaml.(*Decoder).Decode");
    EXPECT_EQ(normal_go_name("main.Map[go.shape.int,go.shape.*uint8]"), "main.Map[...]");
    EXPECT_EQ(normal_go_name("main.(*T).run-fm"), "main.(*T).run");
    EXPECT_EQ(normal_go_name("main.serve.func1.deferwrap2"), "main.serve.func1");
    EXPECT_EQ(normal_go_name("main.serve.gowrap1"), "main.serve");
    EXPECT_EQ(normal_go_name("main.serve\u00b7dwrap\u00b73"), "main.serve");
    EXPECT_EQ(normal_go_name("main.glob..func1"), "main.init.func1");
    EXPECT_EQ(normal_go_name("main.serve.func2"), "main.serve.func2") << "closures keep their number";
    EXPECT_EQ(normal_go_name("main.v2handler"), "main.v2handler");
}

TEST(Names, Native) {
    EXPECT_EQ(normal_native_name("walk.isra.0"), "walk");
    EXPECT_EQ(normal_native_name("walk.cold"), "walk");
    EXPECT_EQ(normal_native_name("__GI___libc_free"), "free");
    EXPECT_EQ(normal_native_name("__libc_start_main_impl"), "__libc_start_main_impl");
    EXPECT_EQ(normal_native_name("std::vector<int, std::allocator<int> >::at(unsigned long)"), "std::vector<...>::at");
    EXPECT_EQ(normal_native_name("(anonymous namespace)::work(int)"), "{anonymous}::work");
    EXPECT_EQ(normal_native_name("Cache::find[abi:cxx11](std::string const&) const"), "Cache::find");
    EXPECT_EQ(normal_native_name("operator new(unsigned long)"), "operator new(unsigned long)");
}

TEST(Names, CgoCallsAreCsFunctions) {
    EXPECT_EQ(normal_go_name("main._Cfunc_c_update"), "c_update");
    EXPECT_EQ(normal_go_name("example.com/store._Cfunc_open"), "open");
    EXPECT_EQ(normal_native_name("_cgo_5a847027aa6a_Cfunc_c_take"), "c_take");
    EXPECT_EQ(normal_native_name("my_Cfunc_thing"), "my_Cfunc_thing");
}

TEST(Names, Programs) {
    EXPECT_EQ(normal_program("settle"), "settle");
    EXPECT_EQ(normal_program("settle.debug"), "settle");
    EXPECT_EQ(normal_program(".hidden"), ".hidden");
}

TEST(Names, Messages) {
    EXPECT_EQ(normal_message("runtime error: index out of range [5] with length 3"),
              "runtime error: index out of range [N] with length N");
    EXPECT_EQ(normal_message("cannot open \"/srv/a b\": 0xc00001"), "cannot open \"…\": 0xN");
    EXPECT_EQ(normal_message("step2 of utf8\nsecond line"), "step2 of utf8");
    EXPECT_EQ(normal_message(std::string(1000, 'x')).size(), 200u);
}

TEST(Names, CoreFiles) {
    auto name = parse_core_name("core.led\\x2fger.x.1000.0123456789abcdef0123456789abcdef.4711.1753660800000000.zst");
    EXPECT_EQ(name.program, "led/ger.x");
    EXPECT_EQ(name.uid, 1000);
    EXPECT_EQ(name.pid, 4711);
    EXPECT_EQ(name.time, 1753660800);
    EXPECT_EQ(name.boot, "0123456789abcdef0123456789abcdef");
    name = parse_core_name("core.4711");
    EXPECT_EQ(name.pid, 4711);
    EXPECT_TRUE(name.looks_like_core);
    name = parse_core_name("core.settle.4711.1753660800");
    EXPECT_EQ(name.program, "settle");
    EXPECT_EQ(name.time, 1753660800);
    EXPECT_TRUE(parse_core_name("core").looks_like_core);
    EXPECT_TRUE(parse_core_name("settle.core.xz").looks_like_core);
    EXPECT_FALSE(parse_core_name("truth.txt").looks_like_core);
    auto made =
        parse_core_name(make_core_name("a/b \x01", 7, "0123456789abcdef0123456789abcdef", 12, 1753660800) + ".zst");
    EXPECT_EQ(made.program, "a/b \x01");
    EXPECT_EQ(made.uid, 7);
    EXPECT_EQ(made.time, 1753660800);
}

TEST(Rules, EveryEntryHasANoteAndAUse) {
    const auto& rules = built_in_rules();
    EXPECT_GT(rules.frames.size(), 10u);
    EXPECT_GE(rules.messages.size(), 3u);
    for (const auto& rule : rules.frames) {
        EXPECT_FALSE(rule.patterns.empty());
        EXPECT_FALSE(rule.note.empty()) << rule.patterns.front();
        EXPECT_NE(rule.use, FrameUse::own) << rule.patterns.front();
    }
    for (const auto& rule : rules.messages) EXPECT_FALSE(rule.note.empty() || rule.klass.empty());
}

TEST(Rules, Frames) {
    auto use = [](std::string_view text) {
        const auto* rule = built_in_rules().find_frame(text);
        return rule == nullptr ? FrameUse::own : rule->use;
    };
    EXPECT_EQ(use("runtime.gopark"), FrameUse::skip);
    EXPECT_EQ(use("runtime.goexit"), FrameUse::stop);
    EXPECT_EQ(use("sync.(*Mutex).Lock"), FrameUse::skip);
    EXPECT_EQ(use("encoding/json.Unmarshal"), FrameUse::library);
    EXPECT_EQ(use("net/http.(*conn).serve"), FrameUse::library);
    EXPECT_EQ(use("main.main"), FrameUse::own);
    EXPECT_EQ(use("example.com/sync.(*Pool).Get"), FrameUse::own);
    EXPECT_EQ(use("memcpy"), FrameUse::library);
    EXPECT_EQ(use("member_update"), FrameUse::own);
    EXPECT_EQ(use("libc.so.6@0123+0x1"), FrameUse::skip);
    EXPECT_EQ(use("exe@0123+0x1"), FrameUse::own);
}

TEST(Rules, Patterns) {
    EXPECT_TRUE(matches("a*c*", "abbcd"));
    EXPECT_TRUE(matches("*", ""));
    EXPECT_FALSE(matches("a*c", "abcd"));
    EXPECT_TRUE(matches("*.(*Ledger)*", "x main.(*Ledger).Apply"));
    EXPECT_FALSE(matches(std::string(200, '*') + "b", std::string(5000, 'a'))) << "and quickly";
}

}  // namespace
}  // namespace incident::triage
