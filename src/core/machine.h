// Machine: everything about a CPU architecture that post-mortem reading needs, as one row of a table. To add arm64:
// write its row in machine.cpp; nothing else switches on the architecture.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>

#include "base/address.h"

namespace incident {

inline constexpr std::size_t max_registers = 40;

/// One general register: where it sits in the kernel's elf_gregset_t and which DWARF number it has.
struct RegisterRow {
    std::string_view name;
    std::uint16_t prstatus_offset;  ///< bytes from the start of pr_reg
    std::int16_t dwarf;             ///< DWARF register number, -1 when it has none
    std::int16_t ucontext_offset;  ///< bytes from the start of ucontext_t as the kernel puts it on a signal stack, -1 =
                                   ///< not saved
};

struct Machine {
    std::string_view name;      ///< "x86-64", as in the report
    std::uint16_t elf_machine;  ///< EM_X86_64
    std::uint8_t pointer_size;  ///< 8
    std::span<const RegisterRow> registers;
    std::uint8_t pc, sp, fp;      ///< indices into registers
    std::int8_t lr;               ///< link register, -1: the return address is pushed on the stack
    std::uint8_t syscall_number;  ///< register holding the number of an interrupted system call (orig_rax)
    std::array<std::uint8_t, 6> syscall_arguments;
    std::int8_t thread_pointer;         ///< fs_base; TLS
    std::int8_t go_g;                   ///< register that holds g in Go code (R14 from Go 1.17), -1 none
    std::int16_t dwarf_return_address;  ///< DWARF column of the return address
    std::uint16_t prstatus_size;        ///< sizeof(struct elf_prstatus)
    std::uint16_t prstatus_reg_offset;
    std::uint8_t canonical_bits;  ///< 47: user addresses lie below 1<<47
    std::uint16_t red_zone;       ///< 128 bytes below sp may be live
    std::uint16_t futex_syscall;  ///< 202

    /// Index into registers; none: this machine has no such register.
    std::optional<unsigned> row_of(std::string_view name) const;
};

const Machine* find_machine(std::uint16_t elf_machine);
const Machine& x86_64();

/// General registers of one context. A register may be unknown (not recovered by the unwinder): unknown is not 0.
class Registers {
public:
    explicit Registers(const Machine& machine) : machine_(&machine) {}

    const Machine& machine() const { return *machine_; }
    std::optional<std::uint64_t> get(unsigned index) const {
        return index < max_registers && (valid_ >> index & 1) ? std::optional(values_[index]) : std::nullopt;
    }
    std::optional<std::uint64_t> get_dwarf(int dwarf_number) const;
    std::optional<std::uint64_t> get(std::string_view name) const;
    void set(unsigned index, std::uint64_t value) {
        values_[index] = value;
        valid_ |= std::uint64_t{1} << index;
    }
    void set_dwarf(int dwarf_number, std::uint64_t value);
    /// Nothing happens when the machine has no register of that name.
    void set(std::string_view name, std::uint64_t value);
    void forget(unsigned index) { valid_ &= ~(std::uint64_t{1} << index); }
    void forget_all() { valid_ = 0; }

    std::optional<Address> pc() const { return address(machine_->pc); }
    std::optional<Address> sp() const { return address(machine_->sp); }
    std::optional<Address> fp() const { return address(machine_->fp); }
    void set_pc(Address a) { set(machine_->pc, a.value); }
    void set_sp(Address a) { set(machine_->sp, a.value); }
    void set_fp(Address a) { set(machine_->fp, a.value); }

private:
    std::optional<Address> address(unsigned index) const {
        auto value = get(index);
        return value ? std::optional(Address{*value}) : std::nullopt;
    }
    const Machine* machine_;
    std::array<std::uint64_t, max_registers> values_{};
    std::uint64_t valid_ = 0;
};

}  // namespace incident
