// The return path step on code and stacks written down by hand.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>

#include "support/memory_builder.h"
#include "unwind/return_path.h"

namespace incident {
namespace {

using Kind = StepResult::Kind;

constexpr std::uint64_t code_at = 0x401000, stack_at = 0x7000;
constexpr AddressRange stack{Address{stack_at}, Address{stack_at + 0x100}};

struct Target {
    TargetMemory memory;
    StepResult step(bool after_call = true) const {
        UnwindState state{Registers(x86_64())};
        state.registers.set_pc(Address{code_at + 16});
        state.registers.set_sp(Address{stack_at});
        state.registers.set_fp(Address{0xbbbb});
        state.after_call = after_call;
        return return_path_step(memory, x86_64()).step(state, stack);
    }
    static std::uint64_t value(const StepResult& result, std::string_view name) {
        return result.caller->registers.get(*x86_64().row_of(name)).value_or(0);
    }
};

/// `code` begins 16 bytes into a page of code; `words` are on the stack from sp on.
Target target(std::initializer_list<int> code, std::initializer_list<std::uint64_t> words) {
    MemoryBuilder builder;
    builder.at(code_at).permissions(5).fill(16, 0x90);
    for (int byte : code) builder.u8(static_cast<std::uint8_t>(byte));
    builder.fill(64, 0x90).at(stack_at).permissions(6);
    for (std::uint64_t word : words) builder.u64(word);
    return {builder.zeros(0x100 - words.size() * 8).build()};
}

TEST(ReturnPath, PopsWhatCrosscall1Saved) {
    // go1.22 src/runtime/cgo/gcc_amd64.S: pop r15 r14 r13 r12 rbp rbx, ret
    auto t =
        target({0x41, 0x5f, 0x41, 0x5e, 0x41, 0x5d, 0x41, 0x5c, 0x5d, 0x5b, 0xc3}, {15, 14, 13, 12, 5, 3, code_at + 4});
    auto result = t.step();
    ASSERT_EQ(result.kind, Kind::caller);
    EXPECT_EQ(result.cfa, Address{stack_at + 7 * 8});
    EXPECT_EQ(result.caller->registers.pc(), Address{code_at + 4});
    EXPECT_EQ(result.caller->registers.sp(), Address{stack_at + 7 * 8});
    EXPECT_EQ(Target::value(result, "r15"), 15u);
    EXPECT_EQ(Target::value(result, "r12"), 12u);
    EXPECT_EQ(Target::value(result, "rbp"), 5u);
    EXPECT_EQ(Target::value(result, "rbx"), 3u);
}

TEST(ReturnPath, RaisesSpAndKeepsWhatItDoesNotPop) {
    auto small = target({0x48, 0x83, 0xc4, 0x10, 0xf3, 0xc3}, {1, 2, code_at + 8}).step();
    ASSERT_EQ(small.kind, Kind::caller);
    EXPECT_EQ(small.cfa, Address{stack_at + 24});
    EXPECT_EQ(Target::value(small, "rbp"), 0xbbbbu);
    auto large = target({0x90, 0x48, 0x81, 0xc4, 0x18, 0, 0, 0, 0xc3}, {1, 2, 3, code_at + 8}).step();
    ASSERT_EQ(large.kind, Kind::caller);
    EXPECT_EQ(large.cfa, Address{stack_at + 32});
}

TEST(ReturnPath, DoesNotGuess) {
    EXPECT_EQ(target({0x5b, 0xe8, 0, 0, 0, 0, 0xc3}, {1, code_at}).step().kind, Kind::rejected);  // a call
    EXPECT_EQ(target({0x48, 0x83, 0xc4, 0xf0, 0xc3}, {1, code_at}).step().kind, Kind::rejected);  // sp falls
    EXPECT_EQ(target({0x5c, 0xc3}, {1, code_at}).step().kind, Kind::rejected);                    // pop rsp
    EXPECT_EQ(target({0xc3}, {code_at}).step(/*after_call=*/false).kind, Kind::rejected);         // interrupted
    EXPECT_EQ(target({0x48, 0x81, 0xc4, 0, 1, 0, 0, 0xc3}, {}).step().kind, Kind::rejected);      // leaves the stack
    auto no_code = target({0xc3}, {0x1234}).step();
    EXPECT_EQ(no_code.kind, Kind::rejected);
    EXPECT_EQ(no_code.bad_return, 0x1234u);
    EXPECT_EQ(target({0xc3}, {0}).step().kind, Kind::outermost);
}

/// A function at code_at, called at `call` by `caller`, with pc behind a call 16 bytes in.
StepResult called(std::vector<int> code, std::vector<int> caller, std::uint64_t caller_at,
                  std::vector<std::uint64_t> words) {
    MemoryBuilder builder;
    builder.at(code_at).permissions(5).fill(16, 0x90);
    for (int byte : code) builder.u8(static_cast<std::uint8_t>(byte));
    builder.fill(64, 0xcc).at(caller_at).permissions(5);
    for (int byte : caller) builder.u8(static_cast<std::uint8_t>(byte));
    builder.fill(16, 0x90).at(stack_at).permissions(6);
    for (std::uint64_t word : words) builder.u64(word);
    return Target{builder.zeros(0x100 - words.size() * 8).build()}.step();
}

constexpr std::uint64_t caller_at = 0x402000, call_returns = caller_at + 5;
const std::vector<int> calls_code{0xe8, 0xfb, 0xef, 0xff, 0xff};  // call code_at: -0x1005 from behind the call

TEST(ReturnPath, FollowsTheFunctionToItsReturn) {
    // call; test; je +2; jmp +1; hlt; add rsp, 8; pop rbx; ret: what a branch skips does not count
    const std::vector<int> body{0xe8, 0,    0,    0,    0,    0x85, 0xc0, 0x74, 0x02,
                                0xeb, 0x01, 0xf4, 0x48, 0x83, 0xc4, 0x08, 0x5b, 0xc3};
    auto result = called(body, calls_code, caller_at, {1, 3, call_returns});
    ASSERT_EQ(result.kind, Kind::caller);
    EXPECT_EQ(result.cfa, Address{stack_at + 24});
    EXPECT_EQ(result.caller->registers.pc(), Address{call_returns});
    EXPECT_EQ(Target::value(result, "rbx"), 3u);
    EXPECT_EQ(result.caller->trust, report::Trust::cfi);
}

TEST(ReturnPath, WhatItPushesItselfIsNoWordOfTheStack) {
    // push rbp; call; pop rbp; ret
    auto result = called({0x55, 0xe8, 0, 0, 0, 0, 0x5d, 0xc3}, calls_code, caller_at, {call_returns});
    ASSERT_EQ(result.kind, Kind::caller);
    EXPECT_EQ(result.cfa, Address{stack_at + 8});
    EXPECT_EQ(Target::value(result, "rbp"), 0xbbbbu);
}

TEST(ReturnPath, AReturnAddressProvesItself) {
    const std::vector<int> body{0xe8, 0, 0, 0, 0, 0xc3};
    EXPECT_EQ(called(body, calls_code, caller_at, {call_returns}).kind, Kind::caller);
    // A call of something else, a call through a register, and no call at all.
    EXPECT_EQ(called(body, {0xe8, 0, 0x10, 0, 0}, caller_at, {call_returns}).kind, Kind::rejected);
    EXPECT_EQ(called(body, {0x90, 0x90, 0x90, 0xff, 0xd0}, caller_at, {call_returns}).kind, Kind::rejected);
    EXPECT_EQ(called(body, calls_code, caller_at, {call_returns + 1}).kind, Kind::rejected);
    EXPECT_EQ(called(body, calls_code, caller_at, {0}).kind, Kind::rejected);
}

TEST(ReturnPath, ByWayOfThePlt) {
    // endbr64; jmp [rip+2]; the GOT entry behind it leads to code_at; then the call of that stub.
    std::vector<int> caller{0xf3, 0x0f, 0x1e, 0xfa, 0xff, 0x25, 0x02, 0,    0,    0,    0x90, 0x90, 0x00,
                            0x10, 0x40, 0,    0,    0,    0,    0,    0xe8, 0xe7, 0xff, 0xff, 0xff};
    EXPECT_EQ(called({0xe8, 0, 0, 0, 0, 0xc3}, caller, caller_at, {caller_at + 25}).kind, Kind::caller);
}

TEST(ReturnPath, AnyBytes) {
    std::mt19937 random(5);
    for (int round = 0; round < 5000; ++round) {
        MemoryBuilder builder;
        builder.at(code_at).permissions(5);
        // Of bytes that such code is made of, cut off anywhere.
        static constexpr std::uint8_t likely[] = {0x41, 0x5f, 0x58, 0x5d, 0x48, 0x81,
                                                  0x83, 0xc4, 0xc3, 0xf3, 0x90, 0xff};
        const std::size_t size = 16 + random() % 64;
        for (std::size_t i = 0; i < size; ++i)
            builder.u8(random() % 4 == 0 ? static_cast<std::uint8_t>(random()) : likely[random() % sizeof likely]);
        builder.at(stack_at).permissions(6);
        for (int i = 0; i < 8; ++i) builder.u64(random() % 2 == 0 ? code_at + random() % 32 : random());
        auto result = Target{builder.build()}.step();
        if (result.kind == Kind::caller) { EXPECT_LE(*result.cfa, stack.end); }
    }
}

}  // namespace
}  // namespace incident
