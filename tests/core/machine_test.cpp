// The machine's row is right, and an unknown register is not zero.
#include "core/machine.h"

#include <gtest/gtest.h>
#include <sys/ucontext.h>
#include <sys/user.h>

#include <cstddef>
#include <set>

namespace incident {
namespace {

#if defined(__x86_64__)
TEST(Machine, AgreesWithTheSystemHeaders) {
    auto row = [](std::string_view name) -> const RegisterRow& {
        for (const auto& r : x86_64().registers)
            if (r.name == name) return r;
        throw std::runtime_error("no such register");
    };
    EXPECT_EQ(row("r15").prstatus_offset, offsetof(user_regs_struct, r15));
    EXPECT_EQ(row("rbp").prstatus_offset, offsetof(user_regs_struct, rbp));
    EXPECT_EQ(row("orig_rax").prstatus_offset, offsetof(user_regs_struct, orig_rax));
    EXPECT_EQ(row("rip").prstatus_offset, offsetof(user_regs_struct, rip));
    EXPECT_EQ(row("eflags").prstatus_offset, offsetof(user_regs_struct, eflags));
    EXPECT_EQ(row("rsp").prstatus_offset, offsetof(user_regs_struct, rsp));
    EXPECT_EQ(row("fs_base").prstatus_offset, offsetof(user_regs_struct, fs_base));
    EXPECT_EQ(row("gs").prstatus_offset, offsetof(user_regs_struct, gs));
    auto saved = [](int index) {
        return static_cast<int>(offsetof(ucontext_t, uc_mcontext.gregs) + 8u * static_cast<unsigned>(index));
    };
    EXPECT_EQ(row("r8").ucontext_offset, saved(REG_R8));
    EXPECT_EQ(row("r15").ucontext_offset, saved(REG_R15));
    EXPECT_EQ(row("rdi").ucontext_offset, saved(REG_RDI));
    EXPECT_EQ(row("rsi").ucontext_offset, saved(REG_RSI));
    EXPECT_EQ(row("rbp").ucontext_offset, saved(REG_RBP));
    EXPECT_EQ(row("rbx").ucontext_offset, saved(REG_RBX));
    EXPECT_EQ(row("rdx").ucontext_offset, saved(REG_RDX));
    EXPECT_EQ(row("rax").ucontext_offset, saved(REG_RAX));
    EXPECT_EQ(row("rcx").ucontext_offset, saved(REG_RCX));
    EXPECT_EQ(row("rsp").ucontext_offset, saved(REG_RSP));
    EXPECT_EQ(row("rip").ucontext_offset, saved(REG_RIP));
    EXPECT_EQ(row("eflags").ucontext_offset, saved(REG_EFL));
    EXPECT_EQ(x86_64().registers.size() * 8, sizeof(user_regs_struct));
}
#endif

TEST(Machine, DwarfNumbersAreUnique) {
    std::set<int> seen;
    for (const auto& row : x86_64().registers) EXPECT_TRUE(row.dwarf < 0 || seen.insert(row.dwarf).second) << row.name;
    EXPECT_EQ(x86_64().registers[x86_64().pc].dwarf, x86_64().dwarf_return_address);
}

TEST(Machine, IsFoundByItsElfNumber) {
    EXPECT_EQ(find_machine(62), &x86_64());
    EXPECT_EQ(find_machine(183), nullptr);
}

TEST(Registers, UnknownIsNotZero) {
    Registers registers(x86_64());
    EXPECT_EQ(registers.pc(), std::nullopt);
    EXPECT_EQ(registers.get("rax"), std::nullopt);
    registers.set_dwarf(0, 0);
    EXPECT_EQ(registers.get("rax"), 0u);
    registers.set_pc(Address{0x401000});
    EXPECT_EQ(registers.get_dwarf(16), 0x401000u);
    registers.forget(x86_64().pc);
    EXPECT_EQ(registers.pc(), std::nullopt);
    EXPECT_EQ(registers.get_dwarf(-1), std::nullopt);
    EXPECT_EQ(registers.get_dwarf(1000), std::nullopt);
    EXPECT_EQ(registers.get("nonsense"), std::nullopt);
    EXPECT_EQ(registers.get(max_registers + 5), std::nullopt);
}

}  // namespace
}  // namespace incident
