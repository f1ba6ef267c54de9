// Kernel signal frames on label-built signal stacks.
#include <gtest/gtest.h>

#include "process/crash_context.h"
#include "support/memory_builder.h"

namespace incident {
namespace {

constexpr std::uint64_t stack_at = 0xc000008000, stack_size = 0x8000;

/// rt_sigframe: pretcode, ucontext {flags, link, ss_sp, ss_flags, ss_size, gregs…}, siginfo at +312.
void write_frame(MemoryBuilder& memory, std::uint64_t at, std::uint64_t ss_sp, std::int32_t number, std::int32_t code,
                 std::uint64_t word) {
    memory.at(at).mark("frame").u64(0x401000);  // pretcode
    memory.at(at + 8).u64(7).u64(0).u64(ss_sp).u64(0).u64(stack_size);
    memory.at(at + 8 + 40 + 8 * 15).u64(0xc000050000);  // rsp
    memory.at(at + 8 + 40 + 8 * 16).u64(0x4a3a17);      // rip
    memory.at(at + 312)
        .u32(static_cast<std::uint32_t>(number))
        .u32(0)
        .u32(static_cast<std::uint32_t>(code))
        .u32(0)
        .u64(word);
}

TargetMemory stack_with(std::uint64_t ss_sp, std::int32_t number, std::int32_t code, std::uint64_t word) {
    MemoryBuilder memory;
    memory.at(stack_at).zeros(stack_size);
    write_frame(memory, stack_at + 0x7000, ss_sp, number, code, word);
    return memory.build();
}

std::vector<SignalFrame> frames_of(const TargetMemory& memory) {
    return find_signal_frames(memory, x86_64(), {Address{stack_at}, Address{stack_at + stack_size}});
}

TEST(SignalFrames, FaultCarriesItsAddressAndRegisters) {
    auto memory = stack_with(stack_at, 11, 1, 0x20);
    auto frames = frames_of(memory);
    ASSERT_EQ(frames.size(), 1u);
    EXPECT_EQ(frames[0].at, memory["frame"]);
    EXPECT_EQ(frames[0].info.fault_address, Address{0x20});
    EXPECT_EQ(frames[0].registers.pc(), Address{0x4a3a17});
    EXPECT_EQ(frames[0].registers.sp(), Address{0xc000050000});
    EXPECT_FALSE(frames[0].info.sender_pid.has_value());
}

TEST(SignalFrames, SignalFromAProcessNamesItsSenderAndNoAddress) {
    auto memory = stack_with(stack_at, 3, 0, 4711);
    auto frames = frames_of(memory);
    ASSERT_EQ(frames.size(), 1u);
    EXPECT_EQ(frames[0].info.sender_pid, 4711);
    EXPECT_FALSE(frames[0].info.fault_address.has_value());
}

TEST(SignalFrames, NonCanonicalFaultHasNoAddress) {
    auto memory = stack_with(stack_at, 11, 0x80, 0);
    auto frames = frames_of(memory);
    ASSERT_EQ(frames.size(), 1u);
    EXPECT_FALSE(frames[0].info.fault_address.has_value()) << "the kernel writes 0 there, which is not address 0";
}

TEST(SignalFrames, FrameOfAnotherStackIsNone) {
    EXPECT_TRUE(frames_of(stack_with(stack_at + 0x10000, 11, 1, 0x20)).empty());
    EXPECT_TRUE(frames_of(stack_with(stack_at, 99, 1, 0x20)).empty()) << "no such signal";
}

TEST(SignalFrames, AbsurdStackIsNotScanned) {
    auto memory = stack_with(stack_at, 11, 1, 0x20);
    EXPECT_TRUE(find_signal_frames(memory, x86_64(), {Address{stack_at}, Address{~0ull - 7}}).empty());
    EXPECT_TRUE(find_signal_frames(memory, x86_64(), {Address{0x1000}, Address{0x9000}}).empty()) << "nothing mapped";
}

TEST(SignalNames, CodesAreNamedBySignal) {
    EXPECT_EQ(signal_name(11), "SIGSEGV");
    EXPECT_EQ(signal_code_name(11, 1), "SEGV_MAPERR");
    EXPECT_EQ(signal_code_name(7, 1), "BUS_ADRALN");
    EXPECT_EQ(signal_code_name(6, -6), "SI_TKILL");
    EXPECT_EQ(signal_code_name(11, 77), "");
    EXPECT_EQ(signal_name(0), "");
    EXPECT_EQ(signal_name(-3), "");
}

TEST(SignalFrames, WithoutSiginfoTheProcessorsReportIsKept) {
    MemoryBuilder memory;
    memory.at(stack_at).zeros(stack_size);
    write_frame(memory, stack_at + 0x7000, stack_at, 0, 0, 0);
    memory.at(stack_at + 0x7000 + 8 + 40 + 8 * 19).u64(6).u64(14).u64(0).u64(0x7ffe5d93dfc8);  // err, trapno, -, cr2
    auto target = memory.build();
    EXPECT_TRUE(frames_of(target).empty());
    auto frame = read_signal_frame(target, x86_64(), target["frame"]);
    ASSERT_TRUE(frame.has_value());
    EXPECT_EQ(frame->info.number, 0);
    EXPECT_EQ(frame->trap, 14u);
    EXPECT_EQ(frame->trap_error, 6u);
    EXPECT_EQ(frame->trap_address, Address{0x7ffe5d93dfc8});
    EXPECT_EQ(frame->registers.pc(), Address{0x4a3a17});
}

}  // namespace
}  // namespace incident
