#include "disasm/disasm.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <initializer_list>

namespace incident {
namespace {

/// Code bytes at 0x1000, executable; data elsewhere is unmapped.
struct Code {
    std::vector<std::byte> bytes;
    Memory memory;
    explicit Code(std::initializer_list<unsigned> values) {
        for (unsigned v : values) bytes.push_back(static_cast<std::byte>(v));
        memory.add({{{0x1000}, {0x1000 + bytes.size()}}, bytes.data(), Origin::core, 5});
        memory.freeze();
    }
    Instruction at(std::uint64_t pc) {
        auto d = Disassembler::create(x86_64());
        EXPECT_TRUE(d.has_value());
        auto i = d->decode(memory, {pc});
        EXPECT_TRUE(i.has_value());
        return i ? *i : Instruction{};
    }
};

unsigned row(std::string_view name) {
    const auto& rows = x86_64().registers;
    for (unsigned i = 0; i < rows.size(); ++i)
        if (rows[i].name == name) return i;
    ADD_FAILURE() << "no register " << name;
    return 0;
}

TEST(Decode, MoveFromMemoryNamesBaseDisplacementAndDestination) {
    Code code{0x48, 0x8b, 0x4a, 0x18};  // mov rcx, [rdx+0x18]
    auto i = code.at(0x1000);
    EXPECT_EQ(i.text(), "mov rcx, qword ptr [rdx + 0x18]");
    ASSERT_EQ(i.memory.size(), 1u);
    EXPECT_EQ(i.memory[0].base, row("rdx"));
    EXPECT_EQ(i.memory[0].displacement, 0x18);
    EXPECT_EQ(i.memory[0].size, 8u);
    EXPECT_TRUE(i.memory[0].read);
    EXPECT_FALSE(i.memory[0].written);
    EXPECT_EQ(i.destination, row("rcx"));
    Registers registers(x86_64());
    EXPECT_FALSE(Disassembler::effective_address(i.memory[0], registers).has_value());
    registers.set(row("rdx"), 0x5000);
    EXPECT_EQ(Disassembler::effective_address(i.memory[0], registers)->value, 0x5018u);
}

TEST(Decode, StoreOfRegisterIsAWrite) {
    Code code{0x89, 0x04, 0xcb};  // mov [rbx+rcx*8], eax
    auto i = code.at(0x1000);
    ASSERT_EQ(i.memory.size(), 1u);
    EXPECT_TRUE(i.memory[0].written);
    EXPECT_FALSE(i.memory[0].read);
    EXPECT_EQ(i.memory[0].index, row("rcx"));
    EXPECT_EQ(i.memory[0].scale, 8u);
    EXPECT_EQ(i.source, row("rax"));
    EXPECT_FALSE(i.destination.has_value());
}

TEST(Decode, RipRelativeOperandIsAbsolute) {
    Code code{0x48, 0x8d, 0x05, 0x10, 0x00, 0x00, 0x00};  // lea rax, [rip+0x10]
    auto i = code.at(0x1000);
    EXPECT_TRUE(i.lea);
    ASSERT_EQ(i.memory.size(), 1u);
    EXPECT_EQ(i.memory[0].absolute->value, 0x1017u);
    EXPECT_FALSE(i.memory[0].read);
    EXPECT_FALSE(i.memory[0].written);
}

TEST(Decode, ThreadLocalAccess) {
    Code code{0x64, 0x48, 0x8b, 0x0c, 0x25, 0xf8, 0xff, 0xff, 0xff};  // mov rcx, fs:[-8]
    auto i = code.at(0x1000);
    ASSERT_EQ(i.memory.size(), 1u);
    EXPECT_TRUE(i.memory[0].fs_relative);
    EXPECT_FALSE(i.memory[0].absolute.has_value());
    Registers registers(x86_64());
    registers.set(row("fs_base"), 0x7000);
    EXPECT_EQ(Disassembler::effective_address(i.memory[0], registers)->value, 0x6ff8u);
}

TEST(Decode, FlowAndTargets) {
    Code code{0xe8, 0x00, 0x00, 0x00, 0x00,  // 1000 call 0x1005
              0xff, 0xd0,                    // 1005 call rax
              0x74, 0x02,                    // 1007 je 0x100b
              0xeb, 0x00,                    // 1009 jmp 0x100b
              0xff, 0xe0,                    // 100b jmp rax
              0xc3,                          // 100d ret
              0x0f, 0x0b,                    // 100e ud2
              0xf3, 0x0f, 0x1e, 0xfa,        // 1010 endbr64
              0xf0, 0x48, 0x0f, 0xb1, 0x0a,  // 1014 lock cmpxchg [rdx], rcx
              0x0f, 0x05};                   // 1019 syscall
    EXPECT_EQ(code.at(0x1000).flow, Flow::call);
    EXPECT_EQ(code.at(0x1000).target->value, 0x1005u);
    EXPECT_EQ(code.at(0x1005).flow, Flow::indirect_call);
    EXPECT_EQ(code.at(0x1007).flow, Flow::conditional_jump);
    EXPECT_EQ(code.at(0x1007).target->value, 0x100bu);
    EXPECT_EQ(code.at(0x1009).flow, Flow::jump);
    EXPECT_EQ(code.at(0x100b).flow, Flow::indirect_jump);
    EXPECT_EQ(code.at(0x100d).flow, Flow::ret);
    EXPECT_EQ(code.at(0x100e).flow, Flow::trap);
    EXPECT_EQ(code.at(0x1010).flow, Flow::next);
    EXPECT_TRUE(code.at(0x1014).locked);
    EXPECT_EQ(code.at(0x1019).flow, Flow::next);
}

TEST(Decode, UndecodableIsUnsupportedAndEndsARange) {
    Code code{0x90, 0x06, 0x90, 0x90};  // nop; (06 is no instruction in 64-bit mode)
    auto d = Disassembler::create(x86_64());
    EXPECT_EQ(d->decode(code.memory, {0x1001}).error().kind, ErrorKind::unsupported);
    EXPECT_EQ(d->decode(code.memory, {0x9000}).error().kind, ErrorKind::unmapped);
    bool complete = true;
    auto all = d->decode_range(code.memory, {{0x1000}, {0x1004}}, 100, &complete);
    EXPECT_EQ(all.size(), 1u);
    EXPECT_FALSE(complete);
}

TEST(Decode, InstructionAcrossTwoSegments) {
    std::vector<std::byte> first{std::byte{0x48}, std::byte{0x8b}}, second{std::byte{0x4a}, std::byte{0x18}};
    Memory memory;
    memory.add({{{0x1000}, {0x1002}}, first.data(), Origin::core, 5});
    memory.add({{{0x1002}, {0x1004}}, second.data(), Origin::core, 5});
    memory.freeze();
    auto d = Disassembler::create(x86_64());
    EXPECT_EQ(d->decode(memory, {0x1000})->size, 4u);
}

struct CallCase {
    const char* what;
    std::vector<unsigned> bytes;
    friend void PrintTo(const CallCase& call, std::ostream* out) { *out << call.what; }
};
class CallForms : public testing::TestWithParam<CallCase> {};

TEST_P(CallForms, AreSeenByBytesAndByDecoding) {
    std::vector<std::byte> bytes(16, std::byte{0x90});
    for (unsigned b : GetParam().bytes) bytes.push_back(static_cast<std::byte>(b));
    const std::uint64_t end = 0x1000 + bytes.size();
    bytes.push_back(std::byte{0x90});
    Memory memory;
    memory.add({{{0x1000}, {0x1000 + bytes.size()}}, bytes.data(), Origin::core, 5});
    memory.freeze();
    EXPECT_TRUE(may_be_return_address(memory, {end}));
    auto d = Disassembler::create(x86_64());
    auto call = d->call_before(memory, {end});
    ASSERT_TRUE(call.has_value());
    EXPECT_EQ(call->size, GetParam().bytes.size());
    EXPECT_EQ(call->pc + call->size, Address{end});
}

INSTANTIATE_TEST_SUITE_P(All, CallForms,
                         testing::Values(CallCase{"rel32", {0xe8, 0xf0, 0xff, 0xff, 0xff}},
                                         CallCase{"rax", {0xff, 0xd0}}, CallCase{"r11", {0x41, 0xff, 0xd3}},
                                         CallCase{"[rax]", {0xff, 0x10}}, CallCase{"[rip+8]", {0xff, 0x15, 8, 0, 0, 0}},
                                         CallCase{"[rax+0x10]", {0xff, 0x50, 0x10}},
                                         CallCase{"[rsp+8]", {0xff, 0x54, 0x24, 8}},
                                         CallCase{"[rax*8+rbx]", {0xff, 0x14, 0xc3}},
                                         CallCase{"[r12+0x100]", {0x41, 0xff, 0x94, 0x24, 0, 1, 0, 0}},
                                         CallCase{"[rdi+0x100]", {0xff, 0x97, 0, 1, 0, 0}},
                                         CallCase{"fs:[0x10]", {0x64, 0xff, 0x14, 0x25, 0x10, 0, 0, 0}}));

TEST(ReturnAddress, RefusesWhatNoCallPrecedes) {
    Code code{0x90, 0x90, 0x90, 0x90, 0x90, 0x90, 0x90, 0x48, 0x89,
              0xc3, 0xff, 0xe0, 0xe8, 0xff, 0xff, 0xff, 0x7f, 0x90};
    EXPECT_FALSE(may_be_return_address(code.memory, {0x1005}));
    EXPECT_FALSE(may_be_return_address(code.memory, {0x100a}));
    EXPECT_FALSE(may_be_return_address(code.memory, {0x100c}));  // jmp rax
    EXPECT_FALSE(may_be_return_address(code.memory, {0x1011}));  // call to nothing mapped
    EXPECT_FALSE(may_be_return_address(code.memory, {0x9000}));
    EXPECT_FALSE(may_be_return_address(code.memory, {0}));
    auto d = Disassembler::create(x86_64());
    EXPECT_FALSE(d->call_before(code.memory, {0x100c}).has_value());
}

TEST(ReturnAddress, AtTheVeryStartOfASegment) {
    Code code{0xff, 0xd0, 0x90};
    EXPECT_TRUE(may_be_return_address(code.memory, {0x1002}));
    EXPECT_FALSE(may_be_return_address(code.memory, {0x1001}));
}

}  // namespace
}  // namespace incident
