// Why an access faulted: from the signal's code and address, the mappings of the target and the faulting registers.
#include <algorithm>
#include <csignal>

#include "process/crash_context.h"
#include "process/fault_access.h"
#include "process/process.h"
#include "unwind/unwinder.h"

namespace incident {

namespace {

// vm.mmap_min_addr is 65536 on every distribution: nothing is mapped below, so an access there is an offset from nil.
constexpr std::uint64_t nil_page_limit = 0x10000;
constexpr std::uint64_t near_stack = 0x10000;

constexpr std::uint8_t execute = 1, write = 2, read = 4;  // PF_X, PF_W, PF_R

const LoadSegment* mapping_at(const CoreFile& core, Address a) {
    for (auto& segment : core.load_segments())
        if (segment.range.contains(a)) return &segment;
    return nullptr;
}

/// Did the stack pointer run off the low end of its mapping? The fault lies close to sp, and nothing writable is there.
/// A frame of megabytes jumps far below the stack: then sp itself is nowhere, and the fault lies between it and the
/// stack.
bool ran_off_stack(const Process& process, Address fault, Address sp) {
    const CoreFile& core = process.core;
    const LoadSegment* at_fault = mapping_at(core, fault);
    if (at_fault != nullptr && (at_fault->permissions & write)) return false;
    const LoadSegment* at_sp = mapping_at(core, sp);
    const AddressRange stack = stack_range(process.memory, sp);
    if (at_sp == nullptr && !stack.empty() && fault.value + near_stack >= sp.value && fault < stack.end) {
        const Segment* above = process.memory.find(stack.end - 1);
        return above != nullptr && fault < above->range.begin;
    }
    if (fault >= sp + near_stack || sp >= fault + near_stack) return false;
    // The stack itself begins at or shortly above the faulting address.
    for (auto& segment : core.load_segments())
        if ((segment.permissions & write) && segment.range.begin > fault && segment.range.begin <= fault + near_stack &&
            segment.range.begin <= sp + near_stack)
            return true;
    return false;
}

/// gcore notes a mapping without any access as readable; an access that only reads tells the difference. Undecodable: a
/// write.
bool is_write(const Process& process, const Registers* registers, Address fault) {
    if (registers == nullptr) return true;
    auto access = analyse_access(process, *registers, fault, {});
    return !access || !access->operand || access->write;
}

bool canonical(const Process& process, std::uint64_t address) {
    auto bits = process.core.machine().canonical_bits;
    return address >> bits == 0 || address >> bits == ~std::uint64_t{0} >> bits;
}

/// What a push, a call or a return accesses beside its operands; true where it accesses nothing.
bool stack_is_sound(const Process& process, const Registers& registers, const Instruction& instruction) {
    static constexpr std::string_view users[] = {"push", "pop", "pushf", "pushfq", "popf", "popfq", "enter", "leave"};
    const bool leaves = instruction.mnemonic == "leave";
    if (instruction.flow != Flow::call && instruction.flow != Flow::indirect_call && instruction.flow != Flow::ret &&
        std::ranges::find(users, instruction.mnemonic) == std::end(users))
        return true;
    const auto at = leaves ? registers.fp() : registers.sp();
    return at && canonical(process, at->value);
}

/// A general protection fault: the kernel tells nothing, the instruction does.
FaultClass classify_protection(const Process& process, const Registers* registers) {
    auto pc = registers ? registers->pc() : std::nullopt;
    if (!pc || !process.disassembler) return FaultClass::non_canonical;
    if (!canonical(process, pc->value)) return FaultClass::wild_jump;  // AMD's processors get that far
    auto instruction = process.disassembler->decode(process.memory, *pc);
    if (!instruction) return FaultClass::non_canonical;
    bool sound = true;
    const bool accesses = !instruction->lea && instruction->mnemonic != "nop";
    for (auto& operand : instruction->memory) {
        if (!accesses) break;
        auto address = Disassembler::effective_address(operand, *registers);
        if (!address || !canonical(process, address->value)) return FaultClass::non_canonical;
        sound &= operand.size < 16 || address->is_aligned(operand.size);
    }
    if (auto target = jump_target(process, *registers, *instruction); target && !canonical(process, *target))
        return FaultClass::wild_jump;
    if (!sound) return FaultClass::misaligned;
    static constexpr std::string_view kernels[] = {"hlt",   "cli",   "sti",   "in",   "out",    "lgdt",    "lidt",
                                                   "rdmsr", "mov",   "wrmsr", "insb", "outsb",  "invd",    "wbinvd",
                                                   "clts",  "iretq", "lldt",  "ltr",  "invlpg", "sysexit", "swapgs"};
    // `mov` without memory is one to or from a control register: no other can fault so.
    if (instruction->memory.empty() && std::ranges::find(kernels, instruction->mnemonic) != std::end(kernels))
        return FaultClass::privileged;
    return stack_is_sound(process, *registers, *instruction) ? FaultClass::unexplained : FaultClass::non_canonical;
}

/// Only of a file can the end be missed. Other memory has no page to give where a pool of huge pages is used up, where
/// userfaultfd answers so, or in the kernel's own pages ([vvar]).
FaultClass classify_bus_error(const CoreFile& core, const SignalInfo& info) {
    if (info.code == BUS_ADRALN) return FaultClass::other;
    if (info.code == BUS_MCEERR_AR || info.code == BUS_MCEERR_AO) return FaultClass::bad_memory;
    auto files = core.mapped_files();
    if (!info.fault_address || files.empty()) return FaultClass::bus_error;  // not known what was mapped there
    auto of_file = [&](const MappedFile& file) {
        return file.range.contains(*info.fault_address) && !file.path.starts_with("/anon_hugepage");
    };
    return std::ranges::any_of(files, of_file) ? FaultClass::bus_error : FaultClass::no_page;
}

}  // namespace

std::optional<SignalInfo> deduce_fault(const Process& process, const Registers& registers, int number) {
    auto pc = registers.pc();
    if (!pc || !process.disassembler) return std::nullopt;
    auto fault = [number](int code, std::optional<Address> address) {
        SignalInfo info;
        info.number = number;
        info.code = code;
        info.fault_address = address;
        return info;
    };
    auto instruction = process.disassembler->decode(process.memory, *pc);
    if (!instruction) {
        if (number == SIGSEGV && process.memory.find(*pc) == nullptr) return fault(SEGV_MAPERR, pc);
        return std::nullopt;
    }
    auto& name = instruction->mnemonic;
    if (number == SIGFPE && (name == "div" || name == "idiv")) return fault(FPE_INTDIV, pc);
    if (number == SIGILL && name.starts_with("ud")) return fault(ILL_ILLOPN, pc);
    if (number != SIGSEGV && number != SIGBUS) return std::nullopt;
    for (auto& operand : instruction->memory) {
        if (instruction->lea) break;
        auto address = Disassembler::effective_address(operand, registers);
        if (!address) continue;
        if (!canonical(process, address->value)) return fault(SI_KERNEL, std::nullopt);
        const LoadSegment* mapping = mapping_at(process.core, *address);
        if (mapping == nullptr && !process.memory.is_mapped(*address)) return fault(SEGV_MAPERR, address);
        if (mapping == nullptr) continue;
        if ((operand.written && !(mapping->permissions & write)) || mapping->permissions == 0)
            return fault(SEGV_ACCERR, address);
    }
    auto target = jump_target(process, registers, *instruction);
    return target && !canonical(process, *target) ? std::optional(fault(SI_KERNEL, std::nullopt)) : std::nullopt;
}

std::optional<SignalInfo> signal_of_trap(const Process& process, const SignalFrame& frame) {
    // arch/x86/include/asm/trapnr.h
    constexpr std::uint64_t divide = 0, invalid_opcode = 6, stack_segment = 12, protection = 13, page_fault = 14;
    switch (frame.trap) {
        case divide: return deduce_fault(process, frame.registers, SIGFPE);
        case invalid_opcode: return deduce_fault(process, frame.registers, SIGILL);
        case stack_segment: return deduce_fault(process, frame.registers, SIGBUS);
        case protection: return deduce_fault(process, frame.registers, SIGSEGV);
        case page_fault: break;
        default: return std::nullopt;
    }
    constexpr std::uint64_t push = 64;  // what a call or push writes below sp, with its operand
    Address sp = frame.registers.sp().value_or(Address{}), pc = frame.registers.pc().value_or(Address{});
    auto access = analyse_access(process, frame.registers, frame.trap_address, {});
    bool fits = frame.trap_address == pc || (access && access->operand) ||
                (frame.trap_address + push >= sp && frame.trap_address <= sp + push);
    if (!fits) return std::nullopt;
    SignalInfo info;
    info.number = SIGSEGV;
    info.code = (frame.trap_error & 1) != 0 ? SEGV_ACCERR : SEGV_MAPERR;
    info.fault_address = frame.trap_address;
    return info;
}

FaultClass classify_fault(const Process& process, const SignalInfo& info, const Registers* registers) {
    if (info.code <= 0) return FaultClass::none;
    const bool segv = info.number == SIGSEGV, bus = info.number == SIGBUS;
    // Of the stack segment (an access by way of rsp or rbp) a protection fault is a SIGBUS.
    if ((segv || bus) && info.code == SI_KERNEL && !info.fault_address) return classify_protection(process, registers);
    if (bus) return classify_bus_error(process.core, info);
    if (!segv || !info.fault_address) return FaultClass::other;
    Address fault = *info.fault_address;
    auto pc = registers ? registers->pc() : std::nullopt;
    auto sp = registers ? registers->sp() : std::nullopt;
    if (fault.value < nil_page_limit) return FaultClass::nil_dereference;
    if (sp && ran_off_stack(process, fault, *sp)) return FaultClass::stack_overflow;
    if (const LoadSegment* mapping = mapping_at(process.core, fault)) {
        // While the process died, other threads and the runtime's own printing went on to map memory.
        if (mapping->permissions != 0 && info.code == SEGV_MAPERR) return FaultClass::unmapped;
        if (mapping->permissions == 0) return FaultClass::guard_page;
        if (pc && *pc == fault && !(mapping->permissions & execute)) return FaultClass::not_executable;
        if (!(mapping->permissions & write) && (mapping->permissions & read))
            return is_write(process, registers, fault) ? FaultClass::read_only : FaultClass::guard_page;
        return FaultClass::other;
    }
    // gcore leaves read-only file mappings out of the core: then the file itself says what they were.
    if (const Image* image = process.images->find(fault); image != nullptr && info.code == SEGV_ACCERR)
        return pc && *pc == fault ? FaultClass::not_executable : FaultClass::read_only;
    if (pc && *pc == fault) return FaultClass::not_executable;
    return FaultClass::unmapped;
}

}  // namespace incident
