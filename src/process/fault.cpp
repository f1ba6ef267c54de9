// Why an access faulted: from the signal's code and address, the mappings of the target and the faulting registers.
#include <algorithm>

#include "process/crash_context.h"
#include "process/fault_access.h"
#include "process/process.h"

namespace incident {

namespace {

// vm.mmap_min_addr is 65536 on every distribution: nothing is mapped below, so an access there is an offset from nil.
constexpr std::uint64_t nil_page_limit = 0x10000;
// A frame larger than this that jumps the guard page is rare, and then we say "unmapped", which is true too.
constexpr std::uint64_t near_stack = 0x10000;

constexpr std::uint8_t execute = 1, write = 2, read = 4;  // PF_X, PF_W, PF_R

const LoadSegment* mapping_at(const CoreFile& core, Address a) {
    for (auto& segment : core.load_segments())
        if (segment.range.contains(a)) return &segment;
    return nullptr;
}

/// Did the stack pointer run off the low end of its mapping? The fault lies close to sp, and nothing writable is there.
bool ran_off_stack(const CoreFile& core, Address fault, Address sp) {
    if (fault >= sp + near_stack || sp >= fault + near_stack) return false;
    const LoadSegment* at_fault = mapping_at(core, fault);
    if (at_fault != nullptr && (at_fault->permissions & write)) return false;
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

}  // namespace

FaultClass classify_fault(const Process& process, const SignalInfo& info, const Registers* registers) {
    constexpr int sigbus = 7, sigsegv = 11;
    if (info.code <= 0) return FaultClass::none;
    if (info.number == sigbus) return FaultClass::bus_error;
    if (info.number != sigsegv) return FaultClass::other;
    if (!info.fault_address) return info.code == 0x80 ? FaultClass::non_canonical : FaultClass::other;
    Address fault = *info.fault_address;
    auto pc = registers ? registers->pc() : std::nullopt;
    auto sp = registers ? registers->sp() : std::nullopt;
    if (fault.value < nil_page_limit) return FaultClass::nil_dereference;
    if (sp && ran_off_stack(process.core, fault, *sp)) return FaultClass::stack_overflow;
    if (const LoadSegment* mapping = mapping_at(process.core, fault)) {
        if (mapping->permissions == 0) return FaultClass::guard_page;
        if (pc && *pc == fault && !(mapping->permissions & execute)) return FaultClass::not_executable;
        if (!(mapping->permissions & write) && (mapping->permissions & read))
            return is_write(process, registers, fault) ? FaultClass::read_only : FaultClass::guard_page;
        return FaultClass::other;
    }
    // gcore leaves read-only file mappings out of the core: then the file itself says what they were.
    constexpr int segv_accerr = 2;
    if (const Image* image = process.images->find(fault); image != nullptr && info.code == segv_accerr)
        return pc && *pc == fault ? FaultClass::not_executable : FaultClass::read_only;
    if (pc && *pc == fault) return FaultClass::not_executable;
    return FaultClass::unmapped;
}

}  // namespace incident
