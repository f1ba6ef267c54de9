// The loop and the guessing steps, on steps and stacks written down by hand.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <map>

#include "unwind/unwinder.h"

namespace incident {
namespace {

using testing::HasSubstr;
using Kind = StepResult::Kind;

UnwindState at(std::uint64_t pc, std::uint64_t sp, std::uint64_t fp = 0) {
    UnwindState state{Registers(x86_64())};
    state.registers.set_pc(Address{pc});
    state.registers.set_sp(Address{sp});
    if (fp != 0) state.registers.set_fp(Address{fp});
    return state;
}
StepResult caller(std::uint64_t pc, std::uint64_t sp) { return {.kind = Kind::caller, .caller = at(pc, sp)}; }

constexpr AddressRange stack{{0x7000}, {0x8000}};

TEST(Loop, StopsAtTheOutermostFrame) {
    int calls = 0;
    const UnwindStep step{"test", [&](const UnwindState& s, AddressRange) -> StepResult {
                              if (++calls == 3) return {.kind = Kind::outermost, .reason = "outermost frame"};
                              return caller(0x1000, s.registers.sp()->value + 16);
                          }};
    auto out = unwind(at(0x1000, 0x7000), stack, std::span(&step, 1));
    EXPECT_EQ(out.frames.size(), 3u);
    EXPECT_TRUE(out.complete);
    EXPECT_EQ(out.end, "outermost frame");
}

TEST(Loop, SpMustRise) {
    for (std::uint64_t next : {0x7000u, 0x6ff8u, 0x0u}) {
        const UnwindStep step{"test", [&](const UnwindState&, AddressRange) { return caller(0x1000, next); }};
        auto out = unwind(at(0x1000, 0x7000), stack, std::span(&step, 1));
        EXPECT_EQ(out.frames.size(), 1u);
        EXPECT_FALSE(out.complete);
        EXPECT_THAT(out.end, HasSubstr("sp does not rise"));
    }
}

TEST(Loop, SpMustStayOnTheStack) {
    const UnwindStep step{"test", [&](const UnwindState&, AddressRange) { return caller(0x1000, 0x9000); }};
    auto out = unwind(at(0x1000, 0x7000), stack, std::span(&step, 1));
    EXPECT_EQ(out.frames.size(), 1u);
    EXPECT_THAT(out.end, HasSubstr("outside the stack"));
}

TEST(Loop, TheNextStepTriesWhatTheFirstCannot) {
    const UnwindStep steps[] = {
        {"first", [](const UnwindState&, AddressRange) -> StepResult { return {.reason = "no rules"}; }},
        {"second", [](const UnwindState& s, AddressRange) { return caller(0x1000, s.registers.sp()->value + 0x800); }}};
    auto out = unwind(at(0x1000, 0x7000), stack, steps, {.trace = true});
    EXPECT_EQ(out.frames.size(), 3u);
    EXPECT_THAT(out.end, HasSubstr("first: no rules; second: sp"));
    EXPECT_THAT(out.trace, testing::Contains("frame 0: first: no rules"));
}

TEST(Loop, Limits) {
    const UnwindStep step{
        "test", [&](const UnwindState& s, AddressRange) { return caller(0x1000, s.registers.sp()->value + 8); }};
    auto out = unwind(at(0x1000, 0x7000), stack, std::span(&step, 1), {.frames = 10});
    EXPECT_EQ(out.frames.size(), 10u);
    EXPECT_EQ(out.end, "limit of 10 frames");
}

TEST(Loop, StackChangesAreAllowedButNotForEver) {
    const UnwindStep step{"test", [&](const UnwindState& s, AddressRange) {
                              StepResult out = caller(0x1000, s.registers.sp()->value == 0x7000 ? 0x5000 : 0x7000);
                              out.stack = s.registers.sp()->value == 0x7000 ? AddressRange{{0x4000}, {0x6000}} : stack;
                              return out;
                          }};
    auto out = unwind(at(0x1000, 0x7000), stack, std::span(&step, 1));
    EXPECT_EQ(out.frames.size(), 17u);
    EXPECT_THAT(out.end, HasSubstr("too many stacks"));
}

TEST(Loop, NothingToUnwindWith) {
    auto out = unwind(at(0x1000, 0x7000), stack, {});
    EXPECT_EQ(out.frames.size(), 1u);
    EXPECT_FALSE(out.complete);
}

/// Code at 0x1000 with calls that end at 0x1005 and 0x1025, a stack at 0x7000.
struct Scene {
    std::array<std::byte, 0x100> code{};
    std::array<std::byte, 0x1000> words{};
    Memory memory;
    Scene() {
        for (std::size_t end : {0x05u, 0x25u}) code[end - 5] = std::byte{0xe8};  // call to the next instruction
    }
    void put(std::uint64_t address, std::uint64_t value) { std::memcpy(words.data() + (address - 0x7000), &value, 8); }
    void freeze() {
        memory.add({{{0x1000}, {0x1100}}, code.data(), Origin::core, 5});
        memory.add({stack, words.data(), Origin::core, 6});
        memory.freeze();
    }
};

TEST(FramePointers, FollowTheChainToItsEnd) {
    Scene scene;
    scene.put(0x7020, 0x7040);
    scene.put(0x7028, 0x1005);
    scene.put(0x7040, 0);
    scene.put(0x7048, 0x1025);
    scene.freeze();
    const UnwindStep step = frame_pointer_step(scene.memory);
    auto out = unwind(at(0x1000, 0x7000, 0x7020), stack, std::span(&step, 1));
    ASSERT_EQ(out.frames.size(), 3u);
    EXPECT_EQ(out.frames[0].cfa->value, 0x7030u);
    EXPECT_EQ(out.frames[1].state.registers.pc()->value, 0x1005u);
    EXPECT_EQ(out.frames[1].state.registers.sp()->value, 0x7030u);
    EXPECT_EQ(out.frames[1].state.trust, report::Trust::frame_pointer);
    EXPECT_FALSE(out.frames[1].state.registers.get("rbx").has_value());
    EXPECT_FALSE(out.complete);
}

TEST(FramePointers, RejectWhatCannotBeOne) {
    Scene scene;
    scene.put(0x7020, 0x7010);  // chain falls
    scene.put(0x7028, 0x1005);
    scene.put(0x7080, 0x7090);  // no call before the return address
    scene.put(0x7088, 0x1010);
    scene.freeze();
    const UnwindStep step = frame_pointer_step(scene.memory);
    for (std::uint64_t fp : {0x7080u, 0x6ff0u, 0x7ff8u, 0x7021u, 0x9000u, 0x1000u}) {
        auto out = unwind(at(0x1000, 0x7000, fp), stack, std::span(&step, 1));
        EXPECT_EQ(out.frames.size(), 1u) << fp;
        EXPECT_THAT(out.end, HasSubstr("frame pointer: ")) << fp;
    }
    auto falling = unwind(at(0x1000, 0x7000, 0x7020), stack, std::span(&step, 1));
    EXPECT_EQ(falling.frames.size(), 2u);
}

TEST(Ucontext, IsReadByTheMachinesTable) {
    std::vector<std::byte> bytes(1024);
    const auto put = [&](std::size_t offset, std::uint64_t value) { std::memcpy(bytes.data() + offset, &value, 8); };
    put(168, 0x1234);  // rip (struct sigcontext at +40)
    put(160, 0x7008);  // rsp
    put(144, 77);      // rax
    Memory memory;
    memory.add({{{0x7000}, {0x7400}}, bytes.data(), Origin::core, 6});
    memory.freeze();
    auto registers = load_ucontext(memory, x86_64(), Address{0x7000});
    ASSERT_TRUE(registers.has_value());
    EXPECT_EQ(registers->pc()->value, 0x1234u);
    EXPECT_EQ(registers->get("rax"), 77u);
    EXPECT_FALSE(load_ucontext(memory, x86_64(), Address{0x7380}).has_value());
    put(160, 0x99999);  // sp that was never mapped
    EXPECT_FALSE(load_ucontext(memory, x86_64(), Address{0x7000}).has_value());
}

}  // namespace
}  // namespace incident
