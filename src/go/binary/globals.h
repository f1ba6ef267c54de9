// Finding the runtime's package variables. Functions that pclntab names give addresses by their rip-relative operands,
// in stripped binaries too, and faster than a symbol table is loaded; symbols fill what that missed; without code,
// .data and .bss are scanned for the shapes. Whatever the way, the answer is checked against what the variable must
// look like.
#pragma once

#include <span>

#include "go/binary/runtime.h"

namespace incident::go {

enum class Verdict : std::uint8_t { no, unreadable, yes };

/// Structural checks: does the memory at an address look like this variable? `unreadable` when the bytes that would
/// decide are not in the core.
class GlobalChecks {
public:
    GlobalChecks(const Memory& memory, const RuntimeLayout& layout) : memory_(memory), layout_(layout) {}

    Verdict g(Address at) const;  ///< a runtime.g
    Verdict m(Address at) const;  ///< a runtime.m: its g0 points back
    Verdict allgs(Address at) const;
    Verdict allm(Address at) const;
    Verdict allp(Address at) const;
    Verdict sched(Address at) const;
    Verdict semtable(Address at) const;
    Verdict mheap(Address at) const;
    Verdict allfin(Address at) const;
    Verdict memstats(Address at) const;
    Verdict stackpool(Address at) const;
    Verdict stack_large(Address at) const;
    Verdict go_string(Address at, std::string_view prefix) const;
    Verdict print_backlog(Address at) const;
    Verdict small_number(Address at, std::uint64_t below) const;
    /// How many sound strings an array of string headers begins with.
    std::uint32_t count_strings(Address at) const;
    std::size_t chain_of_m(Address head) const;  ///< its length; 0 when it is none

private:
    Verdict span_list(Address at) const;
    const Memory& memory_;
    const RuntimeLayout& layout_;
};

/// Everything the three ways below share.
struct GlobalSearch {
    const Memory& memory;
    const RuntimeLayout& layout;
    GlobalChecks checks;
    Globals found;
    std::vector<AddressRange> data;  ///< of the module with the runtime: where its variables can be; empty: anywhere
    bool by_symbol = false, by_decoding = false, by_scan = false;
    std::vector<std::string> doubtful;  ///< symbols whose memory does not look as it should

    GlobalSearch(const Memory& m, const RuntimeLayout& l, std::vector<AddressRange> d = {})
        : memory(m), layout(l), checks(m, l), data(std::move(d)) {}
    bool in_data(Address at) const;
};

/// By ELF symbols of an image that has them; fills only what is still missing.
void find_by_symbols(GlobalSearch& search, const Image& image);
/// By the operands of the runtime's own functions; fills only what is still missing.
void find_by_decoding(GlobalSearch& search, const Pclntab& pclntab, const Disassembler& disassembler);
/// By shape, in search.data; fills only what is still missing of allgs, allm, mheap_ and sched.
void find_by_scan(GlobalSearch& search);

}  // namespace incident::go
