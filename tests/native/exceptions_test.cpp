// The C++ runtime's record of exceptions, on label-built memory, sound and hostile.
#include "native/exceptions.h"

#include <gtest/gtest.h>

#include "support/memory_builder.h"

namespace incident::native {
namespace {

constexpr std::uint64_t gnu = 0x474e5543432b2b00, fs_base = 0x7f0000100000;

ThreadState thread_at(std::uint64_t base) {
    ThreadState thread{.tid = 1, .registers = Registers(x86_64())};
    for (unsigned i = 0; i < x86_64().registers.size(); ++i)
        if (x86_64().registers[i].name == "fs_base") thread.registers.set(i, base);
    return thread;
}

/// One __cxa_exception with its object {vptr, text}, and the type ParseError : std::runtime_error.
MemoryBuilder process(std::uint64_t exception_class = gnu, std::uint64_t catch_temp = 0) {
    MemoryBuilder memory;
    memory.at(0x5000).mark("vtable").zeros(64);
    memory.mark("runtime_error name").cstring("St13runtime_error").align(8);
    memory.mark("ParseError name").cstring("10ParseError").align(8);
    memory.mark("runtime_error").pointer("vtable").pointer("runtime_error name").zeros(16);
    memory.mark("ParseError").pointer("vtable").pointer("ParseError name").pointer("runtime_error");
    memory.mark("text").cstring("no '=' in line").align(8);
    memory.at(0x9000).mark("header").pointer("ParseError").zeros(56).u64(catch_temp).zeros(8);
    memory.u64(exception_class).zeros(24);
    memory.mark("object").pointer("vtable").pointer("text").zeros(64);
    memory.at(fs_base - 0x800).zeros(0x100).mark("globals").pointer("header").u64(0).zeros(0x700 - 16).zeros(0x100);
    return memory;
}

std::vector<CxxException> read(const MemoryBuilder& builder, std::uint64_t base = fs_base) {
    return handled_exceptions(builder.build(), thread_at(base));
}

TEST(Exceptions, UncaughtOneIsFoundWithItsTypeAndText) {
    auto builder = process();
    auto found = read(builder);
    ASSERT_EQ(found.size(), 1u);
    EXPECT_EQ(found[0].object, builder.build()["object"]);
    EXPECT_EQ(found[0].type, "ParseError");
    EXPECT_EQ(found[0].text, "no '=' in line");
    EXPECT_FALSE(found[0].handled);
}

TEST(Exceptions, OneInItsCatchClauseIsHandled) {
    auto found = read(process(gnu, 0x401234));
    ASSERT_EQ(found.size(), 1u);
    EXPECT_TRUE(found[0].handled);
}

TEST(Exceptions, ForeignOnesAndNoneAreLeftOut) {
    EXPECT_TRUE(read(process(0x4d4f5a0052555354)).empty());  // Rust's "MOZ\0RUST"
    auto none = process();
    none.at("globals").u64(0);
    EXPECT_TRUE(read(none).empty());
    EXPECT_TRUE(read(process(), 0).empty());
    EXPECT_TRUE(read(process(), 0x7fffffff0000).empty());
}

TEST(Exceptions, DependentOneLeadsToThePrimary) {
    auto builder = process();
    builder.at(0xa000).mark("dependent").pointer("object").zeros(72).u64(gnu | 1).zeros(24);
    builder.at("globals").pointer("dependent");
    auto found = read(builder);
    ASSERT_EQ(found.size(), 1u);
    EXPECT_EQ(found[0].text, "no '=' in line");
    EXPECT_EQ(found[0].object, builder.build()["object"]);
}

/// libc++abi's records lead to what lies in front of the members that both runtimes have.
TEST(Exceptions, LlvmsHaveMoreInFront) {
    constexpr std::uint64_t llvm = 0x434c4e47432b2b00;
    auto builder = process(llvm);
    builder.at(0x9000 - 16).mark("reserve").u64(0).u64(1);
    builder.at("globals").pointer("reserve");
    auto found = read(builder);
    ASSERT_EQ(found.size(), 1u);
    EXPECT_EQ(found[0].type, "ParseError");
    EXPECT_EQ(found[0].text, "no '=' in line");
    EXPECT_EQ(found[0].object, builder.build()["object"]);
    EXPECT_FALSE(found[0].handled);

    builder.at(0xa000)
        .mark("dependent")
        .u64(0)
        .pointer("object")
        .pointer("ParseError")
        .zeros(72)
        .u64(llvm | 1)
        .zeros(24);
    builder.at("globals").pointer("dependent");
    found = read(builder);
    ASSERT_EQ(found.size(), 1u);
    EXPECT_EQ(found[0].text, "no '=' in line");
    EXPECT_EQ(found[0].object, builder.build()["object"]);
}

TEST(Exceptions, HostileRecordsEnd) {
    auto circle = process();  // the chain leads back
    circle.at("header", 32).pointer("header");
    EXPECT_EQ(read(circle).size(), 1u);

    auto self = process();  // a type that is its own base
    self.at("ParseError", 16).pointer("ParseError");
    auto found = read(self);
    ASSERT_EQ(found.size(), 1u);
    EXPECT_EQ(found[0].text, "");

    auto text = process();  // the text is nowhere, or no text
    text.at("object", 8).u64(0xdeadbeef);
    EXPECT_EQ(read(text).at(0).text, "");
    text.at("object", 8).pointer("binary");
    text.at(0xb000).mark("binary").u64(0x0102030405060708).zeros(8);
    EXPECT_EQ(read(text).at(0).text, "");

    auto type = process();  // the type is nowhere
    type.at("header").u64(0x1234);
    EXPECT_TRUE(read(type).empty());

    auto bases = process();  // multiple inheritance from a great many bases
    bases.at("ParseError", 16).u32(0).u32(0xffffffff);
    EXPECT_EQ(read(bases).at(0).text, "");
}

}  // namespace
}  // namespace incident::native
