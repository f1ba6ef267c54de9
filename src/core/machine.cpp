// The table of machines. One row so far: x86-64.
//
// Surprising: elf_gregset_t is in the order of the kernel's struct pt_regs, then fs_base and gs_base; the ucontext on a
// signal stack has its own order (struct sigcontext_64, arch/x86/include/uapi/asm/sigcontext.h) and starts at byte 40
// of ucontext_t. cs and ss are 16 bits wide there, so they have no ucontext_offset. There is no fs_base in a ucontext:
// a handler runs with the thread pointer of the code it interrupted.
#include "core/machine.h"

#include <elf.h>

namespace incident {

namespace {

// name, offset in pr_reg, DWARF number (System V ABI x86-64, figure 3.36), offset in ucontext_t
constexpr RegisterRow x86_64_registers[] = {
    {"r15", 0, 15, 96},    {"r14", 8, 14, 88},       {"r13", 16, 13, 80},      {"r12", 24, 12, 72},
    {"rbp", 32, 6, 120},   {"rbx", 40, 3, 128},      {"r11", 48, 11, 64},      {"r10", 56, 10, 56},
    {"r9", 64, 9, 48},     {"r8", 72, 8, 40},        {"rax", 80, 0, 144},      {"rcx", 88, 2, 152},
    {"rdx", 96, 1, 136},   {"rsi", 104, 4, 112},     {"rdi", 112, 5, 104},     {"orig_rax", 120, -1, -1},
    {"rip", 128, 16, 168}, {"cs", 136, 51, -1},      {"eflags", 144, 49, 176}, {"rsp", 152, 7, 160},
    {"ss", 160, 52, -1},   {"fs_base", 168, 58, -1}, {"gs_base", 176, 59, -1}, {"ds", 184, 53, -1},
    {"es", 192, 50, -1},   {"fs", 200, 54, -1},      {"gs", 208, 55, -1},
};
static_assert(std::size(x86_64_registers) <= max_registers);

constexpr std::uint8_t index_of(std::string_view name) {
    for (std::size_t i = 0; i < std::size(x86_64_registers); ++i)
        if (x86_64_registers[i].name == name) return static_cast<std::uint8_t>(i);
    throw "no such register";  // only ever evaluated by the compiler
}

constexpr Machine x86_64_row = {
    .name = "x86-64",
    .elf_machine = EM_X86_64,
    .pointer_size = 8,
    .registers = x86_64_registers,
    .pc = index_of("rip"),
    .sp = index_of("rsp"),
    .fp = index_of("rbp"),
    .lr = -1,
    .syscall_number = index_of("orig_rax"),
    .syscall_arguments = {index_of("rdi"), index_of("rsi"), index_of("rdx"), index_of("r10"), index_of("r8"),
                          index_of("r9")},
    .thread_pointer = index_of("fs_base"),
    .go_g = index_of("r14"),
    .dwarf_return_address = 16,
    .prstatus_size = 336,
    .prstatus_reg_offset = 112,
    .canonical_bits = 47,
    .red_zone = 128,
    .futex_syscall = 202,
};

constexpr const Machine* machines[] = {&x86_64_row};

}  // namespace

const Machine* find_machine(std::uint16_t elf_machine) {
    for (const Machine* machine : machines)
        if (machine->elf_machine == elf_machine) return machine;
    return nullptr;
}

const Machine& x86_64() { return x86_64_row; }

std::optional<std::uint64_t> Registers::get_dwarf(int dwarf_number) const {
    if (dwarf_number < 0) return std::nullopt;
    for (unsigned i = 0; i < machine_->registers.size(); ++i)
        if (machine_->registers[i].dwarf == dwarf_number) return get(i);
    return std::nullopt;
}

std::optional<unsigned> Machine::row_of(std::string_view wanted) const {
    for (unsigned i = 0; i < registers.size(); ++i)
        if (registers[i].name == wanted) return i;
    return std::nullopt;
}

std::optional<std::uint64_t> Registers::get(std::string_view name) const {
    const auto row = machine_->row_of(name);
    return row ? get(*row) : std::nullopt;
}

void Registers::set(std::string_view name, std::uint64_t value) {
    if (const auto row = machine_->row_of(name)) set(*row, value);
}

void Registers::set_dwarf(int dwarf_number, std::uint64_t value) {
    if (dwarf_number < 0) return;
    for (unsigned i = 0; i < machine_->registers.size(); ++i)
        if (machine_->registers[i].dwarf == dwarf_number) return set(i, value);
}

}  // namespace incident
